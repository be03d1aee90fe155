//! Turns a data set into batches of normalised numbers, on threads of its own.

use std::sync::Arc;

use resmlp_picture::{Picture, Preprocess};

use crate::augment::Augmentation;
use crate::dataset::Dataset;
use crate::error::Result;

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
}

/// Gives the batches of each epoch.
#[derive(Clone, Debug)]
pub struct Loader {
    dataset: Arc<Dataset>,
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
        _dataset: Arc<Dataset>,
        _augmentation: Augmentation,
        _input: Preprocess,
        _batch: usize,
        _threads: usize,
        _seed: u64,
    ) -> Result<Self> {
        todo!()
    }

    /// Creates a loader that varies each picture in several ways, one for each view, for self-supervised training.
    ///
    /// [`Augmentation::dino_views`] gives DINO's views. The repeats of the first view count; none may mix.
    ///
    /// # Errors
    /// Returns the errors of [`Loader::training`], and fails if there is no view or if one of them mixes.
    pub fn multi_view(
        _dataset: Arc<Dataset>,
        _views: Vec<Augmentation>,
        _input: Preprocess,
        _batch: usize,
        _threads: usize,
        _seed: u64,
    ) -> Result<Self> {
        todo!()
    }

    /// Creates a loader for evaluation: all pictures in order, prepared as `resmlp eval` prepares them.
    ///
    /// The last batch may be smaller than the others.
    ///
    /// # Errors
    /// Fails if a setting is out of range.
    pub fn evaluation(_dataset: Arc<Dataset>, _input: Preprocess, _batch: usize, _threads: usize) -> Result<Self> {
        todo!()
    }

    /// Makes the batches carry the pixels that were normalised, for arithmetic on whole numbers.
    ///
    /// # Errors
    /// Fails if the augmentation erases or mixes, because the images are then not what the pixels show.
    pub fn keep_pixels(self) -> Result<Self> {
        todo!()
    }

    /// Returns the data set.
    pub fn dataset(&self) -> &Arc<Dataset> {
        &self.dataset
    }

    /// Returns the number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        todo!()
    }

    /// Returns the batches of an epoch from batch `first` on. Skipping batches costs nothing.
    ///
    /// Pictures that cannot be read when their turn comes are replaced by the next readable one of the data set.
    pub fn epoch(&self, _epoch: u64, _first: usize) -> Batches {
        todo!()
    }
}

/// The batches of one epoch, in order.
#[derive(Debug)]
pub struct Batches {}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}

/// Returns the picture that normalised values `[3, height, width]` show, clipped to what pixels can hold, for reports.
///
/// # Panics
/// Panics if the number of values is not that of the input.
pub fn denormalise(_image: &[f32], _input: &Preprocess) -> Picture {
    todo!()
}
