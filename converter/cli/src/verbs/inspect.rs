//! `resmlp inspect`: tells what is in a checkpoint or a packed model.

use std::fmt;
use std::path::{Path, PathBuf};

use resmlp_checkpoint::config;
use resmlp_checkpoint::{Checkpoint, Format, GELU_IS_ASSUMED};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::locate::{Located, Origin, locate};
use resmlp_cli::packed::{self, PackedModel};
use resmlp_network::AffinePlacement;
use resmlp_picture::{Fit, Preprocess};
use resmlp_runtime::format::version_for;
use resmlp_runtime::{Dims, Kernels, Layout, Serial};
use serde::Serialize;
use serde_json::Value;

use super::flags::{CheckpointFlags, LabelFlags, PreprocessFlags};
use super::open;
use super::report::{grouped, table};
use super::stated::{Sources, Stated, stated};

#[derive(clap::Args)]
pub struct Args {
    /// Packed model or checkpoint to look into; hf:owner/name[@revision] is a checkpoint of the model hub
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    checkpoint: CheckpointFlags,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

/// What `inspect` reports. With `--json` these are the fields of the object; those of [`ModelFacts`] join them for a
/// packed model.
#[derive(Serialize)]
pub struct Outcome {
    /// `checkpoint` or `model`.
    kind: &'static str,
    /// File format, such as `safetensors` or `rmlp 2`.
    format: String,
    /// Implementation that the checkpoint comes from, such as `timm`; `null` for a model that does not say it.
    dialect: Option<String>,
    /// Commit of the model hub. The field is absent where the user names a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<Origin>,
    /// What the Affs act on: `branch` or `stream`. It is `null` for a model, whose Affs are folded.
    affine: Option<&'static str>,
    /// Activation of the channel MLPs: `gelu`, `gelu-tanh` or `relu`.
    activation: Option<String>,
    /// Where `activation` comes from: `file`, `flag` (`--activation`) or `assumed`.
    activation_source: Option<&'static str>,
    /// How pictures are prepared: `resize`, `fit`, `crop`, `mean`, `std` and `image`. A packed model carries these
    /// settings. For a checkpoint they are what `convert` would use with the same flags.
    preprocessing: Preprocess,
    /// Where each of these settings comes from: `file`, `flag`, `assumed`, or a key such as
    /// `config.json: pretrained_cfg.mean`.
    preprocessing_sources: Sources,
    /// Storage of the weights: `f32` for a checkpoint, `int8` or `f16` for a model.
    precision: &'static str,
    /// Height and width of the pictures that the network takes, in pixels.
    image: [usize; 2],
    /// Where `image` comes from: `file`, `flag` (`--image-size`), or a key such as `config.json: input_size`. Patches
    /// that form a square state it, so that its source is the file.
    image_source: String,
    /// Edge of a patch in pixels.
    patch: usize,
    /// Number of patches.
    tokens: usize,
    /// Number of channels.
    dim: usize,
    /// Width of the channel MLPs' hidden layer.
    hidden: usize,
    /// Number of residual blocks.
    depth: usize,
    /// Number of classes; `null` for an embedding model.
    classes: Option<usize>,
    /// Length of the result: classes, or channels of an embedding.
    outputs: usize,
    /// Number of names of classes; 0 where they are not known.
    labels: usize,
    /// Where the names come from: `file` for a model, or a key such as `config.json: label_names`; `null` without
    /// names.
    labels_source: Option<String>,
    /// Number of trained parameters of the network, before anything was folded.
    parameters: usize,
    /// Multiply-accumulate operations of one forward pass.
    macs: u64,
    /// Length of the file, or of all files that the weights were read from.
    bytes: u64,
    /// This length divided by the number of parameters.
    bytes_per_parameter: f64,
    /// What the reader of the checkpoint chose or left out, one sentence each.
    notes: Vec<String>,
    #[serde(flatten)]
    model: Option<ModelFacts>,
}

/// What only a packed model has.
#[derive(Serialize)]
struct ModelFacts {
    /// How the matrices are cut into panels.
    layout: Panels,
    /// Kernels of this machine that read the layout as it is, fastest first. The others rearrange the weights at load.
    kernels: Vec<&'static str>,
    /// Scratch memory of a forward pass on one thread.
    scratch_bytes: usize,
    /// Where the model comes from, as `convert` wrote it; a string where it is no JSON.
    provenance: Value,
}

/// How matrices are cut into panels.
#[derive(Serialize)]
struct Panels {
    /// Rows of a panel of a left-hand matrix.
    rows: u32,
    /// Columns of a panel of a right-hand matrix.
    columns: u32,
    /// Adjacent values of one row or column that lie next to each other.
    group: u32,
    /// Number that is added to stored 8-bit activations.
    offset: u32,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    let Located { path, origin } = locate(&args.file)?;
    if packed::is_packed(&path) {
        args.checkpoint.refuse_for_model(&path)?;
        args.preprocess.refuse_for_model(&path)?;
        return model(&path);
    }
    let opened = open::checkpoint(&path, &args.checkpoint.load_options())?;
    let (activation_source, image_source) = (activation_source(&opened, args), image_source(&path, &opened, args)?);
    let stated = stated(&path, &opened, &args.preprocess, &LabelFlags::default())?;
    Ok(Outcome { hub: origin, image_source, ..checkpoint(&opened, stated, activation_source) })
}

/// Returns where the activation of a checkpoint comes from: `file`, `flag` or `assumed`.
fn activation_source(checkpoint: &Checkpoint, args: &Args) -> &'static str {
    // An ONNX graph contains its activation. For a state dict the reader notes where nobody states the activation;
    // a file of names may state it.
    let is_flag = args.checkpoint.names_activation() && checkpoint.format != Format::Onnx;
    let is_assumed = checkpoint.notes.iter().any(|note| note == GELU_IS_ASSUMED);
    match (is_flag, is_assumed) {
        (true, _) => "flag",
        (false, true) => "assumed",
        (false, false) => "file",
    }
}

