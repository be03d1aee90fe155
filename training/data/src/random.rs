//! Draws random numbers that depend on a key alone, never on the order in which threads draw them.
//!
//! A generator is ChaCha with 8 rounds whose 256-bit key holds the seed, the epoch, the purpose and a position. Two
//! different keys give independent sequences. All functions that turn bits into numbers use exact arithmetic or the
//! crate `libm`, so that every machine draws the same numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Purposes for which random sequences are drawn. Each purpose has sequences of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// The order of the samples in an epoch; the position is 0.
    Order = 1,
    /// The augmentation of one sample; the position is the sample's place in the epoch.
    Sample = 2,
    /// Mixing the samples of one batch; the position is the batch's place in the epoch.
    Mix = 3,
    /// Dividing a data set into two; the position is the class.
    Split = 4,
    /// Stochastic depth and whatever else the training itself draws; the position is the caller's.
    Training = 5,
}

/// A generator of random numbers for one key.
#[derive(Clone, Debug)]
pub struct Random {
    generator: ChaCha8Rng,
}

impl Random {
    /// Creates the generator of a key.
    pub fn new(seed: u64, epoch: u64, purpose: Purpose, position: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, part) in key.chunks_exact_mut(8).zip([seed, epoch, purpose as u64, position]) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        Self { generator: ChaCha8Rng::from_seed(key) }
    }

    /// Returns 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Returns a number from 0 (inclusive) to 1 (exclusive), a multiple of 2⁻⁵³.
    pub fn fraction(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Returns a number from `low` to `high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.fraction()
    }

    /// Returns `true` with the given probability.
    pub fn chance(&mut self, probability: f32) -> bool {
        self.fraction() < f64::from(probability)
    }

    /// Returns a whole number below `limit`, each with the same probability up to 2⁻³² relative.
    ///
    /// # Panics
    /// Panics if `limit` is zero.
    pub fn below(&mut self, limit: u32) -> u32 {
        assert!(limit > 0, "a random number below zero was asked for");
        // The high half of the product of 64 random bits and the limit, after Lemire (arXiv 1805.10941, section 4).
        ((u128::from(self.bits()) * u128::from(limit)) >> 64) as u32
    }

    /// Returns two independent numbers of the standard normal distribution, by the method of Box and Muller.
    pub fn normals(&mut self) -> [f64; 2] {
        // One minus a fraction is never zero, so the logarithm is finite.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.fraction()));
        let angle = 2.0 * std::f64::consts::PI * self.fraction();
        let (sine, cosine) = libm::sincos(angle);
        [radius * cosine, radius * sine]
    }

    /// Returns a number of the normal distribution with the given mean and standard deviation.
    pub fn normal(&mut self, mean: f64, deviation: f64) -> f64 {
        mean + deviation * self.normals()[0]
    }

    /// Returns a number of the symmetric beta distribution with the parameter `alpha` > 0, as the share of one of two
    /// gamma-distributed numbers in their sum.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        // The logarithms keep a small alpha, whose numbers underflow, from giving zero divided by zero.
        let (a, b) = (self.log_gamma_distributed(alpha), self.log_gamma_distributed(alpha));
        1.0 / (1.0 + libm::exp(b - a))
    }

    /// Returns the logarithm of a number of the gamma distribution with the given shape, by the method of Marsaglia
    /// and Tsang (ACM TOMS 26, 2000).
    fn log_gamma_distributed(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = libm::log(1.0 - self.fraction()) / shape;
            return self.log_gamma_distributed(shape + 1.0) + boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normals()[0];
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            if libm::log(1.0 - self.fraction()) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return libm::log(d * v);
            }
        }
    }

    /// Puts the values into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.below(u32::try_from(last + 1).unwrap_or(u32::MAX)) as usize;
            values.swap(last, other);
        }
    }
}
