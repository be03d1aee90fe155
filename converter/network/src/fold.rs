//! Folds every Aff, LayerScale and the input normalisation into the linear layers next to them. Exact, in `f64`.
//!
//! Each half block reads `input ⊙ y + shift` of the stored stream `y` and writes to a stream `keep` times as large:
//!
//! * Aff inside the branch: `input = alpha`, `shift = beta`, the stream is stored as it is.
//! * Aff on the stream itself: the stream is `A ⊙ y + B` of what is stored, and the Aff only changes `A` and `B`.
//!   Where `A` leaves a sane range, the stored stream is rescaled explicitly and `A` starts again from 1.

use crate::activation::Activation;
use crate::network::{Affine, AffinePlacement, Linear, Matrix, Network};

/// |A| outside of it makes the stored stream ill-conditioned: the channel then keeps an explicit scale.
const SANE: std::ops::RangeInclusive<f64> = 1e-3..=1e3;

/// A ResMLP of linear layers, GELU and residual additions alone; see the module `engine` of the runtime.
#[derive(Clone, Debug)]
pub struct FoldedNetwork {
    /// Height and width of the picture, pixels.
    pub image: [usize; 2],
    /// Edge of a patch, pixels.
    pub patch: usize,
    /// Acts on `u8` pixel values; a patch is flattened as (row, column, colour). `[dim, 3 · patch²]`
    pub stem: Linear,
    /// What the channel MLPs apply to their hidden units.
    pub activation: Activation,
    /// The residual blocks.
    pub blocks: Vec<FoldedBlock>,
    /// What follows the mean over patches.
    pub head: Head,
}

/// `y = gain ⊙ y + …` for both halves; see the fields.
#[derive(Clone, Debug)]
pub struct FoldedBlock {
    /// The linear layer across patches, `[tokens, tokens]`, as trained.
    pub mix: Linear,
    /// Factor of the mixed patches, `[dim]`.
    pub scale: Vec<f32>,
    /// Factor of the row sums of the weights, `[dim]`.
    pub sum_gain: Vec<f32>,
    /// Factor of the layer's bias, `[dim]`.
    pub bias_gain: Vec<f32>,
    /// The stream is multiplied by it before the mixed patches are added, `[dim]`.
    pub mix_gain: Vec<f32>,
    /// First layer of the channel MLP.
    pub expand: Linear,
    /// Second layer of the channel MLP.
    pub contract: Linear,
    /// The stream is multiplied by it before the channel MLP is added, `[dim]`.
    pub mlp_gain: Vec<f32>,
}

/// What follows the mean over patches.
#[derive(Clone, Debug)]
pub enum Head {
    /// Logits of classes.
    Classifier(Linear),
    /// The mean itself, scaled and shifted per channel.
    Embedding {
        /// `[dim]`.
        scale: Vec<f32>,
        /// `[dim]`.
        bias: Vec<f32>,
    },
}

impl FoldedNetwork {
    /// Number of patches.
    pub fn tokens(&self) -> usize {
        (self.image[0] / self.patch) * (self.image[1] / self.patch)
    }

    /// Number of channels.
    pub fn dim(&self) -> usize {
        self.stem.weight.rows
    }

    /// Hidden width of the channel MLP.
    pub fn hidden(&self) -> usize {
        self.blocks.first().map_or(0, |b| b.expand.weight.rows)
    }

    /// Classes, or channels of an embedding.
    pub fn outputs(&self) -> usize {
        match &self.head {
            Head::Classifier(head) => head.weight.rows,
            Head::Embedding { .. } => self.dim(),
        }
    }

    /// How many channel scales, over all half blocks, could not be folded.
    pub fn explicit_scales(&self) -> usize {
        let gains = self.blocks.iter().flat_map(|b| b.mix_gain.iter().chain(&b.mlp_gain));
        gains.filter(|&&g| g != 1.0).count()
    }
}

/// Folds `network`, whose input was `(pixel / 255 - mean) / std` in training.
pub fn fold(network: &Network, mean: [f32; 3], std: [f32; 3]) -> FoldedNetwork {
    let mut stream = Stream::new(network.placement, network.dim());
    let blocks = network
        .blocks
        .iter()
        .map(|block| {
            let mix = stream.half_block(&block.mix_affine);
            let gain = |factor: &[f64]| product(&mix.output, &block.mix_scale, factor);
            let (scale, sum_gain, bias_gain) = (gain(&mix.input), gain(&mix.shift), gain(&vec![1.0; mix.input.len()]));
            let mlp = stream.half_block(&block.mlp_affine);
            FoldedBlock {
                mix: block.mix.clone(),
                scale,
                sum_gain,
                bias_gain,
                mix_gain: single(&mix.keep),
                expand: fold_input(&block.expand, &mlp.input, &mlp.shift),
                contract: fold_output(&block.contract, &block.mlp_scale, &mlp.output),
                mlp_gain: single(&mlp.keep),
            }
        })
        .collect();
    let last = stream.half_block(&network.final_affine);
    let head = match &network.head {
        Some(head) => Head::Classifier(fold_input(head, &last.input, &last.shift)),
        None => Head::Embedding { scale: single(&last.input), bias: single(&last.shift) },
    };
    let stem = fold_pixels(&network.stem, network.patch, mean, std);
    let Network { image, patch, activation, .. } = *network;
    FoldedNetwork { image, patch, stem, activation, blocks, head }
}

