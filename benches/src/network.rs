//! Builds the networks that the benchmarks measure.

use std::path::PathBuf;

use resmlp_network::{Activation, Affine, AffinePlacement, Block, Dialect, Linear, Matrix, Network};
use resmlp_runtime::Dims;

use crate::model::random;

/// Returns the path of a file of the demo that the repository ships.
pub fn demo_file(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo")).join(name)
}

/// Creates a network with the dimensions of `dims`. Its weights are random, and scaled so that activations neither
/// vanish nor explode.
pub fn random_network(dims: &Dims) -> Network {
    let mut random = Random(random(3));
    let (dim, hidden, tokens) = (dims.dim, dims.hidden, dims.tokens());
    let block = |random: &mut Random<_>| Block {
        mix_affine: random.affine(dim),
        mix: random.linear(tokens, tokens),
        mix_scale: random.around(0.1, 0.05, dim),
        mlp_affine: random.affine(dim),
        expand: random.linear(hidden, dim),
        contract: random.linear(dim, hidden),
        mlp_scale: random.around(0.1, 0.05, dim),
    };
    Network {
        dialect: Dialect::Timm,
        placement: AffinePlacement::Branch,
        activation: Activation::Gelu,
        image: dims.image,
        patch: dims.patch,
        stem: random.linear(dim, dims.patch_len()),
        blocks: (0..dims.depth).map(|_| block(&mut random)).collect(),
        final_affine: random.affine(dim),
        head: dims.has_head.then(|| random.linear(dims.outputs, dim)),
    }
}

/// Draws numbers from a uniform distribution, out of random bits.
struct Random<I>(I);

impl<I: Iterator<Item = u64>> Random<I> {
    /// Returns `len` numbers between `middle - distance` and `middle + distance`.
    fn around(&mut self, middle: f32, distance: f32, len: usize) -> Vec<f32> {
        let unit = |bits: u64| bits as i32 as f32 / -(i32::MIN as f32);
        self.0.by_ref().take(len).map(|bits| middle + distance * unit(bits)).collect()
    }

    fn affine(&mut self, dim: usize) -> Affine {
        Affine { alpha: self.around(0.7, 0.5, dim), beta: self.around(0.0, 0.2, dim) }
    }

    /// Creates a layer whose outputs have variance 1 if its inputs have.
    fn linear(&mut self, rows: usize, cols: usize) -> Linear {
        let weight = Matrix { rows, cols, data: self.around(0.0, (3.0 / cols as f32).sqrt(), rows * cols) };
        Linear { weight, bias: self.around(0.0, 0.2, rows) }
    }
}
