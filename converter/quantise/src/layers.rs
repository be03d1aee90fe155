//! Quantises one layer at a time for the residual streams that reach it.

use rayon::prelude::*;

use crate::gelu::{self, GeluTable};
use crate::network::{QuantisedHead, QuantisedLinear, QuantisedMix, QuantisedMlp, Quantiser, pixels};
use crate::ranges::{self, Histogram, Range};
use crate::weights::{Moments, Rounded, round};
use resmlp_network::forward::{row_sums, token_means};
use resmlp_network::{Activation, FoldedBlock, FoldedNetwork, Head, Matrix};
use resmlp_runtime::numerics::HEAD_RANGE;

/// Number of samples from which a layer's second moments are taken.
const MOMENT_SAMPLES: usize = 8192;

/// Number of rows whose hidden activations are in memory at a time.
const BATCH: usize = 1024;

/// Smallest range of a channel that did not vary in calibration, as a share of the layer's largest range. The channel
/// may vary for other pictures.
const LEAST_SHARE: f32 = 1e-3;

/// A channel counts as still where it varies by no more than this share of its magnitude.
const STILL: f32 = 0.01;

/// Smallest ranges of 8-bit and of 16-bit inputs. The scales of smaller ranges would not fit the format.
const LEAST_RANGES: [f32; 2] = [255.0 * 1e-9, 16384.0 * 1e-9];

/// Largest magnitude of a bias in units of the sums. Adding such a bias to a sum cannot overflow 32 bits.
const LARGEST_BIAS: f32 = (1 << 29) as f32;

/// The exact residual stream and the quantised one, `[pictures · tokens, dim]`.
pub(crate) struct Streams {
    /// Number of channels.
    pub dim: usize,
    /// The stream without any rounding.
    pub exact: Vec<f32>,
    /// The stream with the rounding of all layers that are quantised so far.
    pub quantised: Vec<f32>,
}

/// Quantises the stem and returns the streams behind it.
pub(crate) fn stem(network: &FoldedNetwork, pictures: &[Vec<u8>]) -> (QuantisedLinear, Streams) {
    let layer = &network.stem;
    let input = pixels(network.image, network.patch, pictures);
    let mut moments = Moments::new(layer.weight.cols);
    moments.add(&spread(&input, layer.weight.cols, MOMENT_SAMPLES));
    let mut stem = linear(&layer.weight.data, &layer.bias, &moments, &layer.bias);
    let exact = network.stem(pictures);
    let mut quantised = stem.apply(&input);
    correct_bias(&mut stem, &exact, &mut quantised);
    (stem, Streams { dim: network.dim(), exact, quantised })
}

/// Quantises a block's patch mixing, and takes the streams through it.
pub(crate) fn mix(block: &FoldedBlock, streams: &mut Streams) -> QuantisedMix {
    let tokens = block.mix.weight.rows;
    let weights = column_norms(&block.expand.weight);
    let (input, centres) = input_quantiser(&streams.quantised, &weights);
    let scale: Vec<f32> = block.scale.iter().zip(&input.scale).map(|(s, inverse)| s / inverse).collect();
    let rounded = round(&block.mix.weight.data, &mix_moments(&input, &scale, tokens, streams), &vec![0.0; tokens]);
    let mix = QuantisedMix {
        input,
        weights: rounded.weights,
        row_scale: rounded.scale,
        // The centre of each channel's range goes through the exact row sums, so that only the deviation from the
        // centre meets rounded weights.
        row_sum: row_sums(&block.mix),
        row_bias: block.mix.bias.clone(),
        sum_gain: block.sum_gain.iter().zip(&block.scale).zip(&centres).map(|((p, s), c)| p + s * c).collect(),
        scale,
        bias_gain: block.bias_gain.clone(),
        gain: block.mix_gain.clone(),
    };
    block.mix(&mut streams.exact);
    mix.apply(&mut streams.quantised);
    mix
}

/// Returns the second moments over tokens. All channels share the weights, and each channel counts as much as it moves
/// the stream.
fn mix_moments(input: &Quantiser, scale: &[f32], tokens: usize, streams: &Streams) -> Moments {
    let dim = streams.dim;
    let mut moments = Moments::uncentred(tokens);
    let pictures = streams.quantised.chunks_exact(tokens * dim);
    let stride = (pictures.len() * dim).div_ceil(MOMENT_SAMPLES).clamp(1, pictures.len());
    for picture in pictures.step_by(stride) {
        let levels = input.apply(picture);
        let places = (0..dim).flat_map(|d| (0..tokens).map(move |n| (n, d)));
        moments.add(&places.map(|(n, d)| levels[n * dim + d] * scale[d]).collect::<Vec<_>>());
    }
    moments
}

