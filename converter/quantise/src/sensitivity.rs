//! Measures what quantising each layer alone costs, with all other layers exact.

use serde::Serialize;

use crate::network::{QuantisedHead, QuantisedNetwork};
use resmlp_network::forward::token_means;
use resmlp_network::metrics::{agree, cosine, sqnr_db};
use resmlp_network::{FoldedNetwork, Head, mix_stage, mlp_stage};
use resmlp_runtime::numerics::HEAD_RANGE;

/// Number of multiply-accumulate operations that a sensitivity table may take by default.
const MACS: u64 = 1_000_000_000_000;

/// The noise of the logits where one layer alone is quantised.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCost {
    /// Name of the layer: `stem`, `block.3.mix`, `block.3.mlp` or `head`.
    pub name: String,
    /// Signal-to-noise ratio of the logits, in dB.
    pub sqnr_db: f64,
    /// Smallest cosine between the logits of a picture and its exact logits.
    pub cosine_min: f64,
    /// Share of the pictures whose first class stays the same, from 0 to 1; `None` for an embedding model.
    pub top1_agreement: Option<f64>,
}

/// Returns the number of pictures with which a table takes a reasonable time, from 16 to 256. `macs` is the number of
/// multiply-accumulate operations of one forward pass; the larger and the deeper the network, the fewer the pictures.
pub(crate) fn default_pictures(network: &FoldedNetwork, macs: u64) -> usize {
    // Every one of the two layers of a block is followed by the exact rest of the network, which is half of it on
    // average.
    let passes = network.blocks.len() as u64 + 1;
    usize::try_from(MACS / (macs * passes).max(1)).unwrap_or(usize::MAX).clamp(16, 256)
}

/// Returns the cost of every layer on `pictures` (height × width × RGB bytes each), in the order of the network. An
/// embedding model has no entry for the head, because its head is not quantised. `progress` is called after each layer.
///
/// The work is that of about `depth + 1` forward passes in `f32`.
pub(crate) fn sensitivity(
    exact: &FoldedNetwork,
    quantised: &QuantisedNetwork,
    pictures: &[Vec<u8>],
    mut progress: impl FnMut(),
) -> Vec<LayerCost> {
    let logits = exact.forward(pictures);
    let mut costs = Vec::new();
    let mut note = |name: String, found: &[f32]| {
        costs.push(cost(name, exact, &logits, found));
        progress();
    };
    note("stem".into(), &finish(exact, 0, quantised.stem(pictures)));
    let mut stream = exact.stem(pictures);
    for (index, (block, rounded)) in exact.blocks.iter().zip(&quantised.blocks).enumerate() {
        let mut other = stream.clone();
        rounded.mix.apply(&mut other);
        block.mlp(exact.activation, &mut other);
        note(mix_stage(index), &finish(exact, index + 1, other));
        block.mix(&mut stream);
        let mut other = stream.clone();
        rounded.mlp.apply(&mut other);
        note(mlp_stage(index), &finish(exact, index + 1, other));
        block.mlp(exact.activation, &mut stream);
    }
    if let Some(found) = classify(&quantised.head, &stream, exact.tokens()) {
        note("head".into(), &found);
    }
    costs
}

/// Returns the logits for residual streams, `[pictures · tokens, dim]`, that enter block `first`.
fn finish(network: &FoldedNetwork, first: usize, mut stream: Vec<f32>) -> Vec<f32> {
    for block in network.blocks.iter().skip(first) {
        block.mix(&mut stream);
        block.mlp(network.activation, &mut stream);
    }
    network.head(&stream)
}

/// Returns the logits of the quantised classifier for residual streams after the last block, or `None` for an embedding
/// model, whose head is not quantised.
fn classify(head: &QuantisedHead, stream: &[f32], tokens: usize) -> Option<Vec<f32>> {
    let QuantisedHead::Classifier { input, weights, scale, bias } = head else {
        return None;
    };
    let dim = input.scale.len();
    let sums: Vec<f32> = token_means(stream, tokens, dim).iter().map(|mean| mean * tokens as f32).collect();
    let levels = input.apply_within(&sums, HEAD_RANGE);
    let class = |row: &[f32], class: usize| {
        let weights = &weights[class * dim..][..dim];
        let sum: f64 = weights.iter().zip(row).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        sum as f32 * scale[class] + bias[class]
    };
    Some(levels.chunks_exact(dim).flat_map(|row| (0..scale.len()).map(move |c| class(row, c))).collect())
}

/// Compares the logits `found` with the `exact` ones.
fn cost(name: String, network: &FoldedNetwork, exact: &[f32], found: &[f32]) -> LayerCost {
    let outputs = network.outputs();
    let pairs = || exact.chunks_exact(outputs).zip(found.chunks_exact(outputs));
    let agreed = pairs().filter(|(a, b)| agree(a, b)).count() as f64 / pairs().len().max(1) as f64;
    LayerCost {
        name,
        sqnr_db: sqnr_db(exact, found),
        cosine_min: pairs().map(|(a, b)| cosine(a, b)).fold(1.0, f64::min),
        top1_agreement: matches!(network.head, Head::Classifier(_)).then_some(agreed),
    }
}
