//! Reads the `config.json` beside the weights, which states how pictures are prepared and what the classes are called.
//!
//! timm's `save_pretrained` and the model hub put `config.json` and `model.safetensors` into one folder. The network
//! itself is read from the tensors alone, whatever the file states about it.
//!
//! ```no_run
//! # fn main() -> resmlp_checkpoint::Result<()> {
//! let path = std::path::Path::new("resmlp_12_224"); // a folder, or the weights in it
//! if let Some(config) = resmlp_checkpoint::config::beside(path)? {
//!     if let Some(mean) = &config.mean {
//!         println!("mean {:?} ({})", mean.value, mean.source); // "config.json: pretrained_cfg.mean"
//!     }
//! }
//! # Ok(()) }
//! ```

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::sniff::NotACheckpoint;

/// Name of the file that states how pictures are prepared.
pub const CONFIG: &str = "config.json";
/// File names under which a folder may hold the weights; the first one that exists is read.
pub const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// Key of a safetensors file's metadata that holds the text of a `config.json`.
const KEY: &str = "config";

/// File names under which a folder may hold the index of weights that are split into several files.
const INDICES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// Length in bytes of the longest `config.json` that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigReason {
    /// The file is too long.
    #[error("longer than {} MiB; expected a config.json", MAX_FILE_BYTES >> 20)]
    Long,
    /// The file is not JSON.
    #[error("not JSON ({0}); expected a config.json")]
    NotJson(#[from] serde_json::Error),
    /// The file holds a JSON value that is not an object.
    #[error("expected a JSON object")]
    NotAnObject,
    /// The value of a key has the wrong type or is out of range.
    #[error("{key} is {found}; expected {expected}")]
    Value {
        /// Path of the key, such as `pretrained_cfg.mean`.
        key: String,
        /// The value in the file.
        found: String,
        /// Values that the key may have.
        expected: &'static str,
    },
}

/// A value and its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// The file and the path of the key in it, such as `config.json: pretrained_cfg.mean`.
    pub source: String,
}

/// Filters for resampling pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Cubic convolution.
    Bicubic,
    /// Triangle filter.
    Bilinear,
    /// Another filter, under timm's name.
    Other(String),
}

/// How a picture of another shape is brought to the network's shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CropMode {
    /// The picture is resized by its shorter side and cropped at the centre: timm's `center`.
    Centre,
    /// Both sides are resized, which may change their ratio: timm's `squash`.
    Squash,
    /// Another mode, under timm's name.
    Other(String),
}

/// Contents of a `config.json`; a field is `None` if the file does not state it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Path of the file.
    pub path: PathBuf,
    /// timm's name for the network.
    pub architecture: Option<Sourced<String>>,
    /// Height and width of the network's input in pixels.
    pub image: Option<Sourced<[usize; 2]>>,
    /// Mean of red, green and blue, for pixels scaled to 0 to 1.
    pub mean: Option<Sourced<[f32; 3]>>,
    /// Standard deviation of red, green and blue, for pixels scaled to 0 to 1.
    pub std: Option<Sourced<[f32; 3]>>,
    /// Share of the resized picture's shorter side that the crop keeps, greater than 0 and at most 1.
    pub crop: Option<Sourced<f32>>,
    /// How a picture of another shape is brought to the network's shape.
    pub crop_mode: Option<Sourced<CropMode>>,
    /// Filter for resampling pictures.
    pub interpolation: Option<Sourced<Interpolation>>,
    /// Number of classes.
    pub classes: Option<Sourced<usize>>,
    /// Names of the classes, in the order of the logits.
    pub labels: Option<Sourced<Vec<String>>>,
}

/// Returns the path of the weights in `folder`, which have one of the names in [`WEIGHTS`], or of the index of their
/// shards.
///
/// # Errors
/// Returns an error if the folder has no file of such a name.
pub fn weights_in(folder: &Path) -> Result<PathBuf> {
    let found = WEIGHTS.iter().chain(&INDICES).map(|name| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| Error::file(folder, NotACheckpoint::Folder))
}

