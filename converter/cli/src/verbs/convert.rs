//! `resmlp convert`: checkpoint to packed model.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use resmlp_checkpoint::Checkpoint;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::output::{self, write_atomically};
use resmlp_cli::target::Target;
use resmlp_picture::Preprocess;
use resmlp_picture::dataset::Dataset;
use resmlp_quantise::{Converted, Extras, LayerCost, Request, StageLoss};
use resmlp_runtime::format::{VERSION, WeightStorage};
use serde::Serialize;
use serde_json::json;

use super::flags::{LabelFlags, PreprocessFlags, ThreadFlags};
use super::report::{columns, grouped, percent, shown, table};
use super::{open, terminal};

#[derive(clap::Args)]
pub struct Args {
    /// Trained checkpoint: safetensors, .pth or ONNX
    #[arg(value_name = "CHECKPOINT")]
    file: PathBuf,

    /// Packed model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// How weights are stored
    #[arg(long, value_name = "KIND", default_value = "int8")]
    precision: PrecisionFlag,

    /// Folder of pictures that are like those to come; its sub-folders are searched. Needed for int8 and only there
    #[arg(long, value_name = "DIR")]
    calibrate: Option<PathBuf>,

    /// Take at most this many of them, evenly from all sub-folders [default: 64 to 512, by the network's size]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    calibration_pictures: Option<u32>,

    /// Machine whose kernels the weights are laid out for; it runs on all others too
    #[arg(long, value_name = "NAME", default_value = "any")]
    target: Target,

    /// Find out what each layer of an int8 model costs alone: the others stay exact
    #[arg(long)]
    sensitivity: bool,

    #[command(flatten)]
    labels: LabelFlags,

    #[command(flatten)]
    threads: ThreadFlags,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

impl Args {
    /// Refuses the flags of int8 for an f16 model, which nothing is calibrated for.
    fn refuse_what_f16_has_not(&self) -> Result<()> {
        let given = self.calibrate.is_some() || self.calibration_pictures.is_some() || self.sensitivity;
        if self.precision == PrecisionFlag::F16 && given {
            let message =
                "--precision f16 needs no pictures: --calibrate, --calibration-pictures and --sensitivity are for int8";
            return Err(Error::Usage(message.into()));
        }
        Ok(())
    }
}

/// How the weights of a model are stored.
#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum PrecisionFlag {
    /// 8-bit weights and activations
    Int8,
    /// 16-bit floating-point weights, 32-bit activations
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

#[derive(Serialize)]
pub struct Outcome {
    #[serde(serialize_with = "shown")]
    output: PathBuf,
    precision: PrecisionFlag,
    dialect: &'static str,
    parameters: usize,
    bytes: usize,
    /// Pictures that calibration looked at.
    calibration_pictures: usize,
    /// Pictures that could not be read.
    skipped: usize,
    /// Channel scales that are applied at run time, because folding them would be ill-conditioned.
    explicit_scales: usize,
    /// What speaks against the model.
    warnings: Vec<String>,
    /// Noise of the residual stream after each stage.
    layers: Vec<StageLoss>,
    /// What each layer costs alone, with `--sensitivity`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sensitivity: Vec<LayerCost>,
    seconds: f64,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.refuse_what_f16_has_not()?;
    output::check(&args.output, &[&args.file])?;
    args.threads.apply()?;
    let start = Instant::now();
    let checkpoint = open::checkpoint(&args.file, args.preprocess.image_size)?;
    let preprocess = args.preprocess.for_image(checkpoint.network.image)?;
    let labels = open::labels(&args.labels, checkpoint.network.outputs())?;
    let calibration = match (args.precision, &args.calibrate) {
        (PrecisionFlag::F16, _) => Calibration::default(),
        (_, Some(folder)) => Calibration::load(folder, args.calibration_pictures, &checkpoint, &preprocess)?,
        (_, None) => return Err(Error::Usage("int8 needs pictures like those to come: --calibrate DIR".into())),
    };
    let extras = Extras {
        labels,
        preprocessing: preprocess.packed(),
        provenance: provenance(&args.file, &checkpoint, calibration.pictures.len()),
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
    let Converted { bytes, losses, costs, explicit_scales } = quantise(&args.file, &request)?;
    write_atomically(&args.output, &bytes)?;
    if explicit_scales > 0 {
        terminal::note(&format!("{explicit_scales} channel scales are too small or large to fold and stay explicit"));
    }
    Ok(Outcome {
        output: args.output.clone(),
        precision: args.precision,
        dialect: checkpoint.network.dialect.name(),
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

/// Converts with a progress bar; `path` is the checkpoint's file, for messages.
pub fn quantise(path: &Path, request: &Request) -> Result<Converted> {
    let bar = terminal::progress("quantising", resmlp_quantise::steps(request));
    let converted = resmlp_quantise::convert(request, || bar.inc(1));
    bar.finish_and_clear();
    converted.map_err(|error| Error::file(path, error.to_string()))
}

/// Returns the JSON text that says where a model comes from.
pub fn provenance(path: &Path, checkpoint: &Checkpoint, pictures: usize) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    json!({
        "checkpoint": name,
        "format": checkpoint.format.name(),
        "dialect": checkpoint.network.dialect.name(),
        "parameters": checkpoint.parameters,
        "calibration_pictures": pictures,
        "converter": concat!("resmlp ", env!("CARGO_PKG_VERSION")),
        "format_version": VERSION,
    })
    .to_string()
}

/// Pictures for calibration.
#[derive(Default)]
pub struct Calibration {
    /// As the network takes them.
    pub pictures: Vec<Vec<u8>>,
    /// How many could not be read.
    pub skipped: usize,
}

impl Calibration {
    /// Reads at most `count` pictures of `folder`; unreadable ones are named on stderr and counted.
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
