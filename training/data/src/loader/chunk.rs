//! Prepares a few samples of a batch, the unit of work of one thread.

use std::borrow::Cow;
use std::ops::Range;

use resmlp_picture::Picture;

use super::plan::{Order, Plan};
use crate::augment::Varier;
use crate::dataset::Skipped;
use crate::error::{DataError, Result};
use crate::random::{Purpose, Random};

/// Most samples in a chunk.
pub const SAMPLES: usize = 16;

/// Most unreadable pictures in a row that training replaces.
const MOST_UNREADABLE: usize = 1000;

/// Some samples of a batch.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Normalised values, `[samples, views, 3, height, width]`.
    pub images: Vec<f32>,
    /// The pixels, `[samples, views, height, width, 3]`, or nothing.
    pub pixels: Vec<u8>,
    pub labels: Vec<u32>,
    pub indices: Vec<u32>,
    pub skipped: Vec<Skipped>,
}

/// An epoch: what its samples are and the key of their random numbers.
#[derive(Debug)]
pub struct Epoch {
    pub number: u64,
    /// Index of the picture at each position.
    pub indices: Vec<u32>,
}

impl Chunk {
    /// Prepares the samples at the given positions of an epoch. The chunk's memory is used again.
    pub fn fill(&mut self, plan: &Plan, epoch: &Epoch, positions: Range<usize>, varier: &mut Varier) -> Result<()> {
        self.images.clear();
        self.pixels.clear();
        self.labels.clear();
        self.indices.clear();
        self.skipped.clear();
        for position in positions {
            let Some((index, picture)) = self.read(plan, epoch.indices[position])? else { continue };
            self.labels.push(plan.dataset.label(index as usize));
            self.indices.push(index);
            for view in 0..plan.views.len() {
                self.prepare(plan, epoch.number, position, view, &picture, varier).map_err(|reason| {
                    DataError::Picture { name: plan.dataset.name(index as usize).to_owned(), reason }
                })?;
            }
        }
        Ok(())
    }

    /// Reads a picture. Where it cannot be read, training takes the next one that can; evaluation takes none.
    fn read<'p>(&mut self, plan: &'p Plan, index: u32) -> Result<Option<(u32, Cow<'p, Picture>)>> {
        let count = plan.dataset.len();
        for step in 0..count.min(MOST_UNREADABLE) {
            let index = (index as usize + step) % count;
            let outcome = match plan.order {
                Order::Shuffled { .. } => plan.dataset.picture(index),
                Order::AsListed => plan.dataset.original(index),
            };
            match outcome {
                Ok(picture) => return Ok(Some((index as u32, picture))),
                Err(DataError::Picture { name, reason }) => self.skipped.push(Skipped { name, reason }),
                Err(error) => return Err(error),
            }
            if plan.order == Order::AsListed {
                return Ok(None);
            }
        }
        let Skipped { name, reason } = self.skipped.pop().expect("a data set with pictures");
        Err(DataError::Picture { name, reason: format!("{reason}; nor can the pictures before it be read") })
    }

    /// Adds one view of a sample.
    fn prepare(
        &mut self,
        plan: &Plan,
        epoch: u64,
        position: usize,
        view: usize,
        picture: &Picture,
        varier: &mut Varier,
    ) -> std::result::Result<(), String> {
        let start = self.images.len();
        self.images.resize(start + plan.image_len(), 0.0);
        let image = &mut self.images[start..];
        let pixels = match plan.order {
            Order::AsListed => {
                let pixels = varier.prepare(picture, &plan.input)?;
                plan.normalise(pixels, image);
                pixels
            }
            Order::Shuffled { seed } => {
                let augmentation = &plan.views[view];
                let place = position * plan.views.len() + view;
                let mut random = Random::new(seed, epoch, Purpose::Sample, place as u64);
                let pixels = varier.vary(picture, augmentation, &plan.input, &mut random)?;
                plan.normalise(pixels, image);
                if let Some(erasing) = &augmentation.erasing
                    && let Some(part) = erasing.draw(&mut random, plan.input.image)
                {
                    erasing.erase(image, plan.input.image, part, &mut random);
                }
                pixels
            }
        };
        if plan.keeps_pixels {
            self.pixels.extend_from_slice(pixels);
        }
        Ok(())
    }
}