/// Reads the `config.json` in the folder `checkpoint`, or inside or beside the file `checkpoint`.
///
/// A safetensors file has one inside if its metadata has the key `config`, as `resmlp-train` writes it. The function
/// returns `None` if there is neither.
///
/// # Errors
/// Returns an error if the file cannot be read, is longer than 16 MiB, is not a JSON object, or gives a key a value of
/// the wrong type or out of range. The error names the file and the key.
pub fn beside(checkpoint: &Path) -> Result<Option<Config>> {
    if let Some(text) = crate::safetensors::embedded(checkpoint, KEY)? {
        return parse(checkpoint, text.as_bytes()).map(Some);
    }
    let path = match checkpoint.is_dir() {
        true => checkpoint.join(CONFIG),
        false => checkpoint.with_file_name(CONFIG),
    };
    if !path.is_file() {
        return Ok(None);
    }
    read(&path).map(Some)
}

/// Reads the `config.json` at `path`.
///
/// # Errors
/// Returns an error if the file cannot be read, is longer than 16 MiB, is not a JSON object, or gives a key a value of
/// the wrong type or out of range. The error names the file and the key.
pub fn read(path: &Path) -> Result<Config> {
    let fail = |reason: ConfigReason| Error::file(path, reason);
    let bytes = crate::read_small(path, MAX_FILE_BYTES)?.ok_or_else(|| fail(ConfigReason::Long))?;
    parse(path, &bytes)
}

/// Parses a `config.json` that is in the file `path`.
fn parse(path: &Path, bytes: &[u8]) -> Result<Config> {
    let fail = |reason: ConfigReason| Error::file(path, reason);
    let json: Value = serde_json::from_slice(bytes).map_err(|reason| fail(reason.into()))?;
    let object = json.as_object().ok_or_else(|| fail(ConfigReason::NotAnObject))?;
    Reader { path, object }.config()
}

/// Reads values from the file's JSON object and from the object `pretrained_cfg` nested in it.
struct Reader<'a> {
    path: &'a Path,
    object: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn config(&self) -> Result<Config> {
        Ok(Config {
            path: self.path.to_path_buf(),
            architecture: self.read(&["architecture"], "a text", |v| v.as_str().map(str::to_string))?,
            image: self.read(&["input_size"], "[3, height, width]", image)?,
            mean: self.read(&["mean"], "three numbers", |v| triple(v).filter(|v| v.iter().all(|v| v.is_finite())))?,
            std: self.read(&["std"], "three numbers over 0", |v| {
                triple(v).filter(|std| std.iter().all(|v| v.is_finite() && *v > 0.0))
            })?,
            crop: self.read(&["crop_pct"], "a number over 0 and at most 1", |v| {
                v.as_f64().filter(|crop| *crop > 0.0 && *crop <= 1.0).map(|crop| crop as f32)
            })?,
            crop_mode: self.read(&["crop_mode"], "a text", |v| v.as_str().map(crop_mode))?,
            interpolation: self.read(&["interpolation"], "a text", |v| v.as_str().map(interpolation))?,
            classes: self.read(&["num_classes"], "a number of classes", |v| usize::try_from(v.as_u64()?).ok())?,
            labels: self.read(&["label_names", "id2label"], "one name for each class", labels)?,
        })
    }

    /// Reads the value of the first of `keys` that is present and not null.
    ///
    /// A value in the nested `pretrained_cfg` takes precedence over one in the outer object.
    fn read<T>(
        &self,
        keys: &[&str],
        expected: &'static str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<Sourced<T>>> {
        let nested = self.object.get("pretrained_cfg").and_then(Value::as_object);
        let objects = [nested.map(|object| ("pretrained_cfg.", object)), Some(("", self.object))];
        for (place, object) in objects.into_iter().flatten() {
            let found = keys.iter().find_map(|key| Some((key, object.get(*key).filter(|value| !value.is_null())?)));
            let Some((key, value)) = found else { continue };
            let value = parse(value).ok_or_else(|| {
                let found: String = value.to_string().chars().take(80).collect();
                Error::file(self.path, ConfigReason::Value { key: format!("{place}{key}"), found, expected })
            })?;
            let file = self.path.file_name().map_or_else(|| CONFIG.into(), |name| name.to_string_lossy());
            return Ok(Some(Sourced { value, source: format!("{file}: {place}{key}") }));
        }
        Ok(None)
    }
}

fn image(value: &Value) -> Option<[usize; 2]> {
    let numbers: Option<Vec<usize>> =
        value.as_array()?.iter().map(|length| usize::try_from(length.as_u64()?).ok()).collect();
    match numbers?.as_slice() {
        [3, height, width] if *height > 0 && *width > 0 => Some([*height, *width]),
        _ => None,
    }
}

