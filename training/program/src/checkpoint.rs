//! Writes a trained network as timm's state dict in a safetensors file, with its preprocessing and its class names.

use std::borrow::Cow;
use std::path::Path;

use resmlp_cli::output;
use resmlp_picture::{Fit, Preprocess};
use resmlp_train_core::Layout;
use safetensors::{Dtype, View};
use serde_json::{Value, json};

use crate::error::{Error, Result};

/// A tensor of `f32` with its shape.
pub(crate) struct Tensor<'a> {
    pub shape: Cow<'a, [usize]>,
    pub data: &'a [f32],
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.data.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.data)
    }
}

/// Returns the bytes of a checkpoint.
///
/// The tensors have timm's names and shapes, so that `timm.models.MlpMixer` loads them. The metadata's key `config`
/// holds what a `config.json` beside the file would state, and the converter reads it from there.
///
/// # Errors
/// Returns an error that names `path` where the network is too large for the format.
pub fn bytes(
    path: &Path,
    layout: &Layout,
    parameters: &[f32],
    preprocess: &Preprocess,
    classes: &[String],
) -> Result<Vec<u8>> {
    let tensors = layout.tensors.iter().map(|tensor| {
        let data = &parameters[tensor.range.clone()];
        (tensor.name.as_str(), Tensor { shape: Cow::Borrowed(&tensor.shape), data })
    });
    let metadata = [("config".to_owned(), config(preprocess, classes).to_string())].into();
    safetensors::serialize(tensors, Some(metadata)).map_err(|error| Error::file(path, error.to_string()))
}

/// Writes a checkpoint completely or not at all.
///
/// # Errors
/// Returns an error that names `path` where it cannot be written.
pub fn write(
    path: &Path,
    layout: &Layout,
    parameters: &[f32],
    preprocess: &Preprocess,
    classes: &[String],
) -> Result<()> {
    Ok(output::write_atomically(path, &bytes(path, layout, parameters, preprocess, classes)?)?)
}

/// Returns what a `config.json` beside the checkpoint states, in the fields of timm's `save_pretrained`.
fn config(preprocess: &Preprocess, classes: &[String]) -> Value {
    let Preprocess { image: [height, width], fit, crop, resize, mean, std } = preprocess;
    json!({
        "architecture": "resmlp",
        "num_classes": classes.len(),
        "label_names": classes,
        "pretrained_cfg": {
            "input_size": [3, height, width],
            "mean": mean,
            "std": std,
            "crop_pct": crop,
            "crop_mode": match fit {
                Fit::Crop => "center",
                Fit::Squash => "squash",
            },
            "interpolation": resize.to_string(),
        },
    })
}
