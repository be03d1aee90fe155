//! Opens the file that the user names. Its content tells a packed model from a checkpoint.

use std::path::Path;

use resmlp_checkpoint::{self as checkpoint, Checkpoint, GELU_IS_ASSUMED, LoadOptions, config, labels};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::error::{Error, Result};
use resmlp_cli::locate::locate;
use resmlp_cli::packed::{self, PackedModel};
use resmlp_cli::reference::CheckpointClassifier;
use resmlp_cli::terminal;

use super::flags::{CheckpointFlags, KernelFlags, LabelFlags, PreprocessFlags};
use super::stated::{Stated, stated};

/// Reads a checkpoint and prints what the reader chose or left out as notes on stderr.
///
/// # Errors
/// Returns the reader's error. It also fails where `options` ask for another picture size than the file states, as ONNX
/// files do.
pub fn checkpoint(path: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    // A config.json beside the weights tells the sides of a picture that is no square; the tokens tell those of a
    // square.
    let config = config::beside(path)?.and_then(|config| config.image).map(|image| image.value);
    let oblong = config.filter(|[height, width]| options.image.is_none() && height != width);
    let checkpoint = checkpoint::load(path, &LoadOptions { image: options.image.or(oblong), ..options.clone() })?;
    let [height, width] = checkpoint.network.image;
    if let Some([other_height, other_width]) = options.image.filter(|image| *image != [height, width]) {
        let message = format!(
            "the network takes pictures of {height} × {width} pixels, not {other_height} × {other_width}; leave \
             --image-size out"
        );
        return Err(Error::Usage(format!("{}: {message}", path.display())));
    }
    // Nearly every state dict leaves the activation out, so only `inspect` says that GELU is assumed.
    let notes = checkpoint.notes.iter().filter(|note| *note != GELU_IS_ASSUMED);
    notes.for_each(|note| terminal::note(note));
    Ok(checkpoint)
}

/// Opens a packed model for the kernels that the user names, or for the fastest ones of this CPU.
///
/// # Errors
/// Returns an error where the file is no valid model or this CPU has no such kernels.
pub fn packed(path: &Path, kernels: &KernelFlags) -> Result<PackedModel> {
    let model = PackedModel::open(path, kernels.kernels.as_deref())?;
    if model.repacked() {
        let kernels = model.kernels();
        terminal::note(&format!(
            "the model was packed for other kernels, so loading rearranges its weights for {kernels}"
        ));
    }
    Ok(model)
}

/// Opens the packed model or the checkpoint that the user names, by a path or an address of the model hub, as a
/// classifier.
///
/// # Errors
/// Returns an error where the file cannot be downloaded or read, or where a flag does not apply to a file of its kind.
pub fn classifier(
    named: &Path,
    checkpoint_flags: &CheckpointFlags,
    preprocess: &PreprocessFlags,
    labels: &LabelFlags,
    kernels: &KernelFlags,
) -> Result<Box<dyn Classifier>> {
    let path = &locate(named)?.path;
    if packed::is_packed(path) {
        checkpoint_flags.refuse_for_model(path)?;
        preprocess.refuse_for_model(path)?;
        let model = packed(path, kernels)?;
        return Ok(Box::new(match &labels.labels {
            Some(file) => {
                let names = labels::read(file, model.outputs())?;
                model.with_labels(names)
            }
            None => model,
        }));
    }
    kernels.refuse_for_checkpoint(path)?;
    let checkpoint = checkpoint(path, &checkpoint_flags.load_options())?;
    let Stated { preprocess, labels, .. } = stated(path, &checkpoint, preprocess, labels)?;
    let classifier = CheckpointClassifier::new(path, &checkpoint, preprocess, labels)?;
    classifier.notes().iter().for_each(|note| terminal::note(note));
    Ok(Box::new(classifier))
}
