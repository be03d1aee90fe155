//! The backward pass of one chunk of pictures: the chain rule, layer by layer, from the logits to the stem.
//!
//! With `d` for the gradient of the loss, a linear layer `y = W · x + b` has `dW += dy · xᵀ`, `db += dy` and
//! `dx = Wᵀ · dy`, and an Aff `y = α ⊙ x + β` has `dα += dy ⊙ x`, `dβ += dy` and `dx = α ⊙ dy`.

use std::ops::Range;

use resmlp_network::AffinePlacement;

use crate::columns::{add, add_rows, affine, affine_backward, multiply as times, scale_backward};
use crate::forward::Forward;
use crate::layout::{AffineAt, BlockAt, LinearAt};
use crate::matrix::{View, add_product, multiply};
use crate::workspace::{Kept, Workspace};

impl Forward<'_> {
    /// Adds to `gradient` the gradient of a loss whose gradient by the logits of the chunk is `d_logits`,
    /// `[pictures, outputs]`. `workspace` is as [`Forward::run`] leaves it.
    pub fn backward(&self, d_logits: &[f32], workspace: &mut Workspace, gradient: &mut [f32]) {
        let shape = &self.layout.shape;
        let count = d_logits.len() / shape.outputs();
        let (rows, dim) = (count * shape.tokens(), shape.dim);
        self.classifier_backward(d_logits, workspace, gradient);
        for (index, block) in self.layout.blocks.iter().enumerate().rev() {
            let Workspace { streams, blocks, scaled, d_stream, d_branch, d_layer, d_hidden, .. } = workspace;
            let buffers = Buffers {
                kept: &blocks[index],
                scaled: &mut scaled[..rows * dim],
                d_stream: &mut d_stream[..rows * dim],
                d_branch: &mut d_branch[..rows * dim],
                d_layer: &mut d_layer[..rows * dim],
                d_hidden: &mut d_hidden[..rows * shape.hidden],
            };
            let buffers =
                self.mlp_backward(block, 2 * index + 1, &streams[2 * index + 1][..rows * dim], buffers, gradient);
            self.mix_backward(block, 2 * index, &streams[2 * index][..rows * dim], buffers, gradient);
        }
        let patches = &workspace.patches[..rows * shape.patch_len()];
        weights_backward(&self.layout.stem, patches, &workspace.d_stream[..rows * dim], gradient);
    }

    /// Takes the gradient through the classifier, the mean over the patches and the last Aff.
    fn classifier_backward(&self, d_logits: &[f32], workspace: &mut Workspace, gradient: &mut [f32]) {
        let Self { layout, parameters: p, .. } = *self;
        let (tokens, dim) = (layout.shape.tokens(), layout.shape.dim);
        let count = d_logits.len() / layout.shape.outputs();
        let Workspace { streams, means, scaled, d_stream, .. } = workspace;
        let d_means = &mut scaled[..count * dim];
        match &layout.head {
            Some(head) => {
                weights_backward(head, &means[..count * dim], d_logits, gradient);
                let weight = View::new(&p[head.weight.clone()], dim);
                multiply(View::new(d_logits, layout.shape.outputs()), weight, d_means);
            }
            None => d_means.copy_from_slice(d_logits),
        }
        let last = &streams[2 * layout.shape.depth];
        let pictures = last.chunks_exact(tokens * dim).zip(d_stream.chunks_exact_mut(tokens * dim));
        for (d_mean, (picture, d_stream)) in d_means.chunks_exact_mut(dim).zip(pictures) {
            // Every token has the same share in the mean.
            let mean = &mut means[..dim];
            mean.fill(0.0);
            add_rows(picture, mean);
            mean.iter_mut().for_each(|sum| *sum /= tokens as f32);
            let alpha = &p[layout.final_affine.alpha.clone()];
            affine_backward(mean, alpha, d_mean, affine_at(gradient, &layout.final_affine));
            d_mean.iter_mut().for_each(|d| *d /= tokens as f32);
            d_stream.chunks_exact_mut(dim).for_each(|row| row.copy_from_slice(d_mean));
        }
    }

    /// Takes the gradient of the stream behind a channel MLP to the stream before it, `x`.
    fn mlp_backward<'b>(
        &self,
        at: &BlockAt,
        branch: usize,
        x: &[f32],
        buffers: Buffers<'b>,
        gradient: &mut [f32],
    ) -> Buffers<'b> {
        let p = self.parameters;
        let (dim, width) = (self.layout.shape.dim, self.layout.shape.hidden);
        let Buffers { kept, scaled, d_stream, d_branch, d_layer, d_hidden } = buffers;
        self.scale_backward(&at.mlp_scale, branch, [d_stream, &kept.contracted], d_layer, gradient);
        let hidden = &kept.hidden[..d_hidden.len()];
        weights_backward(&at.contract, hidden, d_layer, gradient);
        multiply(View::new(d_layer, dim), View::new(&p[at.contract.weight.clone()], width), d_hidden);
        times(d_hidden, &kept.slope);
        affine(x, &p[at.mlp_affine.alpha.clone()], &p[at.mlp_affine.beta.clone()], scaled);
        weights_backward(&at.expand, scaled, d_hidden, gradient);
        multiply(View::new(d_hidden, width), View::new(&p[at.expand.weight.clone()], dim), d_branch);
        self.join(&at.mlp_affine, x, d_branch, d_stream, gradient);
        Buffers { kept, scaled, d_stream, d_branch, d_layer, d_hidden }
    }

    /// Takes the gradient of the stream behind a patch mixing to the stream before it, `x`.
    fn mix_backward(&self, at: &BlockAt, branch: usize, x: &[f32], buffers: Buffers, gradient: &mut [f32]) {
        let p = self.parameters;
        let (tokens, dim) = (self.layout.shape.tokens(), self.layout.shape.dim);
        let Buffers { kept, scaled, d_stream, d_branch, d_layer, .. } = buffers;
        self.scale_backward(&at.mix_scale, branch, [d_stream, &kept.mixed], d_layer, gradient);
        affine(x, &p[at.mix_affine.alpha.clone()], &p[at.mix_affine.beta.clone()], scaled);
        let weight = View::new(&p[at.mix.weight.clone()], tokens);
        let pictures = d_layer.chunks_exact(tokens * dim).zip(scaled.chunks_exact(tokens * dim));
        for ((d_mixed, scaled), d_branch) in pictures.zip(d_branch.chunks_exact_mut(tokens * dim)) {
            let d_mixed_view = View::new(d_mixed, dim);
            add_product(d_mixed_view, View::new(scaled, dim).t(), &mut gradient[at.mix.weight.clone()]);
            for (d_bias, row) in gradient[at.mix.bias.clone()].iter_mut().zip(d_mixed.chunks_exact(dim)) {
                *d_bias += row_sum(row);
            }
            multiply(weight.t(), d_mixed_view, d_branch);
        }
        self.join(&at.mix_affine, x, d_branch, d_stream, gradient);
    }

    /// Takes the gradient `d` of the stream to the result `y` of the branch's layer, through LayerScale and the
    /// picture's factor.
    fn scale_backward(
        &self,
        at: &Range<usize>,
        branch: usize,
        [d, y]: [&[f32]; 2],
        d_layer: &mut [f32],
        gradient: &mut [f32],
    ) {
        let (scale, d_scale) = (&self.parameters[at.clone()], &mut gradient[at.clone()]);
        let len = self.layout.shape.tokens() * scale.len();
        let pictures = d.chunks_exact(len).zip(y.chunks_exact(len)).zip(d_layer.chunks_exact_mut(len));
        for (picture, ((d, y), d_layer)) in pictures.enumerate() {
            scale_backward(d, y, scale, self.keep(picture, branch), d_layer, d_scale);
        }
    }

    /// Takes the gradient `d_branch` of a branch's input through the branch's Aff and joins it with the gradient of the
    /// stream that the branch was added to.
    fn join(&self, at: &AffineAt, x: &[f32], d_branch: &mut [f32], d_stream: &mut [f32], gradient: &mut [f32]) {
        let alpha = &self.parameters[at.alpha.clone()];
        match self.layout.shape.placement {
            AffinePlacement::Branch => {
                affine_backward(x, alpha, d_branch, affine_at(gradient, at));
                add(d_stream, d_branch);
            }
            AffinePlacement::Stream => {
                add(d_stream, d_branch);
                affine_backward(x, alpha, d_stream, affine_at(gradient, at));
            }
        }
    }
}

