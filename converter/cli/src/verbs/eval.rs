//! `resmlp eval`: measures accuracy over a tree of labelled pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use resmlp_cli::classifier::{Classifier, rank};
use resmlp_cli::error::{Error, Result};
use resmlp_cli::terminal;
use resmlp_picture::dataset::{self, Dataset};
use serde::Serialize;

use super::flags::{CheckpointFlags, KernelFlags, LabelFlags, PreprocessFlags, ThreadFlags};
use super::open;

/// Number of pictures that are in memory at the same time.
const CHUNK: usize = 256;

#[derive(clap::Args)]
pub struct Args {
    /// Packed model or checkpoint (hf:owner/name[@revision] too); the engine tract runs a checkpoint in f32
    #[arg(value_name = "MODEL|CHECKPOINT")]
    file: PathBuf,

    /// Folder with one sub-folder of pictures for each class; the sub-folders are named like the labels, or their
    /// alphabetical order is that of the network's classes
    #[arg(long, value_name = "DIR")]
    dataset: PathBuf,

    /// Take at most this many pictures, evenly from all classes [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

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

/// What `eval` reports. With `--json` these are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Name of the kernels that did the arithmetic, or `tract-f32` for a checkpoint.
    kernels: String,
    /// Number of pictures that were classified.
    images: usize,
    /// Number of pictures that could not be read.
    skipped: usize,
    /// Share of the pictures whose class came first, from 0 to 1.
    top1: f64,
    /// Share of the pictures whose class was among the first five, from 0 to 1.
    top5: f64,
    /// Time that reading and classifying took.
    seconds: f64,
}

/// The network's class for each folder that has pictures. The keys are indices into [`Dataset::classes`].
type Classes = BTreeMap<usize, usize>;

/// Counts of pictures.
#[derive(Default)]
struct Tally {
    /// Pictures that were classified.
    images: usize,
    /// Pictures that could not be read.
    skipped: usize,
    /// Pictures whose class came first.
    first: usize,
    /// Pictures whose class was among the first five.
    among_five: usize,
}

impl Tally {
    /// Returns `count` as a share of the classified pictures.
    fn share(&self, count: usize) -> f64 {
        count as f64 / self.images.max(1) as f64
    }
}

