//! Random networks, the same ones on every machine.

use resmlp_network::{Activation, Affine, AffinePlacement, Block, Dialect, Linear, Matrix, Network};

/// The sizes of a network.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Height and width of the picture in pixels.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Number of channels.
    pub dim: usize,
    /// Width of the channel MLPs' hidden layer.
    pub hidden: usize,
    /// Number of residual blocks.
    pub depth: usize,
    /// Number of classes; `None` for an embedding model.
    pub classes: Option<usize>,
}

/// The generator SplitMix64, whose numbers are random enough for weights and the same on every machine. It holds the
/// state.
pub struct Random(pub u64);

impl Random {
    /// Returns the next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number that is uniformly distributed in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.bits() >> 40) as f32 / (1u64 << 24) as f32)
    }

    /// Returns `len` numbers that are uniformly distributed in `low..high`.
    pub fn vector(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.uniform(low, high)).collect()
    }

    /// Returns a layer that turns inputs of order one into results of order one.
    fn linear(&mut self, rows: usize, cols: usize) -> Linear {
        let bound = (3.0 / cols as f32).sqrt();
        let weight = Matrix { rows, cols, data: self.vector(rows * cols, -bound, bound) };
        Linear { weight, bias: self.vector(rows, -0.5, 0.5) }
    }

    /// Returns an Aff whose scales have both signs.
    fn affine(&mut self, dim: usize) -> Affine {
        Affine { alpha: self.vector(dim, -1.5, 1.5), beta: self.vector(dim, -0.5, 0.5) }
    }

    fn block(&mut self, tokens: usize, shape: &Shape) -> Block {
        Block {
            mix_affine: self.affine(shape.dim),
            mix: self.linear(tokens, tokens),
            mix_scale: self.vector(shape.dim, -1.0, 1.0),
            mlp_affine: self.affine(shape.dim),
            expand: self.linear(shape.hidden, shape.dim),
            contract: self.linear(shape.dim, shape.hidden),
            mlp_scale: self.vector(shape.dim, -1.0, 1.0),
        }
    }

    /// Returns a network with the exact GELU whose activations are of order one.
    pub fn network(&mut self, shape: &Shape, placement: AffinePlacement) -> Network {
        let tokens = (shape.image[0] / shape.patch) * (shape.image[1] / shape.patch);
        let dialect = match placement {
            AffinePlacement::Branch => Dialect::Timm,
            AffinePlacement::Stream => Dialect::Rishikksh20,
        };
        Network {
            dialect,
            placement,
            activation: Activation::Gelu,
            image: shape.image,
            patch: shape.patch,
            stem: self.linear(shape.dim, 3 * shape.patch * shape.patch),
            blocks: (0..shape.depth).map(|_| self.block(tokens, shape)).collect(),
            final_affine: self.affine(shape.dim),
            head: shape.classes.map(|classes| self.linear(classes, shape.dim)),
        }
    }
}