/// Quantises a block's channel MLP, and takes the streams through it.
///
/// # Errors
/// Returns the first hidden value that is not finite.
pub(crate) fn mlp(block: &FoldedBlock, activation: Activation, streams: &mut Streams) -> Result<QuantisedMlp, f32> {
    let (dim, hidden) = (streams.dim, block.expand.weight.rows);
    let (input, _) = input_quantiser(&streams.quantised, &column_norms(&block.expand.weight));
    let samples = input.apply(&spread(&streams.quantised, dim, MOMENT_SAMPLES));
    let exact_mean = mean_rows(&spread(&streams.exact, dim, MOMENT_SAMPLES), dim);
    let mut expand = expand_layer(block, &input, &samples, &exact_mean);

    let (ranges, largest) = hidden_ranges(&expand, activation, &input, &streams.quantised)?;
    // This unit keeps every scale of the first layer below 1/2, as the format demands.
    let widest = expand.scale.iter().fold(0f32, |widest, s| widest.max(*s));
    let gelu = GeluTable::new(activation, largest, 2.000_001 * widest);
    let (hidden_scale, hidden_zero, steps) = hidden_quantiser(&ranges, gelu.unit);
    expand.scale.iter_mut().for_each(|s| *s /= gelu.unit);
    let contract = QuantisedLinear { weights: Vec::new(), bias: Vec::new(), scale: Vec::new() };
    let gain = block.mlp_gain.clone();
    let mut mlp = QuantisedMlp { input, expand, gelu, hidden_scale, hidden_zero, contract, gain };

    let mut moments = Moments::new(hidden);
    samples.chunks(BATCH * dim).for_each(|batch| moments.add(&mlp.hidden(batch)));
    let weights = scale_columns(&block.contract.weight.data, &steps);
    mlp.contract = linear(&weights, &block.contract.bias, &moments, &block.contract.bias);

    block.mlp(activation, &mut streams.exact);
    mlp.apply(&mut streams.quantised);
    correct_bias(&mut mlp.contract, &streams.exact, &mut streams.quantised);
    Ok(mlp)
}

/// Quantises the first layer of the channel MLP. Its bias makes the mean of its results equal to the exact mean.
fn expand_layer(block: &FoldedBlock, input: &Quantiser, samples: &[f32], exact_mean: &[f32]) -> QuantisedLinear {
    let layer = &block.expand;
    let steps: Vec<f32> = input.scale.iter().map(|s| 1.0 / s).collect();
    let mut moments = Moments::new(layer.weight.cols);
    moments.add(samples);
    let mean = |r: usize| layer.bias[r] + layer.weight.row(r).iter().zip(exact_mean).map(|(w, x)| w * x).sum::<f32>();
    let means: Vec<f32> = (0..layer.weight.rows).map(mean).collect();
    linear(&scale_columns(&layer.weight.data, &steps), &means, &moments, &means)
}

/// Quantises the classifier.
pub(crate) fn head(network: &FoldedNetwork, streams: &Streams) -> QuantisedHead {
    let (tokens, dim) = (network.tokens(), streams.dim);
    let layer = match &network.head {
        Head::Classifier(layer) => layer,
        Head::Embedding { scale, bias } => {
            let scale = scale.iter().map(|s| s / tokens as f32).collect();
            return QuantisedHead::Embedding { scale, bias: bias.clone() };
        }
    };
    let sums: Vec<f32> = token_means(&streams.quantised, tokens, dim).iter().map(|m| m * tokens as f32).collect();
    let input = sum_quantiser(&sums, &column_norms(&layer.weight));
    let steps: Vec<f32> = input.scale.iter().map(|s| 1.0 / (s * tokens as f32)).collect();
    let levels = input.apply_within(&sums, HEAD_RANGE);
    let mut moments = Moments::new(dim);
    moments.add(&levels);
    let Rounded { weights, scale } =
        round(&scale_columns(&layer.weight.data, &steps), &moments, &vec![0.0; layer.weight.rows]);
    let expected = mean_rows(&network.head(&streams.exact), layer.weight.rows);
    let found = products_of_mean(&weights, &moments.mean());
    let bias = expected.iter().zip(found).zip(&scale).map(|((e, f), s)| e - f * s).collect();
    QuantisedHead::Classifier { input, weights, scale, bias }
}

