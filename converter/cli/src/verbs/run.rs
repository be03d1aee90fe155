//! `resmlp run`: classifies pictures.

use std::fmt;
use std::path::PathBuf;

use resmlp_cli::error::{Error, Result};
use resmlp_cli::terminal;
use resmlp_command_line::{Guess, SHOWN, guesses};
use resmlp_picture::Preprocess;
use resmlp_picture::dataset::{self, Item, Loaded};
use serde::Serialize;

use super::flags::{CheckpointFlags, KernelFlags, LabelFlags, PreprocessFlags, ThreadFlags};
use super::open;
use super::report::shown;

#[derive(clap::Args)]
pub struct Args {
    /// Packed model or checkpoint (hf:owner/name[@revision] too); the engine tract runs a checkpoint in f32
    #[arg(value_name = "MODEL|CHECKPOINT")]
    file: PathBuf,

    /// Pictures to classify (JPEG, PNG or BMP)
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,

    #[command(flatten)]
    labels: LabelFlags,

    #[command(flatten)]
    kernels: KernelFlags,

    #[command(flatten)]
    threads: ThreadFlags,

    #[command(flatten)]
    checkpoint: CheckpointFlags,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

/// What `run` reports. With `--json` these are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Name of the kernels that did the arithmetic, or `tract-f32` for a checkpoint.
    kernels: String,
    /// One entry for each picture that could be read, in the order of the command line.
    results: Vec<Classified>,
    /// Pictures that could not be read.
    failed: Vec<Failed>,
}

/// The result for one picture.
#[derive(Serialize)]
struct Classified {
    /// Path of the picture.
    #[serde(serialize_with = "shown")]
    image: PathBuf,
    /// Logits of all classes, or the embedding.
    logits: Vec<f32>,
    /// The five most probable classes, most probable first; empty for an embedding model.
    top: Vec<Guess>,
}

/// A picture without a result.
#[derive(Serialize)]
struct Failed {
    /// Path of the picture.
    #[serde(serialize_with = "shown")]
    image: PathBuf,
    /// Why it could not be read.
    reason: String,
}

impl Outcome {
    /// Returns whether every picture has a result.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let classifier = open::classifier(&args.file, &args.checkpoint, &args.preprocess, &args.labels, &args.kernels)?;
    let Loaded { samples, skipped } = load(&args.images, classifier.preprocess())?;
    let pictures: Vec<&[u8]> = samples.iter().map(|sample| sample.pixels.as_slice()).collect();
    let best = |logits: &[f32]| match classifier.has_head() {
        true => guesses::<SHOWN>(logits, classifier.labels()),
        false => Vec::new(),
    };
    let results = classifier.logits(&pictures)?.into_iter().zip(&samples).map(|(logits, sample)| Classified {
        image: sample.path.clone(),
        top: best(&logits),
        logits,
    });
    let failed = skipped.into_iter().map(|(image, reason)| Failed { image, reason }).collect();
    Ok(Outcome { kernels: classifier.kernels().to_owned(), results: results.collect(), failed })
}

/// Reads the pictures and names those that cannot be read on stderr.
///
/// # Errors
/// Returns the error of the last picture where none can be read.
fn load(images: &[PathBuf], preprocess: &Preprocess) -> Result<Loaded> {
    let items: Vec<Item> = images.iter().map(|image| Item { path: image.clone(), class: None }).collect();
    let loaded = dataset::load(&items, preprocess, &|| ())?;
    let mut errors: Vec<_> = loaded.skipped.iter().map(|(image, reason)| Error::file(image, reason)).collect();
    let last = if loaded.samples.is_empty() { errors.pop() } else { None };
    errors.iter().for_each(|error| terminal::error(error));
    last.map_or(Ok(loaded), Err)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.results {
            writeln!(f, "{}", result.image.display())?;
            for guess in &result.top {
                writeln!(f, "  {:5.1} %  {}", guess.probability * 100.0, guess.name())?;
            }
            if result.top.is_empty() {
                let norm = result.logits.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                writeln!(f, "  embedding of {} channels, norm {norm:.4} (--json prints it)", result.logits.len())?;
            }
        }
        write!(f, "kernels: {}", self.kernels)
    }
}
