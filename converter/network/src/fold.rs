//! Folds every Aff, LayerScale and the input normalisation into the linear layers next to them. The folded network
//! computes the same function; the arithmetic is done in `f64` and only the results are rounded to `f32`.
//!
//! The folded network stores a residual stream `y`. Each half block reads `input ⊙ y + shift` and adds its result to
//! `keep ⊙ y`. How `y` relates to the network's true stream depends on what the Affs act on:
//!
//! * Where an Aff acts inside the branch, `input = alpha`, `shift = beta`, and `y` is the true stream.
//! * Where an Aff acts on the stream itself, the true stream is `A ⊙ y + B`, and the Aff only changes `A` and `B`.
//!   Where `A` leaves a sane range, the stored stream is rescaled explicitly and `A` starts again from 1.

use crate::activation::Activation;
use crate::network::{Affine, AffinePlacement, Dialect, Linear, Matrix, Network};

/// Range of |A|. Outside of it the stored stream would be ill-conditioned, so the channel keeps an explicit scale.
const SANE: std::ops::RangeInclusive<f64> = 1e-3..=1e3;

/// A ResMLP that consists of linear layers, activations and residual additions alone. The runtime's module `engine`
/// computes the same stages.
#[derive(Clone, Debug)]
pub struct FoldedNetwork {
    /// Height and width of the picture in pixels.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Patch embedding, `[dim, 3 · patch²]`. It acts on `u8` pixel values; a patch is flattened as (row, column,
    /// colour).
    pub stem: Linear,
    /// Activation of the channel MLPs.
    pub activation: Activation,
    /// The residual blocks.
    pub blocks: Vec<FoldedBlock>,
    /// The layer behind the mean over patches.
    pub head: Head,
}

/// A folded residual block on a stream `y`, `[tokens, dim]`. With `M` the weights of `mix` and `s` their row sums, it
/// computes
///
/// * `y ← mix_gain ⊙ y + scale ⊙ (M · y) + sum_gain · s + bias_gain · bias`, the patch mixing, and
/// * `y ← mlp_gain ⊙ y + contract(activation(expand(y)))`, the channel MLP.
#[derive(Clone, Debug)]
pub struct FoldedBlock {
    /// Linear layer across patches as it was trained, `[tokens, tokens]`.
    pub mix: Linear,
    /// Factor of the mixed patches for each channel, `[dim]`.
    pub scale: Vec<f32>,
    /// Factor of the row sums of `mix`'s weights for each channel, `[dim]`.
    pub sum_gain: Vec<f32>,
    /// Factor of `mix`'s bias for each channel, `[dim]`.
    pub bias_gain: Vec<f32>,
    /// Factor of the stream before the mixed patches are added, `[dim]`.
    pub mix_gain: Vec<f32>,
    /// First layer of the channel MLP, `[hidden, dim]`.
    pub expand: Linear,
    /// Second layer of the channel MLP, `[dim, hidden]`.
    pub contract: Linear,
    /// Factor of the stream before the channel MLP's result is added, `[dim]`.
    pub mlp_gain: Vec<f32>,
}

/// The layer behind the mean over patches.
#[derive(Clone, Debug)]
pub enum Head {
    /// A linear layer that computes the logits, `[classes, dim]`.
    Classifier(Linear),
    /// The mean is scaled and shifted channel by channel.
    Embedding {
        /// Factor of each channel, `[dim]`.
        scale: Vec<f32>,
        /// Summand of each channel, `[dim]`.
        bias: Vec<f32>,
    },
}

impl FoldedNetwork {
    /// Returns the number of patches.
    pub fn tokens(&self) -> usize {
        (self.image[0] / self.patch) * (self.image[1] / self.patch)
    }

    /// Returns the number of channels.
    pub fn dim(&self) -> usize {
        self.stem.weight.rows
    }

    /// Returns the width of the channel MLPs' hidden layer.
    pub fn hidden(&self) -> usize {
        self.blocks.first().map_or(0, |b| b.expand.weight.rows)
    }

    /// Returns the length of the result: the number of classes, or of channels for an embedding model.
    pub fn outputs(&self) -> usize {
        match &self.head {
            Head::Classifier(head) => head.weight.rows,
            Head::Embedding { .. } => self.dim(),
        }
    }