/// Returns where the size of a checkpoint's pictures comes from: `file`, `flag` or a key of the `config.json`.
fn image_source(path: &Path, checkpoint: &Checkpoint, args: &Args) -> Result<String> {
    let [height, width] = checkpoint.network.image;
    // An ONNX graph states the size, and patches that form a square do.
    if height == width || checkpoint.format == Format::Onnx {
        return Ok("file".to_owned());
    }
    if args.checkpoint.image_size.is_some() {
        return Ok("flag".to_owned());
    }
    let config = config::beside(path)?.and_then(|config| config.image);
    Ok(config.map_or_else(|| "file".to_owned(), |image| image.source))
}

fn checkpoint(checkpoint: &Checkpoint, stated: Stated, activation_source: &'static str) -> Outcome {
    let network = &checkpoint.network;
    Outcome {
        kind: "checkpoint",
        format: checkpoint.format.name().to_owned(),
        dialect: Some(network.dialect.name().to_owned()),
        hub: None,
        affine: Some(match network.placement {
            AffinePlacement::Branch => "branch",
            AffinePlacement::Stream => "stream",
        }),
        activation: Some(network.activation.name().to_owned()),
        activation_source: Some(activation_source),
        preprocessing: stated.preprocess,
        preprocessing_sources: stated.sources,
        precision: "f32",
        image: network.image,
        image_source: "file".to_owned(),
        patch: network.patch,
        tokens: network.tokens(),
        dim: network.dim(),
        hidden: network.hidden(),
        depth: network.blocks.len(),
        classes: network.head.is_some().then_some(network.outputs()),
        outputs: network.outputs(),
        labels: stated.labels.len(),
        labels_source: stated.labels_source,
        parameters: checkpoint.parameters,
        macs: network.macs(),
        bytes: checkpoint.bytes,
        bytes_per_parameter: checkpoint.bytes as f64 / checkpoint.parameters as f64,
        notes: checkpoint.notes.clone(),
        model: None,
    }
}

