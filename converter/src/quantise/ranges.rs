//! Chooses the ranges of 8-bit activations: those with the smallest mean squared error on the samples.

/// Samples of a channel that are looked at.
const SAMPLES: usize = 2048;

/// Shares of the samples that a candidate range leaves out at one end.
const TAILS: [f64; 6] = [0.0, 0.0005, 0.001, 0.002, 0.004, 0.008];

/// A range of real values that 256 evenly spaced levels cover.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// Smallest value represented.
    pub low: f32,
    /// Largest value represented.
    pub high: f32,
}

impl Range {
    /// Distance of two levels; never 0.
    pub fn step(&self) -> f32 {
        ((self.high - self.low) / 255.0).max(f32::MIN_POSITIVE)
    }

    fn error(&self, samples: &[f32]) -> f64 {
        let (step, inverse) = (self.step(), 1.0 / self.step());
        let error = |x: f32| {
            let level = ((x - self.low) * inverse).round_ties_even().clamp(0.0, 255.0);
            (x - (self.low + level * step)).powi(2)
        };
        samples.iter().map(|&x| f64::from(error(x))).sum()
    }
}

/// The best range for values of which `samples` are representative; both ends are searched. `floor` is a lower bound of
/// `high - low`: noise of less than that is not worth levels.
pub fn best(samples: &mut Vec<f32>, fixed_low: Option<f32>) -> Range {
    thin(samples);
    samples.sort_unstable_by(f32::total_cmp);
    let Some(last) = samples.len().checked_sub(1) else { return Range { low: 0.0, high: 0.0 } };
    let at = |share: f64| samples[((last as f64 * share).round() as usize).min(last)];
    let mut best = (f64::INFINITY, Range { low: samples[0], high: samples[last] });
    let lows: Vec<f32> = match fixed_low {
        Some(low) => vec![low],
        None => TAILS.iter().map(|&t| at(t)).collect(),
    };
    for &low in &lows {
        for tail in TAILS {
            let range = Range { low, high: at(1.0 - tail).max(low) };
            let error = range.error(samples);
            if error < best.0 {
                best = (error, range);
            }
        }
    }
    best.1
}

/// Keeps at most [`SAMPLES`] samples, evenly spaced, and the two extremes.
fn thin(samples: &mut Vec<f32>) {
    if samples.len() <= SAMPLES {
        return;
    }
    let (low, high) = samples.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let count = samples.len();
    *samples = (0..SAMPLES).map(|i| samples[i * count / SAMPLES]).chain([low, high]).collect();
}

#[cfg(test)]
mod tests {
    use super::best;

    #[test]
    fn an_outlier_is_clipped_when_that_helps_the_rest() {
        let mut samples: Vec<f32> = (0..2000).map(|i| (i as f32 * 0.7).sin()).collect();
        samples[7] = 3.0;
        let range = best(&mut samples.clone(), None);
        assert!(range.high <= 3.0 && range.low >= -1.0);
        samples[7] = 1e6;
        let range = best(&mut samples, None);
        assert!(range.high == 1e6, "one value so far out costs more than the rest: {range:?}");
    }

    #[test]
    fn constant_and_empty_inputs_have_a_range() {
        assert!(best(&mut vec![2.5; 10], None).step() > 0.0);
        assert!(best(&mut Vec::new(), None).step() > 0.0);
    }
}
