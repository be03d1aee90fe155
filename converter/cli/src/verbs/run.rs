//! `resmlp run`: classifies pictures.

use std::fmt;
use std::path::PathBuf;

use resmlp_cli::classifier::{Guess, top};
use resmlp_cli::error::{Error, Result};
use resmlp_picture::Preprocess;
use resmlp_picture::dataset::{self, Item, Loaded};
use serde::Serialize;

use super::flags::{KernelFlags, LabelFlags, PreprocessFlags, ThreadFlags};
use super::report::shown;
use super::{open, terminal};

/// Classes that are shown for a picture.
const SHOWN: usize = 5;

#[derive(clap::Args)]
pub struct Args {
    /// Packed model or checkpoint; a checkpoint is run in f32 by tract
    #[arg(value_name = "MODEL|CHECKPOINT")]
    file: PathBuf,

    /// Pictures: JPEG, PNG or BMP
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,

    #[command(flatten)]
    labels: LabelFlags,

    #[command(flatten)]
    kernels: KernelFlags,

    #[command(flatten)]
    threads: ThreadFlags,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

#[derive(Serialize)]
pub struct Outcome {
    kernels: String,
    results: Vec<Classified>,
    /// Pictures that could not be read.
    failed: Vec<Failed>,
}

/// One picture's result; an embedding model has no `top`.
#[derive(Serialize)]
struct Classified {
    #[serde(serialize_with = "shown")]
    image: PathBuf,
    logits: Vec<f32>,
    top: Vec<Guess>,
}

/// A picture without a result.
#[derive(Serialize)]
struct Failed {
    #[serde(serialize_with = "shown")]
    image: PathBuf,
    reason: String,
}

impl Outcome {
    /// Whether every picture has a result.
    pub fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let classifier = open::classifier(&args.file, &args.preprocess, &args.labels, &args.kernels)?;
    let Loaded { samples, skipped } = load(&args.images, classifier.preprocess())?;
    let pictures: Vec<&[u8]> = samples.iter().map(|sample| sample.pixels.as_slice()).collect();
    let shown = if classifier.has_head() { SHOWN } else { 0 };
    let results = classifier.logits(&pictures)?.into_iter().zip(&samples).map(|(logits, sample)| Classified {
        image: sample.path.clone(),
        top: top(&logits, classifier.labels(), shown),
        logits,
    });
    let failed = skipped.into_iter().map(|(image, reason)| Failed { image, reason }).collect();
    Ok(Outcome { kernels: classifier.kernels().to_owned(), results: results.collect(), failed })
}

/// Reads the pictures; those that cannot be read are named on stderr. Fails where there are no others.
fn load(images: &[PathBuf], preprocess: &Preprocess) -> Result<Loaded> {
    let items: Vec<Item> = images.iter().map(|image| Item { path: image.clone(), class: None }).collect();
    let loaded = dataset::load(&items, preprocess, &|| ())?;
    let mut errors: Vec<_> = loaded.skipped.iter().map(|(image, reason)| Error::file(image, reason)).collect();
    let last = if loaded.samples.is_empty() { errors.pop() } else { None };
    errors.iter().for_each(terminal::error);
    last.map_or(Ok(loaded), Err)
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.results {
            writeln!(f, "{}", result.image.display())?;
            for guess in &result.top {
                let label = guess.label.clone().unwrap_or_else(|| format!("class {}", guess.index));
                writeln!(f, "  {:5.1} %  {label}", guess.probability * 100.0)?;
            }
            if result.top.is_empty() {
                let norm = result.logits.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                writeln!(f, "  embedding of {} channels, norm {norm:.4} (--json prints it)", result.logits.len())?;
            }
        }
        write!(f, "kernels: {}", self.kernels)
    }
}