fn triple(value: &Value) -> Option<[f32; 3]> {
    let numbers: Option<Vec<f32>> = value.as_array()?.iter().map(|number| number.as_f64().map(|n| n as f32)).collect();
    numbers?.try_into().ok()
}

fn crop_mode(name: &str) -> CropMode {
    match name {
        "center" => CropMode::Centre,
        "squash" => CropMode::Squash,
        other => CropMode::Other(other.into()),
    }
}

fn interpolation(name: &str) -> Interpolation {
    match name {
        "bicubic" => Interpolation::Bicubic,
        "bilinear" => Interpolation::Bilinear,
        other => Interpolation::Other(other.into()),
    }
}

fn labels(value: &Value) -> Option<Vec<String>> {
    crate::labels::of_json(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(CONFIG), json).unwrap();
        beside(&folder.path().join("model.safetensors")).map(Option::unwrap)
    }

    #[test]
    fn nested_values_come_before_flat_ones_and_say_where_they_stand() {
        let config = config(
            r#"{"architecture": "resmlp_12_224", "num_classes": 2, "label_names": ["cat", "dog"], "mean": [0, 0, 0],
                "crop_mode": "squash", "pretrained_cfg": {"mean": [0.5, 0.25, 0.125], "std": [1, 1, 1], "crop_pct": 0.875,
                "interpolation": "bicubic", "input_size": [3, 32, 64], "crop_mode": null}}"#,
        )
        .unwrap();
        let mean = config.mean.unwrap();
        assert_eq!((mean.value, mean.source.as_str()), ([0.5, 0.25, 0.125], "config.json: pretrained_cfg.mean"));
        let squash = config.crop_mode.unwrap();
        assert_eq!((squash.value, squash.source.as_str()), (CropMode::Squash, "config.json: crop_mode"));
        assert_eq!(config.image.unwrap().value, [32, 64]);
        assert_eq!(config.crop.unwrap().value, 0.875);
        assert_eq!(config.interpolation.unwrap().value, Interpolation::Bicubic);
        assert_eq!(config.labels.unwrap().value, ["cat", "dog"]);
        assert_eq!(config.classes.unwrap().value, 2);
    }

    #[test]
    fn a_flat_file_and_one_without_any_of_it_are_read() {
        let flat = config(r#"{"std": [0.5, 0.5, 0.5], "id2label": {"1": "dog", "0": "cat"}}"#).unwrap();
        assert_eq!(flat.std.unwrap().source, "config.json: std");
        assert_eq!(flat.labels.unwrap().value, ["cat", "dog"]);
        let foreign = config(r#"{"hidden_size": 768}"#).unwrap();
        assert_eq!((foreign.mean, foreign.labels, foreign.image), (None, None, None));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(beside(folder.path()).unwrap(), None);
    }

    #[test]
    fn a_config_inside_the_weights_comes_before_one_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resmlp.safetensors");
        let metadata = [(KEY.to_string(), r#"{"mean": [0.5, 0.25, 0.125]}"#.to_string())].into();
        let tensors: [(&str, safetensors::tensor::TensorView); 0] = [];
        std::fs::write(&path, safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
        std::fs::write(folder.path().join(CONFIG), r#"{"mean": [0, 0, 0]}"#).unwrap();
        let mean = beside(&path).unwrap().unwrap().mean.unwrap();
        assert_eq!((mean.value, mean.source.as_str()), ([0.5, 0.25, 0.125], "resmlp.safetensors: mean"));
        for damaged in ["short", "\u{8}\0\0\0\0\0\0\0notjson!", "\u{7f}\0\0\0\0\0\0\0{}"] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(beside(&path).unwrap().unwrap().mean.unwrap().source, "config.json: mean");
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error_with_file_and_key() {
        for (json, words) in [
            (r#"{"pretrained_cfg": {"std": [0.5, 0, 0.5]}}"#, "pretrained_cfg.std is [0.5,0,0.5]; expected three"),
            (r#"{"mean": 0.5}"#, "mean is 0.5; expected three numbers"),
            (r#"{"crop_pct": 2}"#, "crop_pct is 2; expected a number over 0"),
            (r#"{"input_size": [1, 32, 32]}"#, "input_size is [1,32,32]; expected [3, height, width]"),
            ("[]", "expected a JSON object"),
            ("{", "not JSON"),
        ] {
            let error = config(json).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("config.json"), "{error}");
        }
    }
}
