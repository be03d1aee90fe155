//! Measures how well two forward passes agree: same first class, cosine of the logits, signal-to-noise ratio.

use resmlp_runtime::top;

/// Returns whether both vectors of logits have the same class first. Logits with a NaN have no first class and agree
/// with nothing.
pub fn agree(a: &[f32], b: &[f32]) -> bool {
    let best = |logits: &[f32]| {
        let has_order = !logits.iter().any(|logit| logit.is_nan());
        has_order.then(|| top::<1>(logits).first().map(|(class, _)| *class)).flatten()
    };
    best(a).is_some() && best(a) == best(b)
}

/// Returns the cosine of the angle between two vectors: 1 where both are zero, -1 where only one is or a value is NaN.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    match product(a, b) / lengths {
        cosine if cosine.is_finite() => cosine.clamp(-1.0, 1.0),
        _ if lengths == 0.0 && product(a, a) == product(b, b) => 1.0,
        _ => -1.0,
    }
}

/// Returns the signal-to-quantisation-noise ratio of `found` against `exact` in dB. Both slices have the same length.
pub fn sqnr_db(exact: &[f32], found: &[f32]) -> f64 {
    let mut difference = Difference::default();
    difference.add(exact, found);
    difference.sqnr_db()
}

/// The difference between computed values and exact ones, gathered over many pictures.
pub struct Difference {
    /// Sum of the squared exact values.
    signal: f64,
    /// Sum of the squared differences.
    noise: f64,
    /// Largest absolute difference; infinite where a value is NaN.
    pub largest: f64,
    /// Smallest exact value.
    low: f64,
    /// Largest exact value.
    high: f64,
}

impl Default for Difference {
    fn default() -> Self {
        Self { signal: 0.0, noise: 0.0, largest: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY }
    }
}

impl Difference {
    /// Adds the values of one picture. Both slices have the same length.
    pub fn add(&mut self, exact: &[f32], found: &[f32]) {
        for (exact, found) in exact.iter().zip(found).map(|(&e, &f)| (f64::from(e), f64::from(f))) {
            let error = (exact - found).abs();
            // A NaN counts as an infinite difference.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            self.signal += exact * exact;
            self.noise += error * error;
            self.largest = self.largest.max(error);
            self.low = self.low.min(exact);
            self.high = self.high.max(exact);
        }
    }

    /// Returns the distance from the smallest to the largest exact value.
    pub fn range(&self) -> f64 {
        (self.high - self.low).max(0.0)
    }

    /// Returns the largest difference as a share of [`Self::range`].
    pub fn relative(&self) -> f64 {
        self.largest / self.range().max(f64::MIN_POSITIVE)
    }

    /// Returns the signal-to-noise ratio in dB. A signal or a noise below 1e-30 counts as 1e-30.
    pub fn sqnr_db(&self) -> f64 {
        10.0 * (self.signal.max(1e-30) / self.noise.max(1e-30)).log10()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines() {
        assert_eq!(cosine(&[1.0, 0.0], &[2.0, 0.0]), 1.0);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        assert_eq!(cosine(&[0.0], &[0.0]), 1.0);
        assert_eq!([cosine(&[0.0], &[1.0]), cosine(&[1.0], &[f32::NAN])], [-1.0; 2]);
    }

    #[test]
    fn differences_are_relative_to_what_should_be() {
        let mut difference = Difference::default();
        difference.add(&[-3.0, 1.0], &[-3.0, 1.5]);
        difference.add(&[5.0], &[4.0]);
        assert_eq!((difference.largest, difference.range(), difference.relative()), (1.0, 8.0, 0.125));
        assert!((difference.sqnr_db() - 10.0 * (35.0f64 / 1.25).log10()).abs() < 1e-12);
        difference.add(&[0.0], &[f32::NAN]);
        assert_eq!((difference.largest, difference.sqnr_db()), (f64::INFINITY, f64::NEG_INFINITY));
        assert_eq!(sqnr_db(&[3.0, 1.0], &[2.0, 1.0]), 10.0);
    }

    #[test]
    fn agreement_is_about_the_first_class() {
        assert!(agree(&[1.0, 3.0, 2.0], &[0.0, 0.2, 0.1]));
        assert!(!agree(&[1.0, 3.0], &[3.0, 1.0]));
        assert!(!agree(&[1.0, 3.0], &[f32::NAN, 3.0]));
    }
}
