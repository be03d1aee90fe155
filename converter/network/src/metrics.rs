//! How well two forward passes agree: the same first class, the cosine of the logits, signal to noise.

use resmlp_runtime::top;

/// Whether both put the same class first.
pub fn agree(a: &[f32], b: &[f32]) -> bool {
    let best = |logits: &[f32]| {
        let has_order = !logits.iter().any(|logit| logit.is_nan());
        has_order.then(|| top::<1>(logits).first().map(|(class, _)| *class)).flatten()
    };
    best(a).is_some() && best(a) == best(b)
}

/// Cosine of two vectors: 1 where both are zero, -1 where a value is no number.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    match product(a, b) / lengths {
        cosine if cosine.is_finite() => cosine.clamp(-1.0, 1.0),
        _ if lengths == 0.0 && product(a, a) == product(b, b) => 1.0,
        _ => -1.0,
    }
}

/// Signal-to-quantisation-noise ratio in dB of `found` against `exact`.
pub fn sqnr_db(exact: &[f32], found: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let signal = power(&mut exact.iter().copied());
    let noise = power(&mut exact.iter().zip(found).map(|(e, f)| e - f));
    10.0 * (signal.max(1e-30) / noise.max(1e-30)).log10()
}

/// How far values are from those they should be.
pub struct Difference {
    signal: f64,
    noise: f64,
    /// Largest absolute difference.
    pub largest: f64,
    low: f64,
    high: f64,
}

impl Default for Difference {
    fn default() -> Self {
        Self { signal: 0.0, noise: 0.0, largest: 0.0, low: f64::INFINITY, high: f64::NEG_INFINITY }
    }
}

impl Difference {
    /// Adds the values of one picture; both slices have the same length.
    pub fn add(&mut self, exact: &[f32], found: &[f32]) {
        for (exact, found) in exact.iter().zip(found).map(|(&e, &f)| (f64::from(e), f64::from(f))) {
            let error = (exact - found).abs();
            // Where there is no number there is no agreement.
            let error = if error.is_nan() { f64::INFINITY } else { error };
            self.signal += exact * exact;
            self.noise += error * error;
            self.largest = self.largest.max(error);
            self.low = self.low.min(exact);
            self.high = self.high.max(exact);
        }
    }

    /// From the smallest to the largest exact value.
    pub fn range(&self) -> f64 {
        (self.high - self.low).max(0.0)
    }

    /// The largest difference as a share of [`Self::range`].
    pub fn relative(&self) -> f64 {
        self.largest / self.range().max(f64::MIN_POSITIVE)
    }

    /// Signal to noise, in dB.
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
    }

    #[test]
    fn agreement_is_about_the_first_class() {
        assert!(agree(&[1.0, 3.0, 2.0], &[0.0, 0.2, 0.1]));
        assert!(!agree(&[1.0, 3.0], &[3.0, 1.0]));
        assert!(!agree(&[1.0, 3.0], &[f32::NAN, 3.0]));
    }
}