/// How the true residual stream follows from the stored one: `scale ⊙ y + shift`.
struct Stream {
    placement: AffinePlacement,
    scale: Vec<f64>,
    shift: Vec<f64>,
}

/// What one half block reads and writes, per channel.
struct HalfBlock {
    /// The layer's input is `input ⊙ y + shift`.
    input: Vec<f64>,
    shift: Vec<f64>,
    /// The stored stream is multiplied by it.
    keep: Vec<f64>,
    /// The layer's result is multiplied by it before it is added.
    output: Vec<f64>,
}

impl Stream {
    fn new(placement: AffinePlacement, dim: usize) -> Self {
        Self { placement, scale: vec![1.0; dim], shift: vec![0.0; dim] }
    }

    fn half_block(&mut self, affine: &Affine) -> HalfBlock {
        let [alpha, beta] = [&affine.alpha, &affine.beta].map(|v| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let ones = vec![1.0; alpha.len()];
        if self.placement == AffinePlacement::Branch {
            return HalfBlock { input: alpha, shift: beta, keep: ones.clone(), output: ones };
        }
        let mut keep = ones.clone();
        let mut output = ones;
        let input: Vec<f64> = self.scale.iter().zip(&alpha).map(|(a, alpha)| a * alpha).collect();
        for (d, a) in input.iter().enumerate() {
            self.shift[d] = self.shift[d] * alpha[d] + beta[d];
            self.scale[d] = *a;
            if !SANE.contains(&a.abs()) {
                keep[d] = *a;
                self.scale[d] = 1.0;
            }
            output[d] = 1.0 / self.scale[d];
        }
        HalfBlock { input, shift: self.shift.clone(), keep, output }
    }
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

fn product(a: &[f64], b: &[f32], c: &[f64]) -> Vec<f32> {
    a.iter().zip(b).zip(c).map(|((&a, &b), &c)| (a * f64::from(b) * c) as f32).collect()
}

/// `layer(input ⊙ y + shift)` as one layer of `y`.
fn fold_input(layer: &Linear, input: &[f64], shift: &[f64]) -> Linear {
    let Linear { weight, bias } = layer;
    let mut folded = Linear { weight: Matrix::zeros(weight.rows, weight.cols), bias: bias.clone() };
    for (r, bias) in folded.bias.iter_mut().enumerate() {
        let mut sum = f64::from(*bias);
        for (k, (to, &w)) in folded.weight.row_mut(r).iter_mut().zip(weight.row(r)).enumerate() {
            *to = (f64::from(w) * input[k]) as f32;
            sum += f64::from(w) * shift[k];
        }
        *bias = sum as f32;
    }
    folded
}

/// `gamma ⊙ output ⊙ layer(x)` as one layer.
fn fold_output(layer: &Linear, gamma: &[f32], output: &[f64]) -> Linear {
    let factor: Vec<f64> = gamma.iter().zip(output).map(|(&g, &o)| f64::from(g) * o).collect();
    let mut folded = layer.clone();
    for (r, &factor) in factor.iter().enumerate() {
        folded.weight.row_mut(r).iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
        folded.bias[r] = (f64::from(folded.bias[r]) * factor) as f32;
    }
    folded
}

/// The stem on `u8` pixels, and a patch flattened as (row, column, colour) instead of (colour, row, column).
fn fold_pixels(stem: &Linear, patch: usize, mean: [f32; 3], std: [f32; 3]) -> Linear {
    let area = patch * patch;
    let mut folded = Linear { weight: Matrix::zeros(stem.weight.rows, 3 * area), bias: vec![0.0; stem.weight.rows] };
    for r in 0..stem.weight.rows {
        let mut sum = f64::from(stem.bias[r]);
        for (k, &w) in stem.weight.row(r).iter().enumerate() {
            let (colour, place) = (k / area, k % area);
            let w = f64::from(w) / f64::from(std[colour]);
            folded.weight.row_mut(r)[place * 3 + colour] = (w / 255.0) as f32;
            sum -= w * f64::from(mean[colour]);
        }
        folded.bias[r] = sum as f32;
    }
    folded
}
