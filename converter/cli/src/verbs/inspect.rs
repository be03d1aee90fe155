//! `resmlp inspect`: what is in a file.

use std::fmt;
use std::path::{Path, PathBuf};

use resmlp_checkpoint::Checkpoint;
use resmlp_cli::classifier::Classifier;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::packed::{self, PackedModel};
use resmlp_network::AffinePlacement;
use resmlp_picture::Preprocess;
use resmlp_runtime::format::VERSION;
use resmlp_runtime::{Dims, Kernels, Layout, Serial};
use serde::Serialize;
use serde_json::Value;

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
    format: String,
    /// `None` for a model that does not say where it comes from.
    dialect: Option<String>,
    /// What the Affs act on: `branch` or `stream`; a model has none.
    affine: Option<&'static str>,
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
    /// Trained parameters of the network, before anything was folded.
    parameters: usize,
    macs: u64,
    bytes: u64,
    bytes_per_parameter: f64,
    notes: Vec<String>,
    /// What only a packed model has.
    #[serde(flatten)]
    model: Option<ModelFacts>,
}

#[derive(Serialize)]
struct ModelFacts {
    layout: Panels,
    /// This machine's kernels that read the layout as it is, best first; the others rearrange it at load.
    kernels: Vec<&'static str>,
    /// For one thread.
    scratch_bytes: usize,
    /// Number of the classes' names.
    labels: usize,
    preprocessing: Preprocess,
    provenance: Value,
}

/// How matrices are cut into panels.
#[derive(Serialize)]
struct Panels {
    rows: u32,
    columns: u32,
    group: u32,
    offset: u32,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    let bytes = std::fs::metadata(&args.file).map_err(|error| Error::io(&args.file, error))?.len();
    if packed::is_packed(&args.file) {
        args.preprocess.refuse_for(&args.file)?;
        return model(&args.file, bytes);
    }
    Ok(checkpoint(&open::checkpoint(&args.file, args.preprocess.image_size)?, bytes))
}

fn checkpoint(checkpoint: &Checkpoint, bytes: u64) -> Outcome {
    let network = &checkpoint.network;
    Outcome {
        kind: "checkpoint",
        format: checkpoint.format.name().to_owned(),
        dialect: Some(network.dialect.name().to_owned()),
        affine: Some(match network.placement {
            AffinePlacement::Branch => "branch",
            AffinePlacement::Stream => "stream",
        }),
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
        bytes_per_parameter: bytes as f64 / checkpoint.parameters as f64,
        notes: checkpoint.notes.clone(),
        model: None,
    }
}

fn model(path: &Path, bytes: u64) -> Result<Outcome> {
    // The scalar kernels take every layout as it is.
    let packed = PackedModel::open(path, Some(Kernels::scalar().name()))?;
    let model = packed.model()?;
    let dims = *model.dims();
    let provenance: Value = serde_json::from_str(model.provenance()).unwrap_or_else(|_| model.provenance().into());
    let Layout { rows, columns, group, offset } = dims.layout;
    let parameters = parameters(&dims);
    Ok(Outcome {
        kind: "model",
        format: format!("rmlp {VERSION}"),
        dialect: provenance["dialect"].as_str().map(str::to_owned),
        affine: None,
        precision: dims.weights.name(),
        image: dims.image,
        patch: dims.patch,
        tokens: dims.tokens(),
        dim: dims.dim,
        hidden: dims.hidden,
        depth: dims.depth,
        classes: dims.has_head.then_some(dims.outputs),
        outputs: dims.outputs,
        parameters,
        macs: dims.macs(),
        bytes,
        bytes_per_parameter: bytes as f64 / parameters as f64,
        notes: vec![],
        model: Some(ModelFacts {
            layout: Panels { rows, columns, group, offset },
            kernels: readers(&dims),
            scratch_bytes: packed.engine(Serial)?.scratch_len(),
            labels: packed.labels().len(),
            preprocessing: packed.preprocess().clone(),
            provenance,
        }),
    })
}

/// Kernels of this machine that read a model as it is; 16-bit models have one layout for all of them.
fn readers(dims: &Dims) -> Vec<&'static str> {
    Kernels::supported().filter(|kernels| kernels.reads(dims)).map(Kernels::name).collect()
}

/// Trained parameters of a network of this shape, Affs and LayerScales among them.
fn parameters(dims: &Dims) -> usize {
    let Dims { dim, hidden, outputs, .. } = *dims;
    let linear = |rows: usize, columns: usize| rows * (columns + 1);
    let affine = 2 * dim;
    let mix = affine + linear(dims.tokens(), dims.tokens()) + dim;
    let mlp = affine + linear(hidden, dim) + linear(dim, hidden) + dim;
    let head = if dims.has_head { linear(outputs, dim) } else { 0 };
    linear(dim, dims.patch_len()) + dims.depth * (mix + mlp) + affine + head
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.image;
        let classes = self.classes.map_or("none (an embedding model)".to_owned(), |count| count.to_string());
        let dialect = self.dialect.as_deref().unwrap_or("unknown");
        let affine = self.affine.map_or("Affs folded".to_owned(), |affine| format!("Affs on the {affine}"));
        let mut rows = vec![
            ("kind", format!("{} ({}, {})", self.kind, self.format, self.precision)),
            ("dialect", format!("{dialect} ({affine})")),
            ("image", format!("{height} × {width}, patch {}, {} tokens", self.patch, self.tokens)),
            ("blocks", format!("{} of {} channels, {} hidden", self.depth, self.dim, self.hidden)),
            ("classes", classes),
            ("parameters", grouped(self.parameters as u64)),
            ("macs", grouped(self.macs)),
            ("bytes", format!("{}, {:.3} a parameter", grouped(self.bytes), self.bytes_per_parameter)),
        ];
        if let Some(model) = &self.model {
            rows.extend(model.rows());
        }
        f.write_str(&table(&rows))
    }
}

impl ModelFacts {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let Panels { rows, columns, group, offset } = self.layout;
        let Preprocess { crop, resize, mean, std, .. } = &self.preprocessing;
        vec![
            ("scratch", format!("{} bytes for one thread", grouped(self.scratch_bytes as u64))),
            ("layout", format!("panels of {rows} rows, {columns} columns, groups of {group}, offset {offset}")),
            ("kernels", format!("{} read it as it is", self.kernels.join(", "))),
            ("labels", self.labels.to_string()),
            ("pictures", format!("{resize}, crop {crop}, mean {mean:?}, std {std:?}")),
            ("provenance", self.provenance.to_string()),
        ]
    }
}
