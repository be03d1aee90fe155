//! Opens packed models on this machine, rearranges them for its kernels where necessary, and runs them.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use resmlp_command_line::find_kernels;
use resmlp_picture::Preprocess;
use resmlp_runtime::format::MAGIC;
use resmlp_runtime::{AlignedBytes, Engine, Kernels, Model, ParallelFor, Serial, Stage, repack_for};

use crate::classifier::Classifier;
use crate::error::{Error, Result};

/// A validated model file in memory, and the kernels that run it.
pub struct PackedModel {
    path: PathBuf,
    bytes: AlignedBytes,
    kernels: &'static Kernels,
    repacked: bool,
    preprocess: Preprocess,
    labels: Vec<String>,
}

/// Returns whether `path` is a regular file that starts like a packed model.
pub fn is_packed(path: &Path) -> bool {
    resmlp_files::read(path, MAGIC.len() as u64).is_ok_and(|start| start == MAGIC)
}

impl PackedModel {
    /// Opens `path` for the kernels of this name, or for the fastest ones of this CPU.
    ///
    /// # Errors
    /// Returns an error where the file cannot be read or is no valid model, or where this CPU has no such kernels.
    pub fn open(path: &Path, kernels: Option<&str>) -> Result<Self> {
        let bytes = resmlp_files::open(path).and_then(AlignedBytes::read);
        let bytes = bytes.map_err(|error| Error::io(path, error))?;
        Self::new(path, bytes, kernels)
    }

    /// Creates a model from bytes in memory, for the kernels of this name or the fastest ones. Errors name `path`.
    ///
    /// # Errors
    /// Returns an error where the bytes are no valid model, or where this CPU has no such kernels.
    pub fn new(path: &Path, bytes: AlignedBytes, kernels: Option<&str>) -> Result<Self> {
        let kernels = find_kernels(kernels).map_err(Error::Usage)?;
        let model = Model::parse(&bytes).map_err(|error| Error::file(path, error.to_string()))?;
        let preprocess = Preprocess::of(&model);
        let labels = model.labels().map(str::to_owned).collect();
        let (bytes, repacked) = repack_for(bytes, kernels).map_err(|error| Error::file(path, error.to_string()))?;
        Ok(Self { path: path.to_path_buf(), bytes, kernels, repacked, preprocess, labels })
    }

    /// Replaces the names of the classes. `labels` has one name for each class.
    pub fn with_labels(self, labels: Vec<String>) -> Self {
        Self { labels, ..self }
    }

    /// Returns whether the weights were rearranged for the kernels at load.
    pub fn repacked(&self) -> bool {
        self.repacked
    }

    /// Returns the path of the model's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the runtime's view of the model.
    ///
    /// # Errors
    /// Returns the runtime's error, which cannot happen after the model was opened.
    pub fn model(&self) -> Result<Model<'_>> {
        Model::parse(&self.bytes).map_err(|error| self.failure(&error))
    }

    /// Creates an engine that runs the model on its kernels.
    ///
    /// # Errors
    /// Returns the runtime's error where the engine cannot be created.
    pub fn engine<P: ParallelFor>(&self, parallel: P) -> Result<Engine<'_, P>> {
        self.engine_for(self.model()?, parallel)
    }

    fn engine_for<'m, P: ParallelFor>(&self, model: Model<'m>, parallel: P) -> Result<Engine<'m, P>> {
        Engine::new(model, self.kernels, parallel).map_err(|error| self.failure(&error))
    }

    /// Runs one picture. Returns the result and, for every stage but the head, the residual stream without padding,
    /// `[tokens, dim]`.
    ///
    /// # Errors
    /// Returns an error where the picture has another size than the model takes.
    pub fn trace(&self, picture: &[u8]) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let engine = self.engine(Serial)?;
        let dims = *engine.model().dims();
        let (mut logits, mut scratch) = (vec![0.0; dims.outputs], vec![0; engine.scratch_len()]);
        let mut stages = Vec::new();
        let mut observe = |stage: Stage, stream: &[f32]| {
            if stage != Stage::Head {
                let rows = stream.chunks_exact(stream.len() / dims.tokens());
                stages.push(rows.flat_map(|row| &row[..dims.dim]).copied().collect());
            }
        };
        let run = engine.run_observed(picture, &mut scratch, &mut logits, &mut observe);
        run.map_err(|error| self.failure(&error))?;
        Ok((logits, stages))
    }

    fn failure(&self, error: &dyn std::fmt::Display) -> Error {
        Error::file(&self.path, error.to_string())
    }
}

impl Classifier for PackedModel {
    fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    fn kernels(&self) -> &str {
        self.kernels.name()
    }

    fn outputs(&self) -> usize {
        self.model().map_or(0, |model| model.dims().outputs)
    }

    fn has_head(&self) -> bool {
        self.model().is_ok_and(|model| model.dims().has_head)
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn logits(&self, pictures: &[&[u8]]) -> Result<Vec<Vec<f32>>> {
        let model = self.model()?;
        let start = || -> Result<_> {
            let engine = self.engine_for(model.clone(), Serial)?;
            let scratch = vec![0; engine.scratch_len()];
            Ok((engine, scratch))
        };
        let run = |state: &mut Result<(Engine<'_, Serial>, Vec<u8>)>, picture: &&[u8]| {
            let (engine, scratch) = state.as_mut().map_err(|error| Error::file(&self.path, error.to_string()))?;
            let mut logits = vec![0.0; engine.model().dims().outputs];
            engine.run(picture, scratch, &mut logits).map_err(|error| self.failure(&error))?;
            Ok(logits)
        };
        pictures.par_iter().map_init(start, run).collect()
    }
}
