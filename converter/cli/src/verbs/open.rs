//! Opens what the user names: a packed model or a checkpoint, told apart by content.

use std::path::Path;

use resmlp_checkpoint::labels;
use resmlp_checkpoint::{self as checkpoint, Checkpoint, LoadOptions};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::packed::{self, PackedModel};
use resmlp_cli::reference::CheckpointClassifier;

use super::flags::{KernelFlags, LabelFlags, PreprocessFlags};
use super::terminal;

/// Reads a checkpoint for pictures of `image` (height, width), where that is known, and says what was chosen while reading.
///
/// Fails where the file itself says another size, as ONNX files do.
pub fn checkpoint(path: &Path, image: Option<[usize; 2]>) -> Result<Checkpoint> {
    let checkpoint = checkpoint::load(path, &LoadOptions { image, ..LoadOptions::default() })?;
    let [height, width] = checkpoint.network.image;
    if let Some([other_height, other_width]) = image.filter(|image| *image != [height, width]) {
        let message = format!("its pictures are {height} × {width}, not {other_height} × {other_width} (--image-size)");
        return Err(Error::Usage(format!("{}: {message}", path.display())));
    }
    checkpoint.notes.iter().for_each(|note| terminal::note(note));
    Ok(checkpoint)
}

/// The classes' names from the user's file; none where there is no file.
pub fn labels(flags: &LabelFlags, classes: usize) -> Result<Vec<String>> {
    Ok(flags.labels.as_ref().map_or(Ok(vec![]), |path| labels::read(path, classes))?)
}

/// Opens a packed model for the kernels of this name, or the fastest that this CPU has.
pub fn packed(path: &Path, kernels: &KernelFlags) -> Result<PackedModel> {
    let model = PackedModel::open(path, kernels.kernels.as_deref())?;
    if model.repacked() {
        terminal::note(&format!("the weights are rearranged for the {} kernels at load", model.kernels()));
    }
    Ok(model)
}

/// Prepares the file `path` for classifying.
pub fn classifier(
    path: &Path,
    preprocess: &PreprocessFlags,
    labels: &LabelFlags,
    kernels: &KernelFlags,
) -> Result<Box<dyn Classifier>> {
    if packed::is_packed(path) {
        preprocess.refuse_for(path)?;
        let model = packed(path, kernels)?;
        let names = self::labels(labels, model.outputs())?;
        return Ok(Box::new(if names.is_empty() { model } else { model.with_labels(names) }));
    }
    kernels.refuse_for(path)?;
    let checkpoint = checkpoint(path, preprocess.image_size)?;
    let network = &checkpoint.network;
    let names = self::labels(labels, network.outputs())?;
    let preprocess = preprocess.for_image(network.image)?;
    let classifier = CheckpointClassifier::new(path, &checkpoint, preprocess, names)?;
    classifier.notes().iter().for_each(|note| terminal::note(note));
    Ok(Box::new(classifier))
}
