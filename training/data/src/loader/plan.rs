//! What a loader does in every epoch.

use std::sync::Arc;

use resmlp_picture::Preprocess;

use crate::augment::Augmentation;
use crate::dataset::Dataset;
use crate::random::{Purpose, Random};

/// The order of the samples in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Another order in each epoch, without an incomplete batch: for training.
    Shuffled { seed: u64 },
    /// The data set's order: for evaluation.
    AsListed,
}

/// The settings of a loader.
#[derive(Clone, Debug)]
pub struct Plan {
    pub dataset: Arc<Dataset>,
    /// Variation of a picture for each view.
    pub views: Vec<Augmentation>,
    pub input: Preprocess,
    /// Samples in a batch.
    pub batch: usize,
    pub order: Order,
    pub keeps_pixels: bool,
    /// The normalised value of each value of red, green and blue.
    tables: [[f32; 256]; 3],
}

impl Plan {
    pub fn new(dataset: Arc<Dataset>, views: Vec<Augmentation>, input: Preprocess, batch: usize, order: Order) -> Self {
        let mut tables = [[0.0; 256]; 3];
        for (c, table) in tables.iter_mut().enumerate() {
            for (value, entry) in (0..=255u8).zip(table) {
                // The same operations as in `Preprocess::normalise`, so that both give the same bits.
                *entry = (f32::from(value) / 255.0 - input.mean[c]) / input.std[c];
            }
        }
        Self { dataset, views, input, batch, order, keeps_pixels: false, tables }
    }

    /// Returns the number of values in a normalised image.
    pub fn image_len(&self) -> usize {
        3 * self.input.image[0] * self.input.image[1]
    }

    /// Returns the number of batches in an epoch.
    pub fn batches(&self) -> usize {
        match self.order {
            Order::Shuffled { .. } => self.dataset.len() / self.batch,
            Order::AsListed => self.dataset.len().div_ceil(self.batch),
        }
    }

    /// Returns the indices of an epoch's pictures in the order of their use: whole batches in training, all pictures in
    /// evaluation.
    ///
    /// Repeated augmentation puts the variants of a picture next to each other and ends the epoch after as many samples
    /// as there are pictures: timm's `RepeatAugSampler` with one process, except that timm rounds the number of samples
    /// down to a multiple of 256 rather than of the batch.
    pub fn indices(&self, epoch: u64) -> Vec<u32> {
        let mut indices: Vec<u32> = (0..self.dataset.len() as u32).collect();
        if let Order::Shuffled { seed } = self.order {
            Random::new(seed, epoch, Purpose::Order, 0).shuffle(&mut indices);
            let repeats = self.views[0].repeats as usize;
            indices = (0..self.batches() * self.batch).map(|position| indices[position / repeats]).collect();
        }
        indices
    }

    /// Normalises pixels `[height, width, 3]` to an image `[3, height, width]`.
    pub fn normalise(&self, pixels: &[u8], image: &mut [f32]) {
        let (pixels, _) = pixels.as_chunks::<3>();
        let planes = image.chunks_exact_mut(pixels.len());
        for ((c, table), plane) in self.tables.iter().enumerate().zip(planes) {
            for (value, pixel) in plane.iter_mut().zip(pixels) {
                *value = table[usize::from(pixel[c])];
            }
        }
    }
}
