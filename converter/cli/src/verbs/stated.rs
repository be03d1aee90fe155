//! Finds out how pictures are prepared for a checkpoint and what its classes are called.
//!
//! Flags come first, then the checkpoint itself, then the `config.json` beside it. Settings that none of them states
//! are those of ImageNet.

use std::fmt;
use std::path::Path;

use resmlp_checkpoint::config::{self, Config, CropMode, Interpolation, Sourced};
use resmlp_checkpoint::{Checkpoint, labels};
use resmlp_cli::error::Result;
use resmlp_cli::terminal;
use resmlp_picture::{Fit, Preprocess, ResizeMode};
use serde::Serialize;

use super::flags::{LabelFlags, PreprocessFlags};

/// The source of each setting of the preprocessing: `flag`, `file`, `assumed`, or a key such as
/// `config.json: pretrained_cfg.mean`.
#[derive(Clone, Debug, Serialize)]
pub struct Sources {
    /// The source of the mean.
    pub mean: String,
    /// The source of the standard deviation.
    pub std: String,
    /// The source of the fit.
    pub fit: String,
    /// The source of the crop.
    pub crop: String,
    /// The source of the filter.
    pub resize: String,
}

impl Sources {
    /// Returns the sources of a packed model, which carries every setting.
    pub fn of_model() -> Self {
        Self::all("file")
    }

    fn all(source: &str) -> Self {
        let [mean, std, fit, crop, resize] = [source; 5].map(str::to_owned);
        Self { mean, std, fit, crop, resize }
    }

    /// Returns the sources of mean, standard deviation, fit, crop and filter, in this order.
    fn each(&mut self) -> [&mut String; 5] {
        [&mut self.mean, &mut self.std, &mut self.fit, &mut self.crop, &mut self.resize]
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mean, std, fit, crop, resize } = self;
        let settings = [("filter", resize), ("fit", fit), ("crop", crop), ("mean", mean), ("std", std)];
        let all = |source: &str| settings.iter().all(|(_, found)| *found == source);
        if all("file") {
            return f.write_str("the model itself");
        }
        if all("assumed") {
            return f.write_str(
                "nowhere: ImageNet's are assumed (--resize-mode, --fit, --crop, --mean and --std name others)",
            );
        }
        let texts: Vec<String> = settings.iter().map(|(name, source)| format!("{name}: {source}")).collect();
        f.write_str(&texts.join("; "))
    }
}

/// Preprocessing and class names of a checkpoint.
pub struct Stated {
    /// How pictures are prepared.
    pub preprocess: Preprocess,
    /// Where its settings come from.
    pub sources: Sources,
    /// Names of the classes, or none.
    pub labels: Vec<String>,
    /// Where the names come from: `flag`, or a key of the `config.json`. It is `None` where there are no names.
    pub labels_source: Option<String>,
}

/// Finds out how pictures are prepared for `checkpoint`, which was read from `path`, and what its classes are called.
///
/// # Errors
/// Returns an error where a flag has a value that no picture can be prepared with, where the labels do not fit the
/// network, and where a `config.json` beside the weights is damaged.
pub fn stated(
    path: &Path,
    checkpoint: &Checkpoint,
    preprocess: &PreprocessFlags,
    labels: &LabelFlags,
) -> Result<Stated> {
    let config = config::beside(path)?;
    let mut default = Preprocess::imagenet(checkpoint.network.image);
    let mut sources = Sources::all("assumed");
    if let Some(config) = &config {
        configure(config, &mut default, &mut sources);
    }
    if let Some((mean, std)) = checkpoint.normalisation {
        (default.mean, default.std) = (mean, std);
        (sources.mean, sources.std) = ("file".to_owned(), "file".to_owned());
    }
    for (source, is_flag) in sources.each().into_iter().zip(preprocess.given()) {
        if is_flag {
            *source = "flag".to_owned();
        }
    }
    let labels = match &labels.labels {
        Some(file) => Some(Sourced { value: labels::read(file, checkpoint.network.outputs())?, source: "flag".into() }),
        None => config.and_then(|config| labels_of(config, checkpoint)),
    };
    let (labels, labels_source) = labels.map_or((vec![], None), |found| (found.value, Some(found.source)));
    Ok(Stated { preprocess: preprocess.over(&default)?, sources, labels, labels_source })
}

/// Applies the settings of a `config.json`, and prints a note for each that this program does not know.
fn configure(config: &Config, preprocess: &mut Preprocess, sources: &mut Sources) {
    fn take<T: Copy>(stated: &Option<Sourced<T>>, value: &mut T, source: &mut String) {
        if let Some(stated) = stated {
            *value = stated.value;
            source.clone_from(&stated.source);
        }
    }
    take(&config.mean, &mut preprocess.mean, &mut sources.mean);
    take(&config.std, &mut preprocess.std, &mut sources.std);
    take(&config.crop, &mut preprocess.crop, &mut sources.crop);
    if let Some(filter) = &config.interpolation {
        let mode = match &filter.value {
            Interpolation::Bicubic => Some(ResizeMode::Bicubic),
            Interpolation::Bilinear => Some(ResizeMode::Bilinear),
            Interpolation::Other(name) => {
                let message = format!("{} asks for '{name}', which is not known here: bicubic is used", filter.source);
                terminal::note(&message);
                None
            }
        };
        if let Some(mode) = mode {
            preprocess.resize = mode;
            sources.resize.clone_from(&filter.source);
        }
    }
    if let Some(mode) = &config.crop_mode {
        let fit = match &mode.value {
            CropMode::Centre => Some(Fit::Crop),
            CropMode::Squash => Some(Fit::Squash),
            CropMode::Other(name) => {
                let message = format!("{} asks for '{name}', which is not known here", mode.source);
                terminal::note(&format!("{message}: the centre is cut out"));
                None
            }
        };
        if let Some(fit) = fit {
            preprocess.fit = fit;
            sources.fit.clone_from(&mode.source);
        }
    }
}

/// Returns the names of the classes in a `config.json`, if it has one for each class of the network.
fn labels_of(config: Config, checkpoint: &Checkpoint) -> Option<Sourced<Vec<String>>> {
    let labels = config.labels?;
    let classes = checkpoint.network.outputs();
    if checkpoint.network.head.is_none() || labels.value.len() != classes {
        let message = format!("{} names {} classes, the network has {classes}", labels.source, labels.value.len());
        terminal::note(&format!("{message}: the names are left out"));
        return None;
    }
    Some(labels)
}
