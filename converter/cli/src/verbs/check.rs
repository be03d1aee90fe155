//! `resmlp check`: compares a packed model with its checkpoint, stage by stage.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use resmlp_checkpoint::{Checkpoint, LoadOptions};
use resmlp_cli::check::{Check, Findings, StageFindings, default_pictures};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::locate::locate;
use resmlp_cli::packed::PackedModel;
use resmlp_cli::terminal;
use resmlp_picture::Preprocess;
use resmlp_picture::dataset::{self, Dataset};
use serde::Serialize;

use super::flags::{CheckpointFlags, KernelFlags, PreprocessFlags, ThreadFlags};
use super::open;
use super::report::{columns, percent, shown, table};

#[derive(clap::Args)]
pub struct Args {
    /// Packed model to check
    #[arg(value_name = "MODEL")]
    file: PathBuf,

    /// Checkpoint from which the model was made: a path, or hf:owner/name[@revision] of the model hub
    #[arg(long, value_name = "CHECKPOINT")]
    against: PathBuf,

    /// Folder of pictures to compare on, searched with its sub-folders
    #[arg(long, value_name = "DIR")]
    images: PathBuf,

    /// Take at most this many pictures, evenly from all sub-folders [default: 16 to 1000, fewer for a larger network]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,

    #[command(flatten)]
    kernels: KernelFlags,

    #[command(flatten)]
    threads: ThreadFlags,

    #[command(flatten)]
    checkpoint: CheckpointFlags,

    #[command(flatten)]
    preprocess: PreprocessFlags,
}

/// What `check` reports. With `--json` these fields and those of [`Findings`] are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Path of the packed model.
    #[serde(serialize_with = "shown")]
    model: PathBuf,
    /// Path or address of the checkpoint, as the user names it.
    #[serde(serialize_with = "shown")]
    against: PathBuf,
    /// Name of the kernels that ran the packed model.
    kernels: String,
    #[serde(flatten)]
    findings: Findings,
    /// Number of pictures that could not be read.
    skipped: usize,
    /// Time that the whole check took.
    seconds: f64,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let start = Instant::now();
    let model = open::packed(&args.file, &args.kernels)?;
    let options = args.checkpoint.load_options();
    let path = locate(&args.against)?.path;
    let checkpoint = match options.image {
        Some(_) => open::checkpoint(&path, &options)?,
        None => matching_checkpoint(&path, options, model.preprocess().image)?,
    };
    let preprocess = args.preprocess.over(model.preprocess())?;
    if preprocess != *model.preprocess() {
        terminal::warning("the flags prepare the pictures in another way than the model was made for");
    }
    let most = args.limit.map_or_else(|| default_pictures(checkpoint.network.macs()), |limit| limit as usize);
    let dataset = Dataset::open(&args.images)?.take_evenly(most);
    let (findings, skipped) = compare(&path, &checkpoint, &preprocess, &model, &dataset)?;
    Ok(Outcome {
        model: args.file.clone(),
        against: args.against.clone(),
        kernels: model.kernels().to_owned(),
        findings,
        skipped,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Reads the checkpoint for pictures of `image` (height, width) pixels. A checkpoint that takes none of this size is
/// read as it is, so that the comparison can name all its differences from the model.
fn matching_checkpoint(path: &Path, options: LoadOptions, image: [usize; 2]) -> Result<Checkpoint> {
    let matching = LoadOptions { image: Some(image), ..options.clone() };
    open::checkpoint(path, &matching).or_else(|error| open::checkpoint(path, &options).map_err(|_| error))
}

/// Compares on all pictures of `dataset`. Returns the findings and the number of pictures that could not be read.
///
/// # Errors
/// Returns an error where the model was made from a network of another shape, tract refuses the network, or no picture
/// can be read.
pub fn compare(
    path: &Path,
    checkpoint: &Checkpoint,
    preprocess: &Preprocess,
    model: &PackedModel,
    dataset: &Dataset,
) -> Result<(Findings, usize)> {
    let mut check = Check::new(path, checkpoint, preprocess, model)?;
    check.notes().iter().for_each(|note| terminal::note(note));
    let bar = terminal::progress("checking", dataset.items.len());
    let mut skipped = 0;
    for items in dataset.items.chunks(check.chunk()) {
        let loaded = dataset::load(items, preprocess, &|| ())?;
        for (path, reason) in &loaded.skipped {
            bar.suspend(|| terminal::warning(&format!("{}: skipped: {reason}", path.display())));
        }
        skipped += loaded.skipped.len();
        let pictures: Vec<_> = loaded.samples.into_iter().map(|sample| sample.pixels).collect();
        check.add(&pictures)?;
        bar.inc(items.len() as u64);
    }
    bar.finish_and_clear();
    let findings = check.finish();
    if findings.images == 0 {
        return Err(Error::file(&dataset.folder, format!("none of its {skipped} pictures can be read")));
    }
    Ok((findings, skipped))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { fold_error, top1_agreement, cosine_min, cosine_mean, max_abs, logits_range, layers, images } =
            &self.findings;
        f.write_str(&table(&[
            ("model", format!("{}, {} kernels", self.model.display(), self.kernels)),
            ("against", format!("{}, unfolded f32 by tract", self.against.display())),
            ("pictures", format!("{images}, {} skipped", self.skipped)),
            ("fold error", format!("{fold_error:.1e} of the logits' range")),
            ("same top-1", percent(*top1_agreement)),
            ("cosine", format!("least {cosine_min:.6}, mean {cosine_mean:.6}")),
            ("max error", format!("{max_abs:.4} of logits that span {logits_range:.2}")),
        ]))?;
        let row = |stage: &StageFindings| {
            let fold_error = stage.fold_error.map_or("–".to_owned(), |error| format!("{error:.1e}"));
            [stage.name.clone(), format!("{:.1}", stage.sqnr_db), format!("{:.4}", stage.max_abs), fold_error]
        };
        let rows: Vec<_> = layers.iter().map(row).collect();
        write!(f, "\n{}", columns(["residual stream", "SQNR dB", "max error", "fold error"], &rows))?;
        if layers.iter().any(|stage| stage.fold_error.is_none()) {
            f.write_str(
                "The Affs of this network act on the residual stream itself, so the folded stream is a scaled and shifted\n\
                 version of tract's and only the logits of the two are compared. SQNR and max error compare the packed\n\
                 stream with the folded one.\n",
            )?;
        }
        Ok(())
    }
}
