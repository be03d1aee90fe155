//! Computes the folded network in plain `f32`, one stage at a time over many pictures. Calibration takes these results
//! for exact.

use rayon::prelude::*;

use crate::activation::{self, Activation};
use crate::fold::{FoldedBlock, FoldedNetwork, Head};
use crate::gemm::{add_product, product, view};
use crate::network::Linear;

/// Returns `x · weightᵀ + bias` for the rows of `x`: `[count, in]` becomes `[count, out]`.
pub(crate) fn linear(x: &[f32], layer: &Linear) -> Vec<f32> {
    let mut out = layer.bias.repeat(x.len() / layer.weight.cols);
    add_product(view(x, layer.weight.cols), view(&layer.weight.data, layer.weight.cols).t(), &mut out);
    out
}

/// Cuts pictures (height × width × RGB bytes each) into patches, `[pictures · tokens, 3 · patch²]`. A patch is
/// flattened as (row, column, colour).
pub fn patches(image: [usize; 2], patch: usize, pictures: &[Vec<u8>]) -> Vec<f32> {
    let [height, width] = image;
    let mut out = Vec::with_capacity(pictures.len() * height * width * 3);
    for picture in pictures {
        for (top, left) in (0..height).step_by(patch).flat_map(|t| (0..width).step_by(patch).map(move |l| (t, l))) {
            for y in top..top + patch {
                out.extend(picture[(y * width + left) * 3..][..3 * patch].iter().map(|&p| f32::from(p)));
            }
        }
    }
    out
}

impl FoldedNetwork {
    /// Returns the residual stream after the stem, `[pictures · tokens, dim]`.
    pub fn stem(&self, pictures: &[Vec<u8>]) -> Vec<f32> {
        linear(&patches(self.image, self.patch, pictures), &self.stem)
    }

    /// Returns the results for residual streams after the last block, `[pictures, outputs]`.
    pub fn head(&self, stream: &[f32]) -> Vec<f32> {
        let means = token_means(stream, self.tokens(), self.dim());
        match &self.head {
            Head::Classifier(layer) => linear(&means, layer),
            Head::Embedding { scale, bias } => {
                let coefficients = scale.iter().zip(bias).cycle();
                means.iter().zip(coefficients).map(|(y, (s, b))| y * s + b).collect()
            }
        }
    }

    /// Returns the results for pictures (height × width × RGB bytes each), `[pictures, outputs]`.
    pub fn forward(&self, pictures: &[Vec<u8>]) -> Vec<f32> {
        self.forward_observed(pictures, &mut |_, _| {})
    }

    /// Computes [`Self::forward`] and shows `observe` the residual stream, `[pictures · tokens, dim]`, after every
    /// stage. Stage 0 is the stem, stages 1 and 2 are the halves of block 0, and so on.
    pub fn forward_observed(&self, pictures: &[Vec<u8>], observe: &mut dyn FnMut(usize, &[f32])) -> Vec<f32> {
        let mut stream = self.stem(pictures);
        observe(0, &stream);
        for (index, block) in self.blocks.iter().enumerate() {
            block.mix(&mut stream);
            observe(2 * index + 1, &stream);
            block.mlp(self.activation, &mut stream);
            observe(2 * index + 2, &stream);
        }
        self.head(&stream)
    }
}

impl FoldedBlock {
    /// Takes residual streams, `[pictures · tokens, dim]`, through the patch mixing.
    pub fn mix(&self, stream: &mut [f32]) {
        let (tokens, dim) = (self.mix.weight.rows, self.scale.len());
        let row_sums = row_sums(&self.mix);
        stream.par_chunks_mut(tokens * dim).for_each(|picture| {
            let mixed = product(view(&self.mix.weight.data, tokens), view(picture, dim));
            for (n, (y, mixed)) in picture.chunks_exact_mut(dim).zip(mixed.chunks_exact(dim)).enumerate() {
                for d in 0..dim {
                    let constant = self.sum_gain[d] * row_sums[n] + self.bias_gain[d] * self.mix.bias[n];
                    y[d] = y[d] * self.mix_gain[d] + self.scale[d] * mixed[d] + constant;
                }
            }
        });
    }

    /// Takes residual streams, `[pictures · tokens, dim]`, through the channel MLP.
    pub fn mlp(&self, activation: Activation, stream: &mut [f32]) {
        let activate = activation::function(activation);
        let (tokens, dim) = (self.mix.weight.rows, self.scale.len());
        stream.par_chunks_mut(tokens * dim).for_each(|picture| {
            let hidden: Vec<f32> = linear(picture, &self.expand).into_iter().map(activate).collect();
            let added = linear(&hidden, &self.contract);
            for ((y, added), gain) in picture.iter_mut().zip(added).zip(self.mlp_gain.iter().cycle()) {
                *y = *y * gain + added;
            }
        });
    }
}

/// Returns the sum of each row of the weights, `[out]`.
pub fn row_sums(layer: &Linear) -> Vec<f32> {
    let rows = layer.weight.data.chunks_exact(layer.weight.cols);
    rows.map(|r| r.iter().map(|&w| f64::from(w)).sum::<f64>() as f32).collect()
}

/// Returns the mean over the tokens of each picture: `[pictures · tokens, dim]` becomes `[pictures, dim]`.
pub fn token_means(stream: &[f32], tokens: usize, dim: usize) -> Vec<f32> {
    let mut means = Vec::with_capacity(stream.len() / tokens);
    for picture in stream.chunks_exact(tokens * dim) {
        let mut sums = vec![0f64; dim];
        for row in picture.chunks_exact(dim) {
            sums.iter_mut().zip(row).for_each(|(s, &y)| *s += f64::from(y));
        }
        means.extend(sums.iter().map(|s| (s / tokens as f64) as f32));
    }
    means
}
