//! The quantised network: the numbers that go into a packed int8 model, and what they compute.
//!
//! The forward pass here imitates the runtime's arithmetic in `f32` matrix products over many pictures at once; it guides
//! the quantisation and is not bit-exact. What counts is the runtime itself.

use rayon::prelude::*;

use crate::gelu::GeluTable;
use resmlp_network::forward::patches;
use resmlp_network::gemm::{product, view};

/// Rows of the residual stream whose hidden activations are held at a time.
const ROWS: usize = 256;

/// Real values to 8 or 16 bits: `round(value · scale + offset)`.
#[derive(Clone, Debug)]
pub struct Quantiser {
    /// `[dim]`.
    pub scale: Vec<f32>,
    /// `[dim]`.
    pub offset: Vec<f32>,
}

/// `scale ⊙ (weights · x + bias)` with 8-bit `x`.
#[derive(Clone, Debug)]
pub struct QuantisedLinear {
    /// `[rows, k]`, each in -127..=127.
    pub weights: Vec<i8>,
    /// `[rows]`.
    pub bias: Vec<i32>,
    /// `[rows]`.
    pub scale: Vec<f32>,
}

/// A block's patch mixing.
#[derive(Clone, Debug)]
pub struct QuantisedMix {
    /// Stream to the 8-bit input.
    pub input: Quantiser,
    /// The layer across patches, `[tokens, tokens]`.
    pub weights: Vec<i8>,
    /// Scale of each row of the weights.
    pub row_scale: Vec<f32>,
    /// Sum of each row of the weights before rounding.
    pub row_sum: Vec<f32>,
    /// Bias of the layer.
    pub row_bias: Vec<f32>,
    /// Factor of the products, per channel.
    pub scale: Vec<f32>,
    /// Factor of the row sums, per channel.
    pub sum_gain: Vec<f32>,
    /// Factor of the bias, per channel.
    pub bias_gain: Vec<f32>,
    /// The stream is multiplied by it first.
    pub gain: Vec<f32>,
}

/// A block's channel MLP.
#[derive(Clone, Debug)]
pub struct QuantisedMlp {
    /// Stream to the 8-bit input.
    pub input: Quantiser,
    /// First layer; its results are in the GELU table's units, and its scales below 1/2.
    pub expand: QuantisedLinear,
    /// GELU.
    pub gelu: GeluTable,
    /// GELU's units to 8 bits, as fractions of 2^15.
    pub hidden_scale: Vec<i16>,
    /// Zero points of the 8-bit hidden activations.
    pub hidden_zero: Vec<i8>,
    /// Second layer.
    pub contract: QuantisedLinear,
    /// The stream is multiplied by it first.
    pub gain: Vec<f32>,
}

/// A residual block.
#[derive(Clone, Debug)]
pub struct QuantisedBlock {
    /// Patch mixing.
    pub mix: QuantisedMix,
    /// Channel MLP.
    pub mlp: QuantisedMlp,
}

/// What follows the sum over patches.
#[derive(Clone, Debug)]
pub enum QuantisedHead {
    /// Logits of classes.
    Classifier {
        /// Sum over tokens to 16 bits.
        input: Quantiser,
        /// `[classes, dim]`.
        weights: Vec<i8>,
        /// `[classes]`.
        scale: Vec<f32>,
        /// `[classes]`.
        bias: Vec<f32>,
    },
    /// Acts on the sum over tokens.
    Embedding {
        /// `[dim]`.
        scale: Vec<f32>,
        /// `[dim]`.
        bias: Vec<f32>,
    },
}

/// A network whose weights and activations have 8 bits.
#[derive(Clone, Debug)]
pub struct QuantisedNetwork {
    /// Height and width of the picture, pixels.
    pub image: [usize; 2],
    /// Edge of a patch, pixels.
    pub patch: usize,
    /// Channels.
    pub dim: usize,
    /// Hidden width.
    pub hidden: usize,
    /// Acts on `pixel - 128`; a patch is flattened as (row, column, colour).
    pub stem: QuantisedLinear,
    /// The residual blocks.
    pub blocks: Vec<QuantisedBlock>,
    /// What follows the sum over patches.
    pub head: QuantisedHead,
}

impl Quantiser {
    /// 8-bit activations, as whole numbers in `f32`, of `values` (`[count, dim]`).
    pub fn apply(&self, values: &[f32]) -> Vec<f32> {
        self.apply_within(values, -128.0, 127.0)
    }