/// Returns a 16-bit quantiser with room for sums four times as far from the middle as those seen. `weights` is the
/// effect of each channel on the logits.
fn sum_quantiser(sums: &[f32], weights: &[f32]) -> Quantiser {
    let dim = weights.len();
    let ranges: Vec<Range> = (0..dim).map(|d| Range::of(sums.iter().skip(d).step_by(dim))).collect();
    let scale: Vec<f32> = widths(&ranges, weights, LEAST_RANGES[1]).iter().map(|width| 16384.0 / width).collect();
    let offset = scale.iter().zip(&ranges).map(|(s, r)| -s * (r.high + r.low) / 2.0).collect();
    Quantiser { scale, offset }
}

/// Returns an 8-bit quantiser for the channels of `stream`, and the real value in the middle of each channel's range.
/// `weights` is the effect of each channel on the layers behind.
fn input_quantiser(stream: &[f32], weights: &[f32]) -> (Quantiser, Vec<f32>) {
    let dim = weights.len();
    let mut histograms: Vec<Histogram> = ranges::extremes(stream, dim).into_iter().map(Histogram::new).collect();
    ranges::count(&mut histograms, stream);
    let ranges: Vec<Range> = histograms.par_iter().map(|h| h.best(false)).collect();
    let steps = widths(&ranges, weights, LEAST_RANGES[0]).into_iter().map(|width| width / 255.0);
    let scale: Vec<f32> = steps.map(|step| 1.0 / step).collect();
    let centres: Vec<f32> = ranges.iter().zip(&scale).map(|(r, s)| (r.low + r.high) / 2.0 + 0.5 / s).collect();
    let offset = scale.iter().zip(&centres).map(|(s, c)| -s * c).collect();
    (Quantiser { scale, offset }, centres)
}

/// Returns the width of each channel's range. A channel that moved gets the range that was seen. A channel that was
/// still gets room in proportion to its effect on the layer; more room would coarsen the weights of all other channels,
/// which share a scale with it.
fn widths(ranges: &[Range], weights: &[f32], least: f32) -> Vec<f32> {
    let magnitude = |r: &Range| r.low.abs().max(r.high.abs());
    let is_still = |r: &Range| r.high - r.low <= STILL * magnitude(r);
    let largest = ranges.iter().map(magnitude).fold(0f32, f32::max);
    let effects = ranges.iter().zip(weights).map(|(r, w)| (r.high - r.low) * w);
    let strongest = effects.fold(0f32, f32::max);
    // One picture, or several equal ones, do not show how far pictures lie apart. The distance from zero takes its
    // place.
    let nothing_moved = ranges.iter().all(is_still);
    let width = |(r, &w): (&Range, &f32)| {
        let room = match is_still(r) {
            false => 0.0,
            true if nothing_moved => largest,
            true if w > 0.0 => (LEAST_SHARE * strongest / w).min(largest),
            true => 0.0,
        };
        (r.high - r.low).max(room).max(1e-6 * magnitude(r)).max(least)
    };
    ranges.iter().zip(weights).map(width).collect()
}

/// Returns the Euclidean norm of each column.
fn column_norms(matrix: &Matrix) -> Vec<f32> {
    let mut squares = vec![0f64; matrix.cols];
    for row in matrix.data.chunks_exact(matrix.cols) {
        squares.iter_mut().zip(row).for_each(|(s, w)| *s += f64::from(*w).powi(2));
    }
    squares.iter().map(|s| s.sqrt() as f32).collect()
}

/// Returns the range of the activation's results for each hidden unit, and the largest magnitude of the activation's
/// inputs that 16 bits must hold. Inputs far below zero do not count, so that one such unit does not coarsen all
/// others.
///
/// # Errors
/// Returns the first hidden value that is not finite.
fn hidden_ranges(
    expand: &QuantisedLinear,
    activation: Activation,
    input: &Quantiser,
    stream: &[f32],
) -> Result<(Vec<Range>, f32), f32> {
    let activate = resmlp_network::activation::function(activation);
    let (dim, hidden) = (input.scale.len(), expand.bias.len());
    let mut largest = 0f32;
    let mut histograms: Vec<Histogram> = Vec::new();
    // Evenly spread rows set the bounds of the histograms, with room for larger values among the other rows.
    let first = expand.apply(&input.apply(&spread(stream, dim, BATCH)));
    for range in ranges::extremes(&first, hidden) {
        histograms.push(Histogram::new(Range { low: -0.2, high: 4.0 * range.high.max(0.1) }));
    }
    for rows in stream.chunks(BATCH * dim) {
        let mut values = expand.apply(&input.apply(rows));
        if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
            return Err(value);
        }
        largest = values.iter().fold(largest, |m, x| m.max(x.max((-x).min(gelu::DEEPEST))));
        values.par_chunks_mut(hidden).for_each(|row| row.iter_mut().for_each(|x| *x = activate(*x)));
        ranges::count(&mut histograms, &values);
    }
    Ok((histograms.par_iter().map(|h| h.best(true)).collect(), largest))
}

