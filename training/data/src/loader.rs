//! Turns a data set into batches of normalised numbers, on threads of its own.

mod batches;
mod chunk;
mod plan;

use std::sync::Arc;

use resmlp_picture::{Picture, Preprocess};

use crate::augment::Augmentation;
use crate::dataset::{Dataset, Skipped};
use crate::error::{DataError, Result};
pub use batches::Batches;
use plan::{Order, Plan};

/// Most samples in a batch.
const MOST_SAMPLES: usize = 1 << 16;

/// Most background threads.
const MOST_THREADS: usize = 1024;

/// Samples that are processed together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Normalised values, `[views, batch, 3, height, width]`. Training on labels and evaluation have one view.
    pub images: Vec<f32>,
    /// Probability of each class, `[batch, classes]`, after label smoothing and mixing.
    pub targets: Vec<f32>,
    /// Label of each sample before smoothing and mixing, `[batch]`.
    pub labels: Vec<u32>,
    /// Index of each sample in the data set, `[batch]`.
    pub indices: Vec<u32>,
    /// The pixels that were normalised, `[views, batch, height, width, 3]`, if [`Loader::keep_pixels`] asks for them.
    pub pixels: Vec<u8>,
    /// Pictures that could not be read when their turn came. Training replaces them by the next readable picture of the
    /// data set, and evaluation leaves them out.
    pub skipped: Vec<Skipped>,
}

impl Batch {
    /// Returns the number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Tells whether there is no sample, because none of the batch's pictures could be read in evaluation.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Gives the batches of each epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    plan: Arc<Plan>,
    threads: usize,
}

impl Loader {
    /// Creates a loader for training: shuffled, varied, and without the last, incomplete batch.
    ///
    /// `input` gives the input's size, mean and standard deviation, and how pictures are resized. `threads` background
    /// threads prepare batches; with 0 the caller's thread does. The number of threads changes no bit of a batch.
    ///
    /// # Errors
    /// Fails if a setting is out of range, and if the data set has fewer pictures than a batch.
    pub fn training(
        dataset: Arc<Dataset>,
        augmentation: Augmentation,
        input: Preprocess,
        batch: usize,
        threads: usize,
        seed: u64,
    ) -> Result<Self> {
        Self::shuffled(dataset, vec![augmentation], input, batch, threads, seed)
    }

    /// Creates a loader that varies each picture in several ways, one for each view, for self-supervised training.
    ///
    /// [`Augmentation::dino_views`] gives DINO's views. The repeats of the first view count; none may mix.
    ///
    /// # Errors
    /// Returns the errors of [`Loader::training`], and fails if there is no view or if one of them mixes.
    pub fn multi_view(
        dataset: Arc<Dataset>,
        views: Vec<Augmentation>,
        input: Preprocess,
        batch: usize,
        threads: usize,
        seed: u64,
    ) -> Result<Self> {
        if views.is_empty() {
            return Err(DataError::Setting { setting: "views", found: "0".into(), expected: "at least one" });
        }
        if views.iter().any(|view| view.mix.is_on()) {
            let expected = "views without mixup and cutmix";
            return Err(DataError::Setting { setting: "views", found: "a mixture".into(), expected });
        }
        Self::shuffled(dataset, views, input, batch, threads, seed)
    }

    fn shuffled(
        dataset: Arc<Dataset>,
        views: Vec<Augmentation>,
        input: Preprocess,
        batch: usize,
        threads: usize,
        seed: u64,
    ) -> Result<Self> {
        views.iter().try_for_each(Augmentation::validate)?;
        if (1..=MOST_SAMPLES).contains(&batch) && dataset.len() < batch {
            return Err(DataError::TooFewPictures {
                found: dataset.len(),
                expected: batch,
                advice: "choose a smaller batch, or add pictures".into(),
            });
        }
        Self::new(Plan::new(dataset, views, input, batch, Order::Shuffled { seed }), threads)
    }

    /// Creates a loader for evaluation: all pictures in order, prepared as `resmlp eval` prepares them.
    ///
    /// The last batch may be smaller than the others.
    ///
    /// # Errors
    /// Fails if a setting is out of range.
    pub fn evaluation(dataset: Arc<Dataset>, input: Preprocess, batch: usize, threads: usize) -> Result<Self> {
        Self::new(Plan::new(dataset, vec![Augmentation::none()], input, batch, Order::AsListed), threads)
    }

    fn new(plan: Plan, threads: usize) -> Result<Self> {
        plan.input.validate().map_err(|error| DataError::Setting {
            setting: "preprocessing",
            found: error.to_string(),
            expected: "values that pictures can be prepared with",
        })?;
        let setting =
            |setting, found: usize, expected| DataError::Setting { setting, found: found.to_string(), expected };
        if !(1..=MOST_SAMPLES).contains(&plan.batch) {
            return Err(setting("batch", plan.batch, "1 to 65536 samples"));
        }
        if threads > MOST_THREADS {
            return Err(setting("threads", threads, "at most 1024"));
        }
        Ok(Self { plan: Arc::new(plan), threads })
    }

    /// Makes the batches carry the pixels that were normalised, for arithmetic on whole numbers.
    ///
    /// # Errors
    /// Fails if the augmentation erases or mixes, because the images are then not what the pixels show.
    pub fn keep_pixels(mut self) -> Result<Self> {
        if self.plan.views.iter().any(|view| view.erasing.is_some() || view.mix.is_on()) {
            return Err(DataError::Setting {
                setting: "augmentation",
                found: "erasing or mixing".into(),
                expected: "neither of them where pixels are kept",
            });
        }
        Arc::make_mut(&mut self.plan).keeps_pixels = true;
        Ok(self)
    }

    /// Returns the data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.plan.dataset
    }

    /// Returns how pictures are prepared: the input's size, mean and standard deviation.
    pub fn input(&self) -> &Preprocess {
        &self.plan.input
    }

    /// Returns the number of views of each sample.
    pub fn views(&self) -> usize {
        self.plan.views.len()
    }

    /// Returns the number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.plan.batches()
    }

    /// Returns the batches of an epoch from batch `first` on. Skipping batches costs nothing.
    pub fn epoch(&self, epoch: u64, first: usize) -> Batches {
        Batches::new(self.plan.clone(), epoch, first, self.threads)
    }
}

/// Returns the picture that normalised values `[3, height, width]` show, clipped to what pixels can hold, for reports.
///
/// # Panics
/// Panics if the number of values is not that of the input.
pub fn denormalise(image: &[f32], input: &Preprocess) -> Picture {
    let [height, width] = input.image;
    let plane = height * width;
    assert_eq!(image.len(), 3 * plane, "the values of one image");
    let value = |pixel: usize, c: usize| {
        ((image[c * plane + pixel] * input.std[c] + input.mean[c]) * 255.0).round().clamp(0.0, 255.0) as u8
    };
    let rgb = (0..plane).flat_map(|pixel| [0, 1, 2].map(|c| value(pixel, c))).collect();
    Picture::from_rgb(height as u32, width as u32, rgb).expect("an input of at least one pixel")
}