    /// Returns the number of channel scales, over all half blocks, that could not be folded.
    pub fn explicit_scales(&self) -> usize {
        let gains = self.blocks.iter().flat_map(|b| b.mix_gain.iter().chain(&b.mlp_gain));
        gains.filter(|&&g| g != 1.0).count()
    }
}

/// Folds `network`, whose input in training was `(pixel / 255 - mean) / std` for red, green and blue.
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

/// Returns the network that computes the same function with its Affs inside the branches.
///
/// An Aff on the residual stream only changes how the stream is read and how results are added to it, so a branch's Aff
/// and LayerScale can do the same. The function returns `None` where a channel's scale leaves the sane range, and
/// `network` itself where its Affs are inside the branches already.
pub fn to_branch(network: &Network) -> Option<Network> {
    let mut stream = Stream::new(network.placement, network.dim());
    let mut result = network.clone();
    let mut half_block = |affine: &mut Affine| -> HalfBlock {
        let half = stream.half_block(affine);
        *affine = Affine { alpha: single(&half.input), beta: single(&half.shift) };
        half
    };
    let scaled = |gamma: &mut [f32], half: HalfBlock| {
        gamma.iter_mut().zip(&half.output).for_each(|(gamma, &output)| *gamma = (f64::from(*gamma) * output) as f32);
        half.keep.iter().all(|&keep| keep == 1.0).then_some(())
    };
    for block in &mut result.blocks {
        scaled(&mut block.mix_scale, half_block(&mut block.mix_affine))?;
        scaled(&mut block.mlp_scale, half_block(&mut block.mlp_affine))?;
    }
    // Nothing is added to the stream behind the last Aff, so it does not matter how it would be scaled.
    half_block(&mut result.final_affine);
    result.placement = AffinePlacement::Branch;
    result.dialect = if network.placement == AffinePlacement::Branch { network.dialect } else { Dialect::Timm };
    Some(result)
}

/// The relation of the true residual stream to the stored one: the true stream is `scale ⊙ y + shift`.
struct Stream {
    /// What the network's Affs act on.
    placement: AffinePlacement,
    /// Factor of each channel, `[dim]`; called `A` above.
    scale: Vec<f64>,
    /// Summand of each channel, `[dim]`; called `B` above.
    shift: Vec<f64>,
}

/// How one half block reads the stored stream `y` and writes to it. All vectors are `[dim]`.
struct HalfBlock {
    /// Factor of the layer's input, which is `input ⊙ y + shift`.
    input: Vec<f64>,
    /// Summand of the layer's input.
    shift: Vec<f64>,
    /// Factor of the stored stream.
    keep: Vec<f64>,
    /// Factor of the layer's result before it is added to the stream.
    output: Vec<f64>,
}

impl Stream {
    /// Creates the relation at the stem, where the stored stream is the true one.
    fn new(placement: AffinePlacement, dim: usize) -> Self {
        Self { placement, scale: vec![1.0; dim], shift: vec![0.0; dim] }
    }

    /// Takes the relation through the Aff in front of a half block.
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

/// Rounds to `f32`.
fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

/// Returns `a ⊙ b ⊙ c`.
fn product(a: &[f64], b: &[f32], c: &[f64]) -> Vec<f32> {
    a.iter().zip(b).zip(c).map(|((&a, &b), &c)| (a * f64::from(b) * c) as f32).collect()
}

/// Returns the layer that computes `layer(input ⊙ y + shift)` from `y`.
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

/// Returns the layer that computes `gamma ⊙ output ⊙ layer(x)` from `x`.
fn fold_output(layer: &Linear, gamma: &[f32], output: &[f64]) -> Linear {
    let factor: Vec<f64> = gamma.iter().zip(output).map(|(&g, &o)| f64::from(g) * o).collect();
    let mut folded = layer.clone();
    for (r, &factor) in factor.iter().enumerate() {
        folded.weight.row_mut(r).iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
        folded.bias[r] = (f64::from(folded.bias[r]) * factor) as f32;
    }
    folded
}

/// Returns the stem for `u8` pixels, with a patch flattened as (row, column, colour) instead of (colour, row, column).
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
