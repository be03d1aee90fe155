//! The arithmetic of `runtime/NUMERICS.md` for int8 models, in plain loops over matrices that are not cut into panels.
//!
//! This file shares no code with the runtime. Where the two agree, the document describes the runtime correctly.

use resmlp_quantise::{GeluTable, QuantisedHead, QuantisedLinear, QuantisedMix, QuantisedMlp};
use resmlp_quantise::{QuantisedNetwork, Quantiser};

/// A matrix, row by row.
type Rows<T> = Vec<Vec<T>>;

/// Computes the results for one picture of height × width × RGB bytes.
pub fn run(network: &QuantisedNetwork, picture: &[u8]) -> Vec<f32> {
    let mut stream: Rows<f32> = Vec::new();
    for patch in patches(network, picture) {
        stream.push((0..network.dim).map(|d| 0.0 + scaled(&network.stem, d, &patch)).collect());
    }
    for block in &network.blocks {
        mix(&block.mix, &mut stream);
        stream.iter_mut().for_each(|row| mlp(&block.mlp, row));
    }
    head(&network.head, &stream)
}

fn patches(network: &QuantisedNetwork, picture: &[u8]) -> Rows<i32> {
    let ([height, width], patch) = (network.image, network.patch);
    let mut all = Vec::new();
    for top in (0..height).step_by(patch) {
        for left in (0..width).step_by(patch) {
            let pixel = |i: usize| {
                let (row, column, colour) = (i / (3 * patch), i / 3 % patch, i % 3);
                i32::from(picture[((top + row) * width + left + column) * 3 + colour]) - 128
            };
            all.push((0..3 * patch * patch).map(pixel).collect());
        }
    }
    all
}

fn sum(weights: &[i8], row: usize, x: &[i32]) -> i32 {
    weights[row * x.len()..][..x.len()].iter().zip(x).map(|(&w, x)| i32::from(w) * x).sum()
}

fn scaled(layer: &QuantisedLinear, row: usize, x: &[i32]) -> f32 {
    (sum(&layer.weights, row, x) + layer.bias[row]) as f32 * layer.scale[row]
}

fn round(x: f32, low: f32, high: f32) -> i32 {
    x.clamp(low, high).round_ties_even() as i32
}

fn quantise(quantiser: &Quantiser, d: usize, y: f32, low: f32, high: f32) -> i32 {
    let product = y * quantiser.scale[d];
    round(product + quantiser.offset[d], low, high)
}

fn rescaled(y: f32, gain: f32) -> f32 {
    (y * gain).clamp(-2f32.powi(96), 2f32.powi(96))
}

fn mix(mix: &QuantisedMix, stream: &mut Rows<f32>) {
    for d in 0..mix.scale.len() {
        let column: Vec<i32> = stream.iter().map(|row| quantise(&mix.input, d, row[d], -128.0, 127.0)).collect();
        for (n, row) in stream.iter_mut().enumerate() {
            let product = sum(&mix.weights, n, &column) as f32 * mix.row_scale[n] * mix.scale[d];
            let constant = mix.sum_gain[d] * mix.row_sum[n] + mix.bias_gain[d] * mix.row_bias[n];
            let kept = rescaled(row[d], mix.gain[d]);
            row[d] = kept + (product + constant);
        }
    }
}

fn mlp(mlp: &QuantisedMlp, row: &mut [f32]) {
    let input: Vec<i32> = row.iter().enumerate().map(|(d, &y)| quantise(&mlp.input, d, y, -128.0, 127.0)).collect();
    let hidden: Vec<i32> = (0..mlp.hidden_scale.len())
        .map(|h| {
            let sum = i64::from(sum(&mlp.expand.weights, h, &input) + mlp.expand.bias[h]);
            let fraction = (f64::from(mlp.expand.scale[h]) * 2f64.powi(31)).round_ties_even() as i64;
            let x = (sum * fraction + (1 << 30)).div_euclid(1 << 31).clamp(-32768, 32767) as i32;
            let y = gelu(&mlp.gelu, x) * i32::from(mlp.hidden_scale[h]);
            ((y + 16384).div_euclid(32768) + i32::from(mlp.hidden_zero[h])).clamp(-128, 127)
        })
        .collect();
    for (d, y) in row.iter_mut().enumerate() {
        let kept = rescaled(*y, mlp.gain[d]);
        *y = kept + scaled(&mlp.contract, d, &hidden);
    }
}

fn gelu(table: &GeluTable, x: i32) -> i32 {
    x.max(0) - i32::from(table.entries[(x.unsigned_abs() >> table.shift).min(255) as usize])
}

fn head(head: &QuantisedHead, stream: &Rows<f32>) -> Vec<f32> {
    let mut sums = vec![0f32; stream[0].len()];
    for row in stream {
        sums.iter_mut().zip(row).for_each(|(sum, y)| *sum += y);
    }
    let (input, weights, scale, bias) = match head {
        QuantisedHead::Embedding { scale, bias } => {
            return sums.iter().zip(scale).zip(bias).map(|((sum, s), b)| sum * s + b).collect();
        }
        QuantisedHead::Classifier { input, weights, scale, bias } => (input, weights, scale, bias),
    };
    let x: Vec<i32> = sums.iter().enumerate().map(|(d, &y)| quantise(input, d, y, -32768.0, 32639.0)).collect();
    let high: Vec<i32> = x.iter().map(|x| (x + 128).div_euclid(256)).collect();
    let low: Vec<i32> = x.iter().zip(&high).map(|(x, h)| x - 256 * h).collect();
    let logit = |c: usize| {
        let [high, low] = [&high, &low].map(|digits| sum(weights, c, digits) as f32);
        (high * 256.0 + low) * scale[c] + bias[c]
    };
    (0..bias.len()).map(logit).collect()
}
