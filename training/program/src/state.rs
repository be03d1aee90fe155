//! Everything that training has to keep so that it can go on after an interruption as if there had been none.

use std::path::{Path, PathBuf};

use resmlp_cli::output;
use resmlp_train_core::optimiser::Optimiser;
use resmlp_train_core::{Layout, Mean};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Tensor;
use crate::error::{Error, Result};
use crate::recipe::Recipe;

/// Largest file of a saved state that is read.
const MAX_BYTES: u64 = 16 << 30;

/// Key of the file's metadata that holds the [`Progress`] and the [`Recipe`].
const KEY: &str = "training";

/// The state of a training between two batches.
pub struct State {
    /// Parameters after the last update.
    pub parameters: Vec<f32>,
    /// Moving average of the parameters; the checkpoint has these.
    pub mean: Mean,
    /// Moments of the optimiser.
    pub optimiser: Optimiser,
    /// Progress of the training.
    pub progress: Progress,
}

/// Progress of the training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Epochs that are complete.
    pub epoch: u64,
    /// Batches of the current epoch that are complete.
    pub batch: usize,
    /// Updates of the parameters in all.
    pub updates: u64,
    /// Sum of the losses of the current epoch's batches.
    pub loss: f64,
    /// Results of each complete epoch.
    pub history: Vec<Epoch>,
}

/// Results of one epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Number of the epoch, counted from 1.
    pub epoch: u64,
    /// Mean loss of the varied training pictures.
    pub loss: f64,
    /// Learning rate of the epoch's last update.
    pub rate: f64,
    /// Share of the held-out pictures that the averaged network classifies rightly; `null` without held-out pictures.
    pub top1: Option<f64>,
    /// Mean cross entropy of the held-out pictures.
    pub held_out_loss: Option<f64>,
}

/// The metadata of a saved state.
#[derive(Serialize, Deserialize)]
struct Saved {
    recipe: Recipe,
    classes: Vec<String>,
    progress: Progress,
}

impl State {
    /// Returns the state at the start of a training from these parameters.
    pub fn new(recipe: &Recipe, layout: &Layout, parameters: Vec<f32>) -> Self {
        let mean = Mean::new(&parameters, recipe.mean);
        let optimiser = Optimiser::new(recipe.settings(), layout);
        Self { parameters, mean, optimiser, progress: Progress::default() }
    }

    /// Writes the state completely or not at all.
    ///
    /// # Errors
    /// Returns an error that names `path` where it cannot be written.
    pub fn save(&self, path: &Path, recipe: &Recipe, classes: &[String]) -> Result<()> {
        let saved = Saved { recipe: recipe.clone(), classes: classes.to_vec(), progress: self.progress.clone() };
        let text = serde_json::to_string(&saved).map_err(|error| Error::file(path, error.to_string()))?;
        let tensors = self.tensors().map(|(name, data)| (name, Tensor { shape: vec![data.len()].into(), data }));
        let bytes = safetensors::serialize(tensors, Some([(KEY.to_owned(), text)].into()));
        let bytes = bytes.map_err(|error| Error::file(path, error.to_string()))?;
        Ok(output::write_atomically(path, &bytes)?)
    }

    /// Reads the state that a training with this recipe saved.
    ///
    /// # Errors
    /// Returns an error that names `path` where it cannot be read, is no saved state, or is that of another training.
    pub fn load(path: &Path, recipe: &Recipe, classes: &[String], layout: &Layout) -> Result<Self> {
        let fail = |message: String| Error::file(path, message);
        let bytes = resmlp_files::read(path, MAX_BYTES).map_err(|error| resmlp_cli::error::Error::io(path, error))?;
        let expected = "expected the saved state of an interrupted training";
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(format!("{e}; {expected}")))?;
        let text = metadata.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        let text = text.ok_or_else(|| fail(format!("no training in the metadata; {expected}")))?;
        let saved: Saved = serde_json::from_str(text).map_err(|e| fail(format!("{e}; {expected}")))?;
        if saved.recipe != *recipe {
            return Err(fail(difference(&saved.recipe, recipe)));
        }
        if saved.classes != classes {
            return Err(fail(
                "the training's classes are others than the data set's; expected the same data set".into(),
            ));
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(format!("{e}; {expected}")))?;
        let mut state = Self::new(recipe, layout, vec![0.0; layout.len()]);
        for (name, to) in state.tensors_mut() {
            let view = file.tensor(name).map_err(|e| fail(format!("{e}; {expected}")))?;
            if view.dtype() != Dtype::F32 || view.data().len() != 4 * to.len() {
                return Err(fail(format!("{name} has not {} numbers of 32 bits", to.len())));
            }
            let numbers = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            to.iter_mut().zip(numbers).for_each(|(to, number)| *to = number);
        }
        state.optimiser.updates = saved.progress.updates;
        state.progress = saved.progress;
        Ok(state)
    }

    fn tensors(&self) -> [(&'static str, &[f32]); 4] {
        [
            ("parameters", &self.parameters),
            ("mean", &self.mean.parameters),
            ("optimiser.mean", &self.optimiser.mean),
            ("optimiser.square", &self.optimiser.square),
        ]
    }

    fn tensors_mut(&mut self) -> [(&'static str, &mut [f32]); 4] {
        [
            ("parameters", &mut self.parameters),
            ("mean", &mut self.mean.parameters),
            ("optimiser.mean", &mut self.optimiser.mean),
            ("optimiser.square", &mut self.optimiser.square),
        ]
    }
}

/// Returns the file in which a training saves its state: the checkpoint's name with `.resume` behind it.
pub fn path_for(checkpoint: &Path) -> PathBuf {
    let mut name = checkpoint.as_os_str().to_owned();
    name.push(".resume");
    name.into()
}

/// Names the first setting in which two recipes differ.
fn difference(saved: &Recipe, asked: &Recipe) -> String {
    let [saved, asked] = [saved, asked].map(|recipe| serde_json::to_value(recipe).unwrap_or_default());
    let fields = saved.as_object().into_iter().flatten();
    let other =
        fields.filter_map(|(name, value)| Some((name, value, asked.get(name).filter(|asked| *asked != value)?)));
    match other.into_iter().next() {
        Some((name, saved, asked)) => {
            format!("the saved training has {name} {saved}, this one {asked}; expected the same flags")
        }
        None => "the saved training has other settings; expected the same flags".into(),
    }
}