    /// The same with other limits.
    pub fn apply_within(&self, values: &[f32], low: f32, high: f32) -> Vec<f32> {
        let mut out = vec![0.0; values.len()];
        let dim = self.scale.len();
        out.par_chunks_mut(dim).zip(values.par_chunks(dim)).with_min_len(64).for_each(|(out, values)| {
            let coefficients = self.scale.iter().zip(&self.offset);
            for ((o, v), (s, b)) in out.iter_mut().zip(values).zip(coefficients) {
                *o = (v * s + b).clamp(low, high).round_ties_even();
            }
        });
        out
    }
}

/// `x · weightsᵀ` for whole numbers.
pub fn sums(x: &[f32], weights: &[i8], k: usize) -> Vec<f32> {
    let weights: Vec<f32> = weights.iter().map(|&w| f32::from(w)).collect();
    product(view(x, k), view(&weights, k).t())
}

impl QuantisedLinear {
    /// `scale ⊙ (weights · x + bias)` for the rows of `x`.
    pub fn apply(&self, x: &[f32]) -> Vec<f32> {
        let rows = self.bias.len();
        let mut out = sums(x, &self.weights, self.weights.len() / rows);
        out.par_chunks_mut(rows).with_min_len(64).for_each(|out| {
            for (y, (&b, s)) in out.iter_mut().zip(self.bias.iter().zip(&self.scale)) {
                *y = (*y + b as f32) * s;
            }
        });
        out
    }
}

impl QuantisedMix {
    /// Takes residual streams, `[pictures · tokens, dim]`, through the patch mixing.
    pub fn apply(&self, stream: &mut [f32]) {
        let (tokens, dim) = (self.row_scale.len(), self.scale.len());
        let weights: Vec<f32> = self.weights.iter().map(|&w| f32::from(w)).collect();
        let input = self.input.apply(stream);
        stream.par_chunks_mut(tokens * dim).zip(input.par_chunks(tokens * dim)).for_each(|(picture, input)| {
            let mixed = product(view(&weights, tokens), view(input, dim));
            for (n, (y, mixed)) in picture.chunks_exact_mut(dim).zip(mixed.chunks_exact(dim)).enumerate() {
                let (scale, sum, bias) = (self.row_scale[n], self.row_sum[n], self.row_bias[n]);
                for d in 0..dim {
                    let constant = self.sum_gain[d] * sum + self.bias_gain[d] * bias;
                    y[d] = y[d] * self.gain[d] + (mixed[d] * scale * self.scale[d] + constant);
                }
            }
        });
    }
}

impl QuantisedMlp {
    /// The 8-bit hidden activations for rows of 8-bit inputs.
    pub fn hidden(&self, input: &[f32]) -> Vec<f32> {
        let hidden = self.hidden_scale.len();
        let mut out = self.expand.apply(input);
        out.par_chunks_mut(hidden).with_min_len(16).for_each(|row| {
            let coefficients = self.hidden_scale.iter().zip(&self.hidden_zero);
            for (h, (&scale, &zero)) in row.iter_mut().zip(coefficients) {
                let y = self.gelu.apply(h.round_ties_even().clamp(-32768.0, 32767.0) as i32);
                let y = ((y * i32::from(scale) + (1 << 14)) >> 15) + i32::from(zero);
                *h = y.clamp(-128, 127) as f32;
            }
        });
        out
    }

    /// Takes residual streams, in rows of channels, through the channel MLP.
    pub fn apply(&self, stream: &mut [f32]) {
        let dim = self.gain.len();
        stream.par_chunks_mut(ROWS * dim).for_each(|rows| {
            let added = self.contract.apply(&self.hidden(&self.input.apply(rows)));
            for ((y, added), gain) in rows.iter_mut().zip(added).zip(self.gain.iter().cycle()) {
                *y = *y * gain + added;
            }
        });
    }
}

impl QuantisedNetwork {
    /// The residual stream after the stem, `[pictures · tokens, dim]`.
    pub fn stem(&self, pictures: &[Vec<u8>]) -> Vec<f32> {
        self.stem.apply(&pixels(self.image, self.patch, pictures))
    }
}

/// The stem's 8-bit input: patches of `pixel - 128`.
pub fn pixels(image: [usize; 2], patch: usize, pictures: &[Vec<u8>]) -> Vec<f32> {
    let mut pixels = patches(image, patch, pictures);
    pixels.iter_mut().for_each(|p| *p -= 128.0);
    pixels
}
