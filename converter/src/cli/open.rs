//! Opens what the user names: a checkpoint, told from other files by its content.

use std::path::Path;

use resmlp_converter::classify::{CheckpointClassifier, Classifier};
use resmlp_converter::error::Result;
use resmlp_converter::labels;
use resmlp_converter::source::{self, Checkpoint, LoadOptions};

use super::flags::{LabelFlags, PreprocessFlags};
use super::terminal;

/// Reads a checkpoint and says what was chosen while reading.
pub fn checkpoint(path: &Path, flags: &PreprocessFlags) -> Result<Checkpoint> {
    let checkpoint = source::load(path, &LoadOptions { image: flags.image_size })?;
    checkpoint.notes.iter().for_each(|note| terminal::note(note));
    Ok(checkpoint)
}

/// The classes' names from the user's file; none where there is no file.
pub fn labels(flags: &LabelFlags, classes: usize) -> Result<Vec<String>> {
    flags.labels.as_ref().map_or(Ok(vec![]), |path| labels::read(path, classes))
}

/// Prepares the file `path` for classifying.
pub fn classifier(path: &Path, preprocess: &PreprocessFlags, labels: &LabelFlags) -> Result<Box<dyn Classifier>> {
    let checkpoint = checkpoint(path, preprocess)?;
    let network = &checkpoint.network;
    let names = self::labels(labels, network.outputs())?;
    let preprocess = preprocess.for_image(network.image)?;
    let classifier = CheckpointClassifier::new(path, &checkpoint, preprocess, names)?;
    classifier.notes().iter().for_each(|note| terminal::note(note));
    Ok(Box::new(classifier))
}
