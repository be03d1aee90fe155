//! The forward pass of one chunk of pictures (arXiv 2105.03404, section 2).

use resmlp_network::AffinePlacement;

use crate::activation::activate;
use crate::columns::{add_scaled, affine, fill_rows};
use crate::layout::{BlockAt, Layout, Shape};
use crate::matrix::{View, add_product, multiply};
use crate::workspace::{Kept, Workspace};

/// Inputs of a forward pass, except for the pictures.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a> {
    pub layout: &'a Layout,
    pub parameters: &'a [f32],
    /// Factors of the pictures' branches, `[pictures, 2 · depth]`: 0 drops a branch. `None` keeps all branches as they
    /// are.
    pub keep: Option<&'a [f32]>,
}

impl Forward<'_> {
    /// Computes the logits of normalised pictures, `[pictures, 3, height, width]`, and keeps in `workspace` what the
    /// backward pass needs.
    pub fn run(&self, pictures: &[f32], workspace: &mut Workspace) {
        let Self { layout, parameters: p, .. } = *self;
        let shape = &layout.shape;
        let count = pictures.len() / shape.picture_len();
        let (rows, dim) = (count * shape.tokens(), shape.dim);

        cut_into_patches(shape, pictures, &mut workspace.patches);
        let stem = &mut workspace.streams[0][..rows * dim];
        fill_rows(stem, &p[layout.stem.bias.clone()]);
        let patches = View::new(&workspace.patches[..rows * shape.patch_len()], shape.patch_len());
        add_product(patches, View::new(&p[layout.stem.weight.clone()], shape.patch_len()).t(), stem);

        for (index, (block, kept)) in layout.blocks.iter().zip(&mut workspace.blocks).enumerate() {
            let scaled = &mut workspace.scaled[..rows * dim];
            let [before, between, after] = &mut workspace.streams[2 * index..2 * index + 3] else {
                unreachable!("a slice of three")
            };
            self.mix(block, 2 * index, &before[..rows * dim], scaled, kept, &mut between[..rows * dim]);
            self.mlp(block, 2 * index + 1, &between[..rows * dim], scaled, kept, &mut after[..rows * dim]);
        }
        self.classify(count, workspace);
    }

    /// Returns the factor of a picture's branch.
    pub fn keep(&self, picture: usize, branch: usize) -> f32 {
        self.keep.map_or(1.0, |keep| keep[picture * 2 * self.layout.shape.depth + branch])
    }

    /// Copies to `to` the stream to which a branch is added, which is `x` or its Aff.
    fn base(&self, x: &[f32], scaled: &[f32], to: &mut [f32]) {
        to.copy_from_slice(match self.layout.shape.placement {
            AffinePlacement::Branch => x,
            AffinePlacement::Stream => scaled,
        });
    }

    /// Takes the stream through a patch mixing.
    fn mix(&self, at: &BlockAt, branch: usize, x: &[f32], scaled: &mut [f32], kept: &mut Kept, to: &mut [f32]) {
        let p = self.parameters;
        let (tokens, dim) = (self.layout.shape.tokens(), self.layout.shape.dim);
        affine(x, &p[at.mix_affine.alpha.clone()], &p[at.mix_affine.beta.clone()], scaled);
        self.base(x, scaled, to);
        let weight = View::new(&p[at.mix.weight.clone()], tokens);
        let pictures = scaled.chunks_exact(tokens * dim).zip(kept.mixed.chunks_exact_mut(tokens * dim));
        for (picture, ((scaled, mixed), to)) in pictures.zip(to.chunks_exact_mut(tokens * dim)).enumerate() {
            for (row, &bias) in mixed.chunks_exact_mut(dim).zip(&p[at.mix.bias.clone()]) {
                row.fill(bias);
            }
            add_product(weight, View::new(scaled, dim), mixed);
            add_scaled(to, mixed, &p[at.mix_scale.clone()], self.keep(picture, branch));
        }
    }

    /// Takes the stream through a channel MLP.
    fn mlp(&self, at: &BlockAt, branch: usize, x: &[f32], scaled: &mut [f32], kept: &mut Kept, to: &mut [f32]) {
        let p = self.parameters;
        let Shape { dim, hidden: width, activation, .. } = self.layout.shape;
        let rows = x.len() / dim;
        affine(x, &p[at.mlp_affine.alpha.clone()], &p[at.mlp_affine.beta.clone()], scaled);
        self.base(x, scaled, to);
        let (hidden, slope) = (&mut kept.hidden[..rows * width], &mut kept.slope[..rows * width]);
        multiply(View::new(scaled, dim), View::new(&p[at.expand.weight.clone()], dim).t(), hidden);
        activate(activation, hidden, &p[at.expand.bias.clone()], slope);
        let contracted = &mut kept.contracted[..rows * dim];
        fill_rows(contracted, &p[at.contract.bias.clone()]);
        add_product(View::new(hidden, width), View::new(&p[at.contract.weight.clone()], width).t(), contracted);
        let len = self.layout.shape.tokens() * dim;
        for (picture, (to, y)) in to.chunks_exact_mut(len).zip(contracted.chunks_exact(len)).enumerate() {
            add_scaled(to, y, &p[at.mlp_scale.clone()], self.keep(picture, branch));
        }
    }

    /// Takes the stream through the last Aff, the mean over the patches and the classifier.
    fn classify(&self, count: usize, workspace: &mut Workspace) {
        let Self { layout, parameters: p, .. } = *self;
        let (tokens, dim) = (layout.shape.tokens(), layout.shape.dim);
        let last = &workspace.streams[2 * layout.shape.depth];
        let (alpha, beta) = (&p[layout.final_affine.alpha.clone()], &p[layout.final_affine.beta.clone()]);
        let means = &mut workspace.means[..count * dim];
        // The mean of an Aff's results is the Aff of the mean.
        for (mean, picture) in means.chunks_exact_mut(dim).zip(last.chunks_exact(tokens * dim)) {
            mean.fill(0.0);
            crate::columns::add_rows(picture, mean);
            for ((mean, alpha), beta) in mean.iter_mut().zip(alpha).zip(beta) {
                *mean = alpha * (*mean / tokens as f32) + beta;
            }
        }
        let logits = &mut workspace.logits[..count * layout.shape.outputs()];
        match &layout.head {
            Some(head) => {
                fill_rows(logits, &p[head.bias.clone()]);
                add_product(View::new(means, dim), View::new(&p[head.weight.clone()], dim).t(), logits);
            }
            None => logits.copy_from_slice(means),
        }
    }
}

/// Cuts pictures, `[pictures, 3, height, width]`, into patches, `[pictures · tokens, 3 · patch²]`. A patch is flattened
/// as (colour, row, column).
fn cut_into_patches(shape: &Shape, pictures: &[f32], patches: &mut [f32]) {
    let ([height, width], patch) = (shape.image, shape.patch);
    let mut to = patches.chunks_exact_mut(patch);
    for picture in pictures.chunks_exact(shape.picture_len()) {
        for (top, left) in (0..height).step_by(patch).flat_map(|t| (0..width).step_by(patch).map(move |l| (t, l))) {
            for row in (0..3).flat_map(|colour| (top..top + patch).map(move |y| colour * height + y)) {
                let line = &picture[row * width + left..][..patch];
                to.next().expect("there is room for every line of every patch").copy_from_slice(line);
            }
        }
    }
}