/// The parts of the workspace that a half block uses on the way back.
struct Buffers<'a> {
    kept: &'a Kept,
    scaled: &'a mut [f32],
    d_stream: &'a mut [f32],
    d_branch: &'a mut [f32],
    d_layer: &'a mut [f32],
    d_hidden: &'a mut [f32],
}

/// Adds to the gradients of a linear layer with inputs `x`, `[rows, in]`, whose results have the gradient `d`,
/// `[rows, out]`.
fn weights_backward(at: &LinearAt, x: &[f32], d: &[f32], gradient: &mut [f32]) {
    let out = at.bias.len();
    add_product(View::new(d, out).t(), View::new(x, at.weight.len() / out), &mut gradient[at.weight.clone()]);
    add_rows(d, &mut gradient[at.bias.clone()]);
}

/// Returns the gradients of an Aff's alpha and beta.
fn affine_at<'a>(gradient: &'a mut [f32], at: &AffineAt) -> [&'a mut [f32]; 2] {
    gradient.get_disjoint_mut([at.alpha.clone(), at.beta.clone()]).expect("a layout's tensors do not overlap")
}

/// Returns the sum of a row. Sixteen sums go along the row side by side, so that it can be added up by vector
/// instructions, and always in this order.
fn row_sum(row: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    let chunks = row.chunks_exact(16);
    let rest: f32 = chunks.remainder().iter().sum();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum::<f32>() + rest
}
