//! Chooses the ranges of 8-bit activations so that the mean squared error over all calibration values is smallest.
//!
//! Every calibration value counts, not a sample of them. One token in a thousand can carry values ten times as large as
//! the rest, and clipping that token costs more than the finer steps gain for the other tokens.

use rayon::prelude::*;

/// Number of bins of a histogram. It is four times the number of steps of a range, which is 255.
const BINS: usize = 1024;

/// Shares of the values that the candidate ranges leave out at one end.
const TAILS: [f64; 7] = [0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3];

/// Number of channels that are counted together. Their values fill one cache line of 64 bytes.
const TOGETHER: usize = 16;

/// A range of real values that 256 evenly spaced levels cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    /// Smallest value that a level represents.
    pub low: f32,
    /// Largest value that a level represents.
    pub high: f32,
}

impl Range {
    /// Creates the range from the smallest to the largest of `values`, or the range 0..=0 where there are none.
    pub fn of<'a>(values: impl Iterator<Item = &'a f32>) -> Self {
        let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
        if low <= high { Self { low, high } } else { Self { low: 0.0, high: 0.0 } }
    }

    /// Returns the distance of two neighbouring levels, which is never 0.
    pub fn step(&self) -> f32 {
        ((self.high - self.low) / 255.0).max(f32::MIN_POSITIVE)
    }
}

/// Counts how often the values of one channel occurred. Values outside of the bounds count in the first or the last
/// bin.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    /// Range that the bins divide evenly.
    bounds: Range,
    /// Smallest and largest value counted so far; empty (`low > high`) at first.
    seen: Range,
    /// Number of values in each bin, `[BINS]`.
    counts: Vec<u32>,
}

impl Histogram {
    /// Creates an empty histogram over `bounds`.
    pub fn new(bounds: Range) -> Self {
        let seen = Range { low: f32::INFINITY, high: f32::NEG_INFINITY };
        Self { bounds, seen, counts: vec![0; BINS] }
    }

    /// Counts one value.
    pub fn add(&mut self, value: f32) {
        let place = (value - self.bounds.low) / self.width();
        self.counts[(place as usize).min(BINS - 1)] += 1;
        self.seen = Range { low: self.seen.low.min(value), high: self.seen.high.max(value) };
    }

    /// Returns the width of a bin, which is never 0.
    fn width(&self) -> f32 {
        ((self.bounds.high - self.bounds.low) / BINS as f32).max(f32::MIN_POSITIVE)
    }

    /// Returns the value that stands for a bin: its middle, or the farthest value seen where the bin also counts values
    /// beyond the bounds.
    fn middle(&self, bin: usize) -> f32 {
        match bin {
            0 if self.seen.low < self.bounds.low => self.seen.low,
            _ if bin == BINS - 1 && self.seen.high > self.bounds.high => self.seen.high,
            _ => (self.bounds.low + (bin as f32 + 0.5) * self.width()).clamp(self.seen.low, self.seen.high),
        }
    }

    /// Returns the value below which this share of all values lies.
    fn quantile(&self, share: f64) -> f32 {
        let total: u64 = self.counts.iter().map(|&c| u64::from(c)).sum();
        let wanted = (total as f64 * share) as u64;
        let mut below = 0;
        for (bin, &count) in self.counts.iter().enumerate() {
            below += u64::from(count);
            if below > wanted {
                return self.middle(bin);
            }
        }
        self.seen.high
    }

    /// Returns the summed squared error of 256 levels over `range`. Values within the range are rounded, values outside
    /// of it are clipped.
    fn error(&self, range: Range) -> f64 {
        let rounding = f64::from(range.step()).powi(2) / 12.0;
        let bins = self.counts.iter().enumerate().filter(|&(_, &count)| count > 0);
        bins.map(|(bin, &count)| {
            let x = self.middle(bin);
            f64::from(count) * (rounding + f64::from(x - x.clamp(range.low, range.high)).powi(2))
        })
        .sum()
    }

    /// Returns the range with the smallest error. With `keep_low` the range starts at the smallest value seen.
    pub fn best(&self, keep_low: bool) -> Range {
        if self.seen.low > self.seen.high {
            return Range { low: 0.0, high: 0.0 };
        }
        let lows: Vec<f32> = TAILS.iter().map(|&t| if t == 0.0 { self.seen.low } else { self.quantile(t) }).collect();
        let highs = TAILS.map(|t| if t == 0.0 { self.seen.high } else { self.quantile(1.0 - t) });
        let lows = if keep_low { &lows[..1] } else { &lows };
        let candidates = lows.iter().flat_map(|&low| highs.iter().map(move |&high| Range { low, high: high.max(low) }));
        let scored = candidates.map(|range| (self.error(range), range));
        scored.min_by(|a, b| a.0.total_cmp(&b.0)).map_or(self.seen, |(_, range)| range)
    }
}

/// Counts each column of `rows` (`[count, dim]`) into its own histogram.
pub(crate) fn count(histograms: &mut [Histogram], rows: &[f32]) {
    let dim = histograms.len();
    histograms.par_chunks_mut(TOGETHER).enumerate().for_each(|(group, histograms)| {
        for row in rows.chunks_exact(dim) {
            let values = &row[group * TOGETHER..][..histograms.len()];
            histograms.iter_mut().zip(values).for_each(|(h, &v)| h.add(v));
        }
    });
}

/// Returns the range of each column of `rows`, `[count, dim]`.
pub(crate) fn extremes(rows: &[f32], dim: usize) -> Vec<Range> {
    let mut ranges = vec![Range { low: f32::INFINITY, high: f32::NEG_INFINITY }; dim];
    for row in rows.chunks_exact(dim) {
        for (range, &x) in ranges.iter_mut().zip(row) {
            *range = Range { low: range.low.min(x), high: range.high.max(x) };
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::{Histogram, Range, count};

    fn histogram(values: &[f32]) -> Histogram {
        let mut histograms = [Histogram::new(Range::of(values.iter()))];
        count(&mut histograms, values);
        histograms[0].clone()
    }

    #[test]
    fn a_lone_outlier_is_clipped_where_that_serves_enough_others() {
        let with_outlier = |count: usize| {
            let mut values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
            values[7] = 3.0;
            histogram(&values).best(false)
        };
        // Clipping the outlier costs (3 − 1)² once. Keeping it widens the range from 2 to 4, which costs
        // (4² − 2²) / (255² · 12) for every value: less than the outlier for 100,000 values, more for a million.
        let (many, few) = (with_outlier(1_000_000), with_outlier(100_000));
        assert!(many.high < 1.1 && many.low < -0.99, "{many:?}");
        assert!(few.high > 2.9, "{few:?}");
    }

    #[test]
    fn constant_and_empty_channels_have_a_range() {
        assert!(histogram(&[2.5; 10]).best(false).step() > 0.0);
        assert!(histogram(&[]).best(false).step() > 0.0);
    }

    #[test]
    fn values_beyond_the_bounds_still_count() {
        let mut h = Histogram::new(Range { low: 0.0, high: 1.0 });
        [0.5, 0.6, -3.0, 9.0].into_iter().for_each(|v| h.add(v));
        assert_eq!(h.best(false), Range { low: -3.0, high: 9.0 });
    }
}