/// Returns the scales (in units of 2^-15), the zero points and the real steps of the 8-bit hidden activations, whose
/// 16-bit inputs count in `unit`.
fn hidden_quantiser(ranges: &[Range], unit: f32) -> (Vec<i16>, Vec<i8>, Vec<f32>) {
    let one = |range: &Range| {
        let range = Range { low: range.low.min(0.0), high: range.high.max(0.0) };
        let scale = (32768.0 * unit / range.step()).floor().clamp(1.0, 32767.0);
        let step = 32768.0 * unit / scale;
        (scale as i16, (-128.0 - range.low / step).round().clamp(-128.0, 127.0) as i8, step)
    };
    let mut out = (Vec::new(), Vec::new(), Vec::new());
    for (scale, zero, step) in ranges.iter().map(one) {
        out.0.push(scale);
        out.1.push(zero);
        out.2.push(step);
    }
    out
}

/// Quantises a layer so that its mean result, for inputs with these moments, is `means`. `largest` bounds the magnitude
/// of the bias.
fn linear(weights: &[f32], means: &[f32], moments: &Moments, largest: &[f32]) -> QuantisedLinear {
    let least: Vec<f32> = largest.iter().map(|b| b.abs() / LARGEST_BIAS).collect();
    let Rounded { weights, scale } = round(weights, moments, &least);
    let found = products_of_mean(&weights, &moments.mean());
    let bias = means.iter().zip(&scale).zip(found).map(|((m, s), f)| (m / s - f).round_ties_even() as i32).collect();
    QuantisedLinear { weights, bias, scale }
}

/// Changes `layer`'s bias so that each channel of `found`, which contains the layer's results, has the same mean as in
/// `exact`. `found` changes along with the bias.
fn correct_bias(layer: &mut QuantisedLinear, exact: &[f32], found: &mut [f32]) {
    let dim = layer.bias.len();
    let (exact, mean) = (mean_rows(exact, dim), mean_rows(found, dim));
    let mut change = vec![0.0; dim];
    for d in 0..dim {
        let steps = ((exact[d] - mean[d]) / layer.scale[d]).round_ties_even().clamp(-LARGEST_BIAS, LARGEST_BIAS);
        layer.bias[d] = layer.bias[d].saturating_add(steps as i32);
        change[d] = steps * layer.scale[d];
    }
    found.par_chunks_exact_mut(dim).for_each(|row| row.iter_mut().zip(&change).for_each(|(y, c)| *y += c));
}

/// Returns `weights · mean`, `[rows]`.
fn products_of_mean(weights: &[i8], mean: &[f32]) -> Vec<f32> {
    let product = |row: &[i8]| row.iter().zip(mean).map(|(&w, &m)| f64::from(w) * f64::from(m)).sum::<f64>() as f32;
    weights.par_chunks_exact(mean.len()).map(product).collect()
}

/// Returns `weights` with every column multiplied by its factor.
fn scale_columns(weights: &[f32], factors: &[f32]) -> Vec<f32> {
    weights.iter().zip(factors.iter().cycle()).map(|(w, f)| w * f).collect()
}

/// Returns the mean of the rows, `[dim]`.
fn mean_rows(rows: &[f32], dim: usize) -> Vec<f32> {
    token_means(rows, rows.len() / dim, dim)
}

/// Returns at most `count` of the rows, spread evenly but not periodically. Neighbouring rows are neighbouring patches,
/// so a period could pick the same place of every picture.
fn spread(rows: &[f32], dim: usize, count: usize) -> Vec<f32> {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let all = rows.len() / dim;
    if all <= count {
        return rows.to_vec();
    }
    let row = |i: usize| ((i as f64 * GOLDEN).fract() * all as f64) as usize;
    (0..count).flat_map(|i| &rows[row(i).min(all - 1) * dim..][..dim]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::{HEAD_RANGE, sum_quantiser};

    #[test]
    fn one_picture_leaves_room_for_others() {
        let seen = [30.0, -80.0, 0.001];
        let quantiser = sum_quantiser(&seen, &[1.0; 3]);
        let others = [-50.0, 40.0, 70.0];
        let levels = quantiser.apply_within(&others, HEAD_RANGE);
        for ((level, other), (scale, offset)) in
            levels.iter().zip(others).zip(quantiser.scale.iter().zip(&quantiser.offset))
        {
            assert!(((level - offset) / scale - other).abs() < 0.01, "{other} became {level}");
        }
    }
}
