//! The quantised network: the numbers of a packed int8 model, and a forward pass with them.
//!
//! The forward pass here imitates the runtime's arithmetic in `f32` matrix products over many pictures at once. It
//! guides the quantisation and is not bit-exact; the runtime defines the results.

use rayon::prelude::*;

use crate::gelu::GeluTable;
use resmlp_network::Activation;
use resmlp_network::forward::patches;
use resmlp_network::gemm::{product, view};
use resmlp_runtime::numerics::{INT8_RANGE, requantise};

/// Number of rows of the residual stream whose hidden activations are in memory at a time.
const ROWS: usize = 256;

/// A map from real values to 8 or 16 bits, channel by channel: `round(value · scale + offset)`.
#[derive(Clone, Debug)]
pub struct Quantiser {
    /// Factor of each channel, `[dim]`.
    pub scale: Vec<f32>,
    /// Summand of each channel, `[dim]`.
    pub offset: Vec<f32>,
}

/// A linear layer on 8-bit inputs: `scale ⊙ (weights · x + bias)`.
#[derive(Clone, Debug)]
pub struct QuantisedLinear {
    /// Weights in -127..=127, `[rows, k]`.
    pub weights: Vec<i8>,
    /// Bias in units of the sums, `[rows]`.
    pub bias: Vec<i32>,
    /// Real value of one unit of the sums, `[rows]`.
    pub scale: Vec<f32>,
}

/// The patch mixing of a block.
#[derive(Clone, Debug)]
pub struct QuantisedMix {
    /// Quantiser from the residual stream to the 8-bit input.
    pub input: Quantiser,
    /// Weights of the layer across patches, `[tokens, tokens]`.
    pub weights: Vec<i8>,
    /// Scale of each row of the weights, `[tokens]`.
    pub row_scale: Vec<f32>,
    /// Sum of each row of the weights before rounding, `[tokens]`.
    pub row_sum: Vec<f32>,
    /// Bias of the layer across patches, `[tokens]`.
    pub row_bias: Vec<f32>,
    /// Factor of the products for each channel, `[dim]`.
    pub scale: Vec<f32>,
    /// Factor of the row sums for each channel, `[dim]`.
    pub sum_gain: Vec<f32>,
    /// Factor of the bias for each channel, `[dim]`.
    pub bias_gain: Vec<f32>,
    /// Factor of the residual stream before the result is added, `[dim]`.
    pub gain: Vec<f32>,
}

/// The channel MLP of a block.
#[derive(Clone, Debug)]
pub struct QuantisedMlp {
    /// Quantiser from the residual stream to the 8-bit input.
    pub input: Quantiser,
    /// First layer, `[hidden, dim]`. Its results count in the units of the activation's table, and its scales are below
    /// 1/2.
    pub expand: QuantisedLinear,
    /// Table of the activation.
    pub gelu: GeluTable,
    /// Factors from the activation's units to 8 bits, in units of 2^-15, `[hidden]`.
    pub hidden_scale: Vec<i16>,
    /// Zero points of the 8-bit hidden activations, `[hidden]`.
    pub hidden_zero: Vec<i8>,
    /// Second layer, `[dim, hidden]`.
    pub contract: QuantisedLinear,
    /// Factor of the residual stream before the result is added, `[dim]`.
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

/// The layer behind the sum over patches.
#[derive(Clone, Debug)]
pub enum QuantisedHead {
    /// A linear layer that computes the logits.
    Classifier {
        /// Quantiser from the sum over patches to 16 bits.
        input: Quantiser,
        /// Weights in -127..=127, `[classes, dim]`.
        weights: Vec<i8>,
        /// Real value of one unit of the sums, `[classes]`.
        scale: Vec<f32>,
        /// Real bias of each logit, `[classes]`.
        bias: Vec<f32>,
    },
    /// The sum over patches is scaled and shifted channel by channel.
    Embedding {
        /// Factor of each channel, `[dim]`.
        scale: Vec<f32>,
        /// Summand of each channel, `[dim]`.
        bias: Vec<f32>,
    },
}

/// A network whose weights and activations into every matrix product have 8 bits.
#[derive(Clone, Debug)]
pub struct QuantisedNetwork {
    /// Height and width of the picture in pixels.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Number of channels.
    pub dim: usize,
    /// Width of the channel MLPs' hidden layer.
    pub hidden: usize,
    /// Activation of the channel MLPs, which the blocks' tables hold.
    pub activation: Activation,
    /// Patch embedding, which acts on `pixel - 128`. A patch is flattened as (row, column, colour).
    pub stem: QuantisedLinear,
    /// The residual blocks.
    pub blocks: Vec<QuantisedBlock>,
    /// The layer behind the sum over patches.
    pub head: QuantisedHead,
}

impl Quantiser {
    /// Returns the 8-bit activations of `values` (`[count, dim]`), as whole numbers in `f32`.
    pub fn apply(&self, values: &[f32]) -> Vec<f32> {
        self.apply_within(values, INT8_RANGE)
    }

    /// Returns the activations of `values` (`[count, dim]`) clamped to `low..=high`, as whole numbers in `f32`.
    pub fn apply_within(&self, values: &[f32], [low, high]: [f32; 2]) -> Vec<f32> {
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

/// Returns `x · weightsᵀ` for rows of `k` whole numbers.
pub(crate) fn sums(x: &[f32], weights: &[i8], k: usize) -> Vec<f32> {
    let weights: Vec<f32> = weights.iter().map(|&w| f32::from(w)).collect();
    product(view(x, k), view(&weights, k).t())
}

impl QuantisedLinear {
    /// Returns `scale ⊙ (weights · x + bias)` for the rows of `x`, `[count, k]`.
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
    /// Returns the 8-bit hidden activations, `[count, hidden]`, for 8-bit inputs, `[count, dim]`.
    pub fn hidden(&self, input: &[f32]) -> Vec<f32> {
        let hidden = self.hidden_scale.len();
        let mut out = self.expand.apply(input);
        out.par_chunks_mut(hidden).with_min_len(16).for_each(|row| {
            let coefficients = self.hidden_scale.iter().zip(&self.hidden_zero);
            for (h, (&scale, &zero)) in row.iter_mut().zip(coefficients) {
                let y = self.gelu.apply(h.round_ties_even().clamp(-32768.0, 32767.0) as i32);
                *h = requantise(y, scale, zero) as f32;
            }
        });
        out
    }

    /// Takes residual streams, `[pictures · tokens, dim]`, through the channel MLP.
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
    /// Returns the residual stream after the stem, `[pictures · tokens, dim]`.
    pub fn stem(&self, pictures: &[Vec<u8>]) -> Vec<f32> {
        self.stem.apply(&pixels(self.image, self.patch, pictures))
    }
}

/// Returns the stem's 8-bit input, `[pictures · tokens, 3 · patch²]`: patches of `pixel - 128`.
pub(crate) fn pixels(image: [usize; 2], patch: usize, pictures: &[Vec<u8>]) -> Vec<f32> {
    let mut pixels = patches(image, patch, pictures);
    pixels.iter_mut().for_each(|p| *p -= 128.0);
    pixels
}
