//! Random int8 models. Their numbers are all that a file can hold, not only those that calibration would choose.

use resmlp_network::Activation;
use resmlp_quantise::{
    GeluTable, QuantisedBlock, QuantisedHead, QuantisedLinear, QuantisedMix, QuantisedMlp, QuantisedNetwork, Quantiser,
};

use crate::{Random, Shape};

/// Typical magnitude of a product of two random 8-bit numbers.
const PRODUCT: f32 = 5400.0;

/// The kind of numbers in a random network.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Whether all weights are ±127, which makes the sums as large as they can be.
    pub extreme: bool,
    /// Whether the channels of the stream are rescaled.
    pub gains: bool,
}

impl Random {
    /// Returns an integer that is uniformly distributed in `low..=high`.
    fn int(&mut self, low: i64, high: i64) -> i64 {
        low + (self.bits() % (high - low + 1) as u64) as i64
    }

    fn weights(&mut self, count: usize, style: Style) -> Vec<i8> {
        let one = |r: &mut Self| if style.extreme { [-127, 127][(r.bits() % 2) as usize] } else { r.int(-127, 127) };
        (0..count).map(|_| one(self) as i8).collect()
    }

    /// Returns a layer whose results are of order `size`.
    fn int8_linear(&mut self, rows: usize, k: usize, size: f32, style: Style) -> QuantisedLinear {
        let sums = PRODUCT * (k as f32).sqrt();
        QuantisedLinear {
            weights: self.weights(rows * k, style),
            bias: (0..rows).map(|_| self.int(-(sums as i64), sums as i64) as i32).collect(),
            scale: self.vector(rows, 0.2 * size / sums, size / sums),
        }
    }

    /// Returns a quantiser with which some values of a stream of order one saturate.
    fn quantiser(&mut self, dim: usize, size: f32) -> Quantiser {
        Quantiser { scale: self.vector(dim, 0.2 * size, size), offset: self.vector(dim, -0.3 * size, 0.3 * size) }
    }

    fn gain(&mut self, dim: usize, style: Style) -> Vec<f32> {
        if style.gains { self.vector(dim, -1.2, 1.2) } else { vec![1.0; dim] }
    }

    fn int8_block(&mut self, tokens: usize, shape: &Shape, style: Style) -> QuantisedBlock {
        let (dim, hidden) = (shape.dim, shape.hidden);
        let row_scale = 1.0 / (PRODUCT * (tokens as f32).sqrt());
        let mix = QuantisedMix {
            input: self.quantiser(dim, 60.0),
            weights: self.weights(tokens * tokens, style),
            row_scale: self.vector(tokens, 0.2 * row_scale, row_scale),
            row_sum: self.vector(tokens, -1.0, 1.0),
            row_bias: self.vector(tokens, -1.0, 1.0),
            scale: self.vector(dim, -1.0, 1.0),
            sum_gain: self.vector(dim, -0.5, 0.5),
            bias_gain: self.vector(dim, -0.5, 0.5),
            gain: self.gain(dim, style),
        };
        let mut expand = self.int8_linear(hidden, dim, 20_000.0, style);
        expand.scale.iter_mut().for_each(|scale| *scale = scale.min(0.499));
        let largest_scale = if style.extreme { 32767 } else { 2000 };
        let mlp = QuantisedMlp {
            input: self.quantiser(dim, 60.0),
            expand,
            gelu: GeluTable {
                // The file does not hold the unit.
                unit: 1.0,
                entries: std::array::from_fn(|_| self.bits() as u8),
                shift: (self.bits() % 8) as u32,
            },
            hidden_scale: (0..hidden).map(|_| self.int(0, largest_scale) as i16).collect(),
            hidden_zero: (0..hidden).map(|_| self.int(-128, 127) as i8).collect(),
            contract: self.int8_linear(dim, hidden, 1.0, style),
            gain: self.gain(dim, style),
        };
        QuantisedBlock { mix, mlp }
    }

    /// Returns a random int8 network.
    pub fn quantised(&mut self, shape: &Shape, style: Style) -> QuantisedNetwork {
        let tokens = (shape.image[0] / shape.patch) * (shape.image[1] / shape.patch);
        let dim = shape.dim;
        let head = match shape.classes {
            None => QuantisedHead::Embedding { scale: self.vector(dim, -1.0, 1.0), bias: self.vector(dim, -1.0, 1.0) },
            Some(classes) => QuantisedHead::Classifier {
                input: self.quantiser(dim, 16_000.0 / tokens as f32),
                weights: self.weights(classes * dim, style),
                scale: self.vector(classes, -1e-6, 1e-6),
                bias: self.vector(classes, -1.0, 1.0),
            },
        };
        QuantisedNetwork {
            image: shape.image,
            patch: shape.patch,
            dim,
            hidden: shape.hidden,
            activation: Activation::Gelu,
            stem: self.int8_linear(dim, 3 * shape.patch * shape.patch, 1.0, style),
            blocks: (0..shape.depth).map(|_| self.int8_block(tokens, shape, style)).collect(),
            head,
        }
    }
}
