//! `resmlp convert`: turns a checkpoint into a packed model.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use resmlp_checkpoint::Checkpoint;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::locate::{Located, Origin, locate};
use resmlp_cli::output::{self, write_atomically};
use resmlp_cli::provenance::provenance;
use resmlp_cli::target::Target;
use resmlp_cli::terminal;
use resmlp_picture::Preprocess;
use resmlp_picture::dataset::Dataset;
use resmlp_quantise::{Converted, Extras, LayerCost, Request, StageLoss};
use resmlp_runtime::format::WeightStorage;
use serde::Serialize;

use super::flags::{CheckpointFlags, LabelFlags, PreprocessFlags, ThreadFlags};
use super::open;
use super::report::{columns, grouped, percent, shown, table};
use super::stated::{Stated, stated};

#[derive(clap::Args)]
pub struct Args {
    /// Trained checkpoint: a safetensors, .pth or ONNX file, a folder, or hf:owner/name[@revision] of the model hub
    #[arg(value_name = "CHECKPOINT")]
    file: PathBuf,

    /// Packed model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// How the weights are stored
    #[arg(long, value_name = "KIND", default_value = "int8")]
    precision: PrecisionFlag,

    /// Folder of pictures like those that the model will see, searched with its sub-folders; int8 needs it, f16 does
    /// not
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,

    /// Calibrate with at most this many pictures, taken evenly from all sub-folders [default: 64 to 512, fewer for a
    /// larger network]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    calibration_pictures: Option<u32>,

    /// Machine for whose kernels the weights are laid out; the model runs on every other machine too
    #[arg(long, value_name = "NAME", default_value = "any")]
    target: Target,

    /// Also measure what quantising each layer alone costs, with all others exact; int8 only
    #[arg(long)]
    sensitivity: bool,

    #[command(flatten)]
    labels: LabelFlags,

    #[command(flatten)]
    threads: ThreadFlags,

    #[command(flatten)]
    checkpoint: CheckpointFlags,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

impl Args {
    /// Returns the flags that are given although the precision makes no use of them.
    fn unused_flags(&self) -> Vec<&'static str> {
        let flags = [
            ("--calibrate", self.calibrate.is_some()),
            ("--calibration-pictures", self.calibration_pictures.is_some()),
            ("--sensitivity", self.sensitivity),
        ];
        match self.precision {
            PrecisionFlag::Int8 => vec![],
            PrecisionFlag::F16 => flags.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect(),
        }
    }
}

/// How the weights of a model are stored.
#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum PrecisionFlag {
    /// 8-bit weights and 8-bit activations, quantised with the pictures of --calibrate
    Int8,
    /// 16-bit floating-point weights, activations in floating point; no calibration
    F16,
}

impl PrecisionFlag {
    fn storage(self) -> WeightStorage {
        match self {
            Self::Int8 => WeightStorage::Int8,
            Self::F16 => WeightStorage::F16,
        }
    }

    fn name(self) -> &'static str {
        self.storage().name()
    }
}

