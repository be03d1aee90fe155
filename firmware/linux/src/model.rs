//! Opens a model file and chooses the kernels that run it.

use std::path::PathBuf;

use resmlp_command_line::find_kernels;
use resmlp_runtime::{AlignedBytes, Engine, Kernels, Model, Threads, repack_for};

use crate::affinity;
use crate::arguments::Common;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::output::say;

/// A validated model whose weights have the layout that the kernels read.
pub struct Opened {
    path: PathBuf,
    bytes: AlignedBytes,
    kernels: &'static Kernels,
    threads: usize,
    /// The cores that the threads are pinned to; empty if they are not pinned.
    pub cpus: Vec<usize>,
    /// Whether the weights were rearranged for the kernels.
    pub repacked: bool,
}

/// Reads the model. If the kernels read another layout, the weights are rearranged and a note says so.
///
/// # Errors
/// Names the option or the file that is wrong.
pub fn open(options: &Common) -> Result<Opened> {
    let path = &options.model;
    let pinned = |pin| affinity::choose(pin, options.threads, &Files::here());
    let cpus = options.pin.as_ref().map_or(Ok(vec![]), pinned);
    let cpus = cpus.map_err(|problem| Error::Usage(format!("--pin: {problem}")))?;
    // Cores of several kinds may have different kernels, so the choice is made on one of the cores that will run them.
    let wanted = || find_kernels(options.kernels.as_deref()).map_err(Error::Usage);
    let kernels = match cpus.first() {
        Some(&cpu) => affinity::while_pinned(cpu, wanted).map_err(|error| refused(&cpus, &error))?,
        None => wanted(),
    }?;
    let bytes = resmlp_files::open(path).and_then(AlignedBytes::read);
    let bytes = bytes.map_err(|error| Error::about(path.display(), &error))?;
    let (bytes, repacked) = repack_for(bytes, kernels).map_err(|error| Error::about(path.display(), &error))?;
    if repacked {
        say("note", &format!("the weights are rearranged for the {} kernels at load", kernels.name()));
    }
    let (path, threads) = (path.clone(), options.threads);
    Ok(Opened { path, bytes, kernels, threads, cpus, repacked })
}

impl Opened {
    /// Creates an engine with its threads; the calling thread is one of them.
    pub fn engine(&self) -> Result<Engine<'_, Threads>> {
        let threads = Threads::new(self.threads)
            .map_err(|error| Error::about(format_args!("cannot start {} threads", self.threads), &error))?;
        if !self.cpus.is_empty() {
            affinity::pin(&threads, &self.cpus).map_err(|error| refused(&self.cpus, &error))?;
        }
        let model = Model::parse(&self.bytes).map_err(|error| self.failure(&error))?;
        Engine::new(model, self.kernels, threads).map_err(|error| self.failure(&error))
    }

    /// Creates an error that names this model's file.
    pub fn failure(&self, problem: &dyn std::fmt::Display) -> Error {
        Error::about(self.path.display(), problem)
    }
}

fn refused(cpus: &[usize], error: &std::io::Error) -> Error {
    Error::about(format_args!("cannot pin the threads to {cpus:?}"), error)
}
