//! `resmlp inspect`: what is in a file.

use std::fmt;
use std::path::PathBuf;

use resmlp_converter::error::{Error, Result};
use resmlp_converter::network::AffinePlacement;
use resmlp_converter::source::Checkpoint;
use serde::Serialize;

use super::flags::PreprocessFlags;
use super::open;
use super::report::{grouped, table};

#[derive(clap::Args)]
pub struct Args {
    /// Packed model or checkpoint
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

/// What is in a file.
#[derive(Serialize)]
pub struct Outcome {
    /// `checkpoint` or `model`.
    kind: &'static str,
    format: &'static str,
    dialect: &'static str,
    /// What the Affs act on: `branch` or `stream`.
    affine: &'static str,
    precision: &'static str,
    /// Height and width in pixels.
    image: [usize; 2],
    patch: usize,
    tokens: usize,
    dim: usize,
    hidden: usize,
    depth: usize,
    /// `None` for an embedding model.
    classes: Option<usize>,
    outputs: usize,
    parameters: usize,
    macs: u64,
    bytes: u64,
    notes: Vec<String>,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    let bytes = std::fs::metadata(&args.file).map_err(|error| Error::io(&args.file, error))?.len();
    Ok(checkpoint(&open::checkpoint(&args.file, &args.preprocess)?, bytes))
}

fn checkpoint(checkpoint: &Checkpoint, bytes: u64) -> Outcome {
    let network = &checkpoint.network;
    Outcome {
        kind: "checkpoint",
        format: checkpoint.format.name(),
        dialect: network.dialect.name(),
        affine: match network.placement {
            AffinePlacement::Branch => "branch",
            AffinePlacement::Stream => "stream",
        },
        precision: "f32",
        image: network.image,
        patch: network.patch,
        tokens: network.tokens(),
        dim: network.dim(),
        hidden: network.hidden(),
        depth: network.blocks.len(),
        classes: network.head.is_some().then_some(network.outputs()),
        outputs: network.outputs(),
        parameters: checkpoint.parameters,
        macs: network.macs(),
        bytes,
        notes: checkpoint.notes.clone(),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.image;
        let classes = self.classes.map_or("none (an embedding model)".to_owned(), |count| count.to_string());
        let rows = [
            ("kind", format!("{} ({}, {})", self.kind, self.format, self.precision)),
            ("dialect", format!("{} (Affs on the {})", self.dialect, self.affine)),
            ("image", format!("{height} × {width}, patch {}, {} tokens", self.patch, self.tokens)),
            ("blocks", format!("{} of {} channels, {} hidden", self.depth, self.dim, self.hidden)),
            ("classes", classes),
            ("parameters", grouped(self.parameters as u64)),
            ("macs", grouped(self.macs)),
            ("bytes", grouped(self.bytes)),
        ];
        f.write_str(&table(&rows))
    }
}
