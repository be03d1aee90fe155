//! The learning rate over the course of training.

use std::f64::consts::PI;

/// A linear warm-up followed by half a cosine, as timm's `CosineLRScheduler` computes it for each update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Learning rate after the warm-up.
    pub peak: f64,
    /// Learning rate of the first update of the warm-up.
    pub start: f64,
    /// Learning rate after the last update.
    pub end: f64,
    /// Updates of the warm-up. They are the first ones of `total`.
    pub warmup: u64,
    /// Updates in all.
    pub total: u64,
}

impl Schedule {
    /// Returns the learning rate of an update, counted from 0.
    pub fn at(&self, update: u64) -> f64 {
        let Self { peak, start, end, warmup, total } = *self;
        if update < warmup {
            return start + (peak - start) * update as f64 / warmup as f64;
        }
        if update >= total {
            return end;
        }
        end + 0.5 * (peak - end) * (1.0 + (PI * update as f64 / total as f64).cos())
    }
}