pub fn execute(args: &Args) -> Result<Outcome> {
    args.threads.apply()?;
    let classifier = open::classifier(&args.file, &args.checkpoint, &args.preprocess, &args.labels, &args.kernels)?;
    if !classifier.has_head() {
        return Err(Error::file(
            &args.file,
            "this is an embedding model, which has no classes; expected a classifier (--head joins one to a checkpoint)",
        ));
    }
    let mut dataset = Dataset::open_tree(&args.dataset)?;
    let classes = match_classes(&dataset, classifier.labels(), classifier.outputs())?;
    if let Some(limit) = args.limit {
        dataset = dataset.take_evenly(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let start = std::time::Instant::now();
    let tally = count(&dataset, &classes, classifier.as_ref())?;
    if tally.images == 0 {
        let message = format!("none of its {} pictures can be read", tally.skipped);
        return Err(Error::file(&args.dataset, message));
    }
    Ok(Outcome {
        kernels: classifier.kernels().to_owned(),
        images: tally.images,
        skipped: tally.skipped,
        top1: tally.share(tally.first),
        top5: tally.share(tally.among_five),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Classifies all pictures of `dataset` and counts those whose class comes first or among the first five.
fn count(dataset: &Dataset, classes: &Classes, classifier: &dyn Classifier) -> Result<Tally> {
    let mut tally = Tally::default();
    let bar = terminal::progress("evaluating", dataset.items.len());
    for items in dataset.items.chunks(CHUNK) {
        let loaded = dataset::load(items, classifier.preprocess(), &|| bar.inc(1))?;
        for (path, reason) in &loaded.skipped {
            bar.suspend(|| terminal::warning(&format!("{}: skipped: {reason}", path.display())));
        }
        let pictures: Vec<&[u8]> = loaded.samples.iter().map(|sample| sample.pixels.as_slice()).collect();
        let logits = classifier.logits(&pictures)?;
        tally.images += loaded.samples.len();
        tally.skipped += loaded.skipped.len();
        for (sample, logits) in loaded.samples.iter().zip(&logits) {
            let class = sample.class.and_then(|folder| classes.get(&folder));
            if let Some(rank) = class.and_then(|&class| rank(logits, class)) {
                tally.first += usize::from(rank == 0);
                tally.among_five += usize::from(rank < 5);
            }
        }
    }
    bar.finish_and_clear();
    Ok(tally)
}

/// Returns the network's class of each folder that has pictures: by name where the folders are named like the labels,
/// else by the order of the folders.
///
/// # Errors
/// Returns an error where only some folders are named like labels, or where the order has to decide and the number of
/// folders is not `outputs`.
fn match_classes(dataset: &Dataset, labels: &[String], outputs: usize) -> Result<Classes> {
    let folders: BTreeSet<usize> = dataset.items.iter().filter_map(|item| item.class).collect();
    if let Some(classes) = by_name(dataset, &folders, labels)? {
        return Ok(classes);
    }
    if folders.len() != outputs {
        let found = folders.len();
        let message = format!("{found} class folders, expected {outputs}, or folders named like the labels");
        return Err(Error::file(&dataset.folder, message));
    }
    if !labels.is_empty() {
        terminal::note(
            "no folder is named like a label, so the alphabetical order of the folders is taken for the order of the classes",
        );
    }
    Ok(folders.into_iter().zip(0..outputs).collect())
}

/// Returns the classes of folders that are named like the labels, or `None` where no folder is.
///
/// # Errors
/// Returns an error that names up to eight folders where only some folders are named like labels.
fn by_name(dataset: &Dataset, folders: &BTreeSet<usize>, labels: &[String]) -> Result<Option<Classes>> {
    let name = |folder: usize| &dataset.classes[folder];
    let class = |folder: usize| labels.iter().position(|label| label == name(folder));
    let classes: Classes = folders.iter().filter_map(|&folder| Some((folder, class(folder)?))).collect();
    let mut others: Vec<_> = folders.iter().filter(|folder| !classes.contains_key(folder)).collect();
    if classes.is_empty() || others.is_empty() {
        return Ok(others.is_empty().then_some(classes));
    }
    let count = others.len();
    others.truncate(8);
    let names: Vec<_> = others.into_iter().map(|&folder| format!("'{}'", name(folder))).collect();
    let message =
        format!("{count} class folders are not named like a label, expected all or none: {}", names.join(", "));
    Err(Error::file(&dataset.folder, message))
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "top-1 {:.2} %, top-5 {:.2} %", self.top1 * 100.0, self.top5 * 100.0)?;
        let rate = self.images as f64 / self.seconds;
        write!(f, "{} pictures, {} skipped, {rate:.0} a second, {}", self.images, self.skipped, self.kernels)
    }
}

#[cfg(test)]
mod tests {
    use resmlp_picture::dataset::Item;

    use super::*;

    /// Returns a data set with one picture in each of these folders, and one more folder without pictures.
    fn dataset(folders: &[&str]) -> Dataset {
        let item = |class| Item { path: "x.png".into(), class: Some(class) };
        let classes = folders.iter().chain(&["zzz"]).map(|&name| name.to_owned()).collect();
        Dataset { folder: "data".into(), classes, items: (0..folders.len()).map(item).collect() }
    }

    #[test]
    fn folders_are_matched_by_name_or_by_order() {
        let matched = |folders: &[&str], labels: &[&str], outputs| {
            let labels: Vec<_> = labels.iter().map(|&label| label.to_owned()).collect();
            match_classes(&dataset(folders), &labels, outputs).map(|classes| classes.into_values().collect::<Vec<_>>())
        };
        assert_eq!(matched(&["cat", "dog"], &[], 2).unwrap(), [0, 1]);
        assert_eq!(matched(&["cat", "dog"], &["dog", "emu", "cat"], 3).unwrap(), [2, 0]);
        assert_eq!(matched(&["n01", "n02"], &["dog", "cat"], 2).unwrap(), [0, 1]);
        let message = matched(&["cat", "dog"], &[], 3).unwrap_err().to_string();
        assert!(message.contains("data: 2 class folders, expected 3"), "{message}");
        let message = matched(&["Cat", "Emu", "dog"], &["cat", "dog", "emu"], 3).unwrap_err().to_string();
        assert!(
            message.ends_with("data: 2 class folders are not named like a label, expected all or none: 'Cat', 'Emu'"),
            "{message}"
        );
    }
}