/// What `convert` reports. With `--json` these are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Path of the model that was written.
    #[serde(serialize_with = "shown")]
    output: PathBuf,
    /// Storage of the weights: `int8` or `f16`.
    precision: PrecisionFlag,
    /// Implementation that the checkpoint comes from, such as `timm`.
    dialect: &'static str,
    /// Commit of the model hub from which the checkpoint comes. The field is absent where it comes from a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<Origin>,
    /// Number of trained parameters in the checkpoint.
    parameters: usize,
    /// Length of the model file.
    bytes: usize,
    /// Number of pictures that calibration looked at; 0 for f16.
    calibration_pictures: usize,
    /// Number of calibration pictures that could not be read.
    skipped: usize,
    /// Number of channel scales that are applied at run time, because folding them would be ill-conditioned.
    explicit_scales: usize,
    /// Reasons to doubt the model, one sentence each, such as too few calibration pictures.
    warnings: Vec<String>,
    /// Noise of the residual stream after each stage, from the stem to the last block; empty for f16.
    layers: Vec<StageLoss>,
    /// What quantising each layer alone costs. The field is absent without `--sensitivity`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sensitivity: Vec<LayerCost>,
    /// Time that the whole conversion took.
    seconds: f64,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    for flag in args.unused_flags() {
        terminal::note(&format!("{flag} has no effect with --precision f16, which needs no calibration"));
    }
    output::check(&args.output, &[&args.file])?;
    args.threads.apply()?;
    let start = Instant::now();
    let Located { path, origin } = locate(&args.file)?;
    output::check(&args.output, &[&path])?;
    let checkpoint = open::checkpoint(&path, &args.checkpoint.load_options())?;
    let Stated { preprocess, labels, .. } = stated(&path, &checkpoint, &args.preprocess, &args.labels)?;
    let calibration = match (args.precision, &args.calibrate) {
        (PrecisionFlag::F16, _) => Calibration::default(),
        (_, Some(folder)) => Calibration::load(folder, args.calibration_pictures, &checkpoint, &preprocess)?,
        (_, None) => {
            let message = "an int8 model is calibrated with pictures like those that it will see: add --calibrate DIR, or \
                           choose --precision f16, which needs none";
            return Err(Error::Usage(message.into()));
        }
    };
    let extras = Extras {
        labels,
        preprocessing: preprocess.packed(),
        provenance: provenance(&path, origin.as_ref(), &checkpoint, &preprocess, calibration.pictures.len()),
    };
    let request = Request {
        network: &checkpoint.network,
        extras: &extras,
        weights: args.precision.storage(),
        layout: args.target.layout(),
        pictures: &calibration.pictures,
        sensitivity: args.sensitivity,
    };
    let warnings = resmlp_quantise::doubts(&request);
    warnings.iter().for_each(|warning| terminal::warning(warning));
    let Converted { bytes, losses, costs, explicit_scales } = quantise(&path, &request)?;
    write_atomically(&args.output, &bytes)?;
    if explicit_scales > 0 {
        terminal::note(&format!(
            "{explicit_scales} channel scales are too small or too large to be folded into the weights; the model applies \
             them at run time"
        ));
    }
    Ok(Outcome {
        output: args.output.clone(),
        precision: args.precision,
        dialect: checkpoint.network.dialect.name(),
        hub: origin,
        parameters: checkpoint.parameters,
        bytes: bytes.len(),
        calibration_pictures: calibration.pictures.len(),
        skipped: calibration.skipped,
        explicit_scales,
        warnings,
        layers: losses,
        sensitivity: costs,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Converts a network and shows a progress bar. Errors name `path`, the checkpoint's file.
///
/// # Errors
/// Returns an error where the network does not fit the packed format.
pub fn quantise(path: &Path, request: &Request) -> Result<Converted> {
    let bar = terminal::progress("quantising", resmlp_quantise::steps(request));
    let converted = resmlp_quantise::convert(request, || bar.inc(1));
    bar.finish_and_clear();
    converted.map_err(|error| Error::file(path, error.to_string()))
}

/// Pictures for calibration.
#[derive(Default)]
pub struct Calibration {
    /// The prepared pictures, height × width × RGB bytes each.
    pub pictures: Vec<Vec<u8>>,
    /// Number of files that could not be read.
    pub skipped: usize,
}

impl Calibration {
    /// Reads at most `count` pictures of `folder`. Files that cannot be read are named on stderr and counted.
    ///
    /// # Errors
    /// Returns an error where the folder cannot be searched or none of its pictures can be read.
    pub fn load(folder: &Path, count: Option<u32>, checkpoint: &Checkpoint, preprocess: &Preprocess) -> Result<Self> {
        let most =
            count.map_or_else(|| resmlp_quantise::calibration_pictures(checkpoint.network.macs()), |n| n as usize);
        let dataset = Dataset::open(folder)?.take_evenly(most);
        let bar = terminal::progress("reading", dataset.items.len());
        let loaded = dataset.load(preprocess, &|| bar.inc(1))?;
        bar.finish_and_clear();
        for (path, reason) in &loaded.skipped {
            terminal::warning(&format!("{}: skipped: {reason}", path.display()));
        }
        let pictures = loaded.samples.into_iter().map(|sample| sample.pixels).collect();
        Ok(Self { pictures, skipped: loaded.skipped.len() })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = self.bytes as f64 / self.parameters as f64;
        let mut rows = vec![
            ("model", format!("{} ({}, from {})", self.output.display(), self.precision.name(), self.dialect)),
            ("bytes", format!("{}, {ratio:.3} a parameter", grouped(self.bytes as u64))),
        ];
        if self.precision == PrecisionFlag::Int8 {
            rows.push(("calibrated", format!("{} pictures, {} skipped", self.calibration_pictures, self.skipped)));
        }
        if let Some(last) = self.layers.last() {
            rows.push(("SQNR", format!("{:.1} dB of the residual stream after {}", last.sqnr_db, last.name)));
        }
        rows.push(("seconds", format!("{:.1}", self.seconds)));
        f.write_str(&table(&rows))?;
        if self.sensitivity.is_empty() {
            return Ok(());
        }
        let row = |cost: &LayerCost| {
            let (sqnr, cosine) = (format!("{:.1}", cost.sqnr_db), format!("{:.6}", cost.cosine_min));
            [cost.name.clone(), sqnr, cosine, percent(cost.top1_agreement)]
        };
        let rows: Vec<_> = self.sensitivity.iter().map(row).collect();
        write!(f, "\n{}", columns(["int8 alone", "SQNR dB", "least cosine", "same top-1"], &rows))
    }
}
