//! The plainest evaluation of a trained network: `f64`, one scalar at a time, nothing folded.

use resmlp_network::{Activation, Affine, AffinePlacement, Linear, Network};

/// The result for one picture, and the residual streams on the way to it.
pub struct Evaluated {
    /// Logits, or the embedding.
    pub logits: Vec<f64>,
    /// Stream after the patch embedding and after each half block, `[tokens, dim]` each.
    pub stages: Vec<Vec<f64>>,
}

/// Computes the network as the authors' code writes it, for one normalised picture, `[3, height, width]`.
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

/// Cuts a picture into patches, from left to right and then downwards. A patch is flattened as (colour, row, column).
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

/// Returns `alpha ⊙ x + beta`.
fn affine(affine: &Affine, x: &[f64]) -> Vec<f64> {
    let pairs = affine.alpha.iter().zip(&affine.beta);
    pairs.zip(x).map(|((&alpha, &beta), x)| f64::from(alpha) * x + f64::from(beta)).collect()
}

/// Returns `weight · x + bias`.
pub fn apply(linear: &Linear, x: &[f64]) -> Vec<f64> {
    let row = |r: usize| {
        let products = linear.weight.row(r).iter().zip(x).map(|(&w, x)| f64::from(w) * x);
        products.sum::<f64>() + f64::from(linear.bias[r])
    };
    (0..linear.weight.rows).map(row).collect()
}

/// Applies the activation in `f64`.
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

/// Returns the exact GELU, `x · Φ(x)`.
fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

/// Returns the error function by its Taylor series, which converges everywhere. Beyond 5 it differs from ±1 by less
/// than 1e-11.
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
