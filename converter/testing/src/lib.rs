//! What the converter's tests share: random networks and the plainest evaluation of them, the committed checkpoints with
//! their logits, and references that are written after the documents and share no code with what they judge.

pub mod fixtures;
pub mod numerics;
pub mod quantised;
pub mod rewrites;
pub mod unpack;

use proptest::test_runner::{Config, RngSeed};
use resmlp_network::{Activation, Affine, AffinePlacement, Block, Dialect, Linear, Matrix, Network};

/// This many cases, the same ones every time.
pub fn cases(count: u32) -> Config {
    Config { failure_persistence: None, rng_seed: RngSeed::Fixed(0), ..Config::with_cases(count) }
}

/// The sizes of a network.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Height and width in pixels.
    pub image: [usize; 2],
    pub patch: usize,
    pub dim: usize,
    pub hidden: usize,
    pub depth: usize,
    /// `None` makes an embedding model.
    pub classes: Option<usize>,
}

/// SplitMix64: enough randomness for weights, the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1u64 << 24) as f32)
    }

    pub fn vector(&mut self, len: usize, low: f32, high: f32) -> Vec<f32> {
        (0..len).map(|_| self.uniform(low, high)).collect()
    }

    fn linear(&mut self, rows: usize, cols: usize) -> Linear {
        let bound = (3.0 / cols as f32).sqrt();
        let weight = Matrix { rows, cols, data: self.vector(rows * cols, -bound, bound) };
        Linear { weight, bias: self.vector(rows, -0.5, 0.5) }
    }

    /// Scales of both signs.
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

    /// A network whose activations are of order one.
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

/// What a picture gives: the logits, and the stream after the patch embedding and each half block, `[tokens, dim]`.
pub struct Evaluated {
    pub logits: Vec<f64>,
    pub stages: Vec<Vec<f64>>,
}

/// The network as the papers' code writes it, in `f64` and one scalar at a time.
///
/// `pixels` is one picture, `[3, height, width]`, normalised.
pub fn evaluate(network: &Network, pixels: &[f32]) -> Evaluated {
    let dim = network.dim();
    let mut stream: Vec<Vec<f64>> = patches(network, pixels).iter().map(|patch| apply(&network.stem, patch)).collect();
    let mut stages = vec![stream.concat()];
    for block in &network.blocks {
        let scaled: Vec<_> = stream.iter().map(|token| affine(&block.mix_affine, token)).collect();
        if network.placement == AffinePlacement::Stream {
            stream = scaled.clone();
        }
        for d in 0..dim {
            let column: Vec<f64> = scaled.iter().map(|token| token[d]).collect();
            for (token, mixed) in stream.iter_mut().zip(apply(&block.mix, &column)) {
                token[d] += f64::from(block.mix_scale[d]) * mixed;
            }
        }
        stages.push(stream.concat());
        for token in &mut stream {
            let scaled = affine(&block.mlp_affine, token);
            if network.placement == AffinePlacement::Stream {
                token.clone_from(&scaled);
            }
            let hidden: Vec<f64> =
                apply(&block.expand, &scaled).into_iter().map(|x| activate(network.activation, x)).collect();
            for (d, value) in apply(&block.contract, &hidden).into_iter().enumerate() {
                token[d] += f64::from(block.mlp_scale[d]) * value;
            }
        }
        stages.push(stream.concat());
    }
    let mut mean = vec![0.0; dim];
    for token in &stream {
        for (sum, value) in mean.iter_mut().zip(affine(&network.final_affine, token)) {
            *sum += value / network.tokens() as f64;
        }
    }
    let logits = network.head.as_ref().map_or(mean.clone(), |head| apply(head, &mean));
    Evaluated { logits, stages }
}

/// Patches from left to right, then downwards; each as (channel, row, column).
fn patches(network: &Network, pixels: &[f32]) -> Vec<Vec<f64>> {
    let [height, width] = network.image;
    let patch = network.patch;
    let mut all = Vec::new();
    for top in (0..height).step_by(patch) {
        for left in (0..width).step_by(patch) {
            let mut values = Vec::new();
            for channel in 0..3 {
                for row in top..top + patch {
                    let line = &pixels[(channel * height + row) * width..][..width];
                    values.extend(line[left..left + patch].iter().map(|&value| f64::from(value)));
                }
            }
            all.push(values);
        }
    }
    all
}

fn affine(affine: &Affine, x: &[f64]) -> Vec<f64> {
    let pairs = affine.alpha.iter().zip(&affine.beta);
    pairs.zip(x).map(|((&alpha, &beta), x)| f64::from(alpha) * x + f64::from(beta)).collect()
}

pub fn apply(linear: &Linear, x: &[f64]) -> Vec<f64> {
    let row = |r: usize| {
        let products = linear.weight.row(r).iter().zip(x).map(|(&w, x)| f64::from(w) * x);
        products.sum::<f64>() + f64::from(linear.bias[r])
    };
    (0..linear.weight.rows).map(row).collect()
}

/// The activation in `f64`.
pub fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// The error function by its Taylor series, which converges everywhere; beyond 5 it is ±1 to 1e-11.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}
