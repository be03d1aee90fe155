//! `resmlp run`: classifies pictures.

use std::fmt;
use std::path::PathBuf;

use rayon::prelude::*;
use resmlp_converter::classify::{Guess, top};
use resmlp_converter::error::Result;
use resmlp_converter::picture::Picture;
use serde::Serialize;

use super::flags::{KernelFlags, LabelFlags, PreprocessFlags, ThreadFlags};
use super::open;

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
}

/// One picture's result; an embedding model has no `top`.
#[derive(Serialize)]
struct Classified {
    image: PathBuf,
    logits: Vec<f32>,
    top: Vec<Guess>,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let classifier = open::classifier(&args.file, &args.preprocess, &args.labels, &args.kernels)?;
    let prepare = |path: &PathBuf| Ok(classifier.preprocess().apply(&Picture::open(path)?)?);
    let pictures: Vec<Vec<u8>> = args.images.par_iter().map(prepare).collect::<Result<_>>()?;
    let pictures: Vec<&[u8]> = pictures.iter().map(Vec::as_slice).collect();
    let shown = if classifier.has_head() { SHOWN } else { 0 };
    let results = classifier.logits(&pictures)?.into_iter().zip(&args.images).map(|(logits, image)| Classified {
        image: image.clone(),
        top: top(&logits, classifier.labels(), shown),
        logits,
    });
    Ok(Outcome { kernels: classifier.kernels().to_owned(), results: results.collect() })
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