fn model(path: &Path) -> Result<Outcome> {
    let bytes = std::fs::metadata(path).map_err(|error| Error::io(path, error))?.len();
    // The scalar kernels read every layout as it is, so that nothing is rearranged here.
    let packed = PackedModel::open(path, Some(Kernels::scalar().name()))?;
    let model = packed.model()?;
    let dims = *model.dims();
    let provenance: Value = serde_json::from_str(model.provenance()).unwrap_or_else(|_| model.provenance().into());
    let Layout { rows, columns, group, offset } = dims.layout;
    let parameters = parameters(&dims);
    Ok(Outcome {
        kind: "model",
        format: format!("rmlp {}", version_for(model.activation(), model.preprocessing().fit)),
        dialect: provenance["dialect"].as_str().map(str::to_owned),
        hub: None,
        affine: None,
        activation: Some(model.activation().name().to_owned()),
        activation_source: Some("file"),
        preprocessing: packed.preprocess().clone(),
        preprocessing_sources: Sources::of_model(),
        precision: dims.weights.name(),
        image: dims.image,
        image_source: "file".to_owned(),
        patch: dims.patch,
        tokens: dims.tokens(),
        dim: dims.dim,
        hidden: dims.hidden,
        depth: dims.depth,
        classes: dims.has_head.then_some(dims.outputs),
        outputs: dims.outputs,
        labels: packed.labels().len(),
        labels_source: (!packed.labels().is_empty()).then(|| "file".to_owned()),
        parameters,
        macs: dims.macs(),
        bytes,
        bytes_per_parameter: bytes as f64 / parameters as f64,
        notes: vec![],
        model: Some(ModelFacts {
            layout: Panels { rows, columns, group, offset },
            kernels: readers(&dims),
            scratch_bytes: packed.engine(Serial)?.scratch_len(),
            provenance,
        }),
    })
}

/// Returns the kernels of this machine that read the model as it is. All kernels read a 16-bit model as it is.
fn readers(dims: &Dims) -> Vec<&'static str> {
    Kernels::supported().filter(|kernels| kernels.reads(dims)).map(Kernels::name).collect()
}

/// Returns the number of trained parameters of a network of this shape, with its Affs and LayerScales.
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
        // The text names every source but the file itself.
        let from = |source: &str| if source == "file" { String::new() } else { format!(" ({source})") };
        let image_source = from(&self.image_source);
        let labels = match &self.labels_source {
            Some(source) => format!("{}{}", self.labels, from(source)),
            None => "none".to_owned(),
        };
        let activation = match (&self.activation, self.activation_source) {
            (Some(name), Some("assumed")) => format!("{name} (assumed; --activation names another)"),
            (Some(name), Some("flag")) => format!("{name} (--activation)"),
            (Some(name), _) => name.clone(),
            (None, _) => "not known".to_owned(),
        };
        let mut rows = vec![
            ("kind", format!("{} ({}, {})", self.kind, self.format, self.precision)),
            ("dialect", format!("{dialect} ({affine})")),
            ("activation", activation),
            ("image", format!("{height} × {width}{image_source}, patch {}, {} tokens", self.patch, self.tokens)),
            ("blocks", format!("{} of {} channels, {} hidden", self.depth, self.dim, self.hidden)),
            ("classes", classes),
            ("labels", labels),
            ("parameters", grouped(self.parameters as u64)),
            ("macs", grouped(self.macs)),
            ("bytes", format!("{}, {:.3} a parameter", grouped(self.bytes), self.bytes_per_parameter)),
        ];
        if let Some(Origin { repository, revision, commit }) = &self.hub {
            rows.insert(1, ("hub", format!("{repository}, {revision} is the commit {commit}")));
        }
        let Preprocess { fit, crop, resize, mean, std, .. } = &self.preprocessing;
        let fit = match fit {
            Fit::Crop => format!("crop {crop}"),
            Fit::Squash => "squash".to_owned(),
        };
        rows.push(("pictures", format!("{resize}, {fit}, mean {mean:?}, std {std:?}")));
        rows.push(("taken from", self.preprocessing_sources.to_string()));
        if let Some(model) = &self.model {
            rows.extend(model.rows());
        }
        f.write_str(&table(&rows))
    }
}

impl ModelFacts {
    /// Returns the lines of the table that only a model has.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let Panels { rows, columns, group, offset } = self.layout;
        vec![
            ("scratch", format!("{} bytes for one thread", grouped(self.scratch_bytes as u64))),
            ("layout", format!("panels of {rows} rows, {columns} columns, groups of {group}, offset {offset}")),
            ("kernels", format!("{} read it as it is", self.kernels.join(", "))),
            ("provenance", self.provenance.to_string()),
        ]
    }
}
