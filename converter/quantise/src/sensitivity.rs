//! Which layer costs what: each one quantised alone, all others exact.

use serde::Serialize;

use crate::network::{QuantisedHead, QuantisedNetwork};
use resmlp_network::forward::token_means;
use resmlp_network::metrics::{agree, cosine, sqnr_db};
use resmlp_network::{FoldedNetwork, Head, mix_stage, mlp_stage};

/// Multiply-accumulate operations that a sensitivity table may cost by default.
const MACS: u64 = 1_000_000_000_000;

/// What the logits lose where one layer alone is quantised.
#[derive(Clone, Debug, Serialize)]
pub struct LayerCost {
    /// `stem`, `block.3.mix`, `block.3.mlp`, `head`.
    pub name: String,
    /// Signal to noise of the logits, dB.
    pub sqnr_db: f64,
    /// Smallest cosine of a picture's logits with the exact ones.
    pub cosine_min: f64,
    /// Share of the pictures whose first class stays; none for an embedding.
    pub top1_agreement: Option<f64>,
}

/// How many pictures a table may take in reasonable time: fewer for a larger and a deeper network.
pub fn default_pictures(network: &FoldedNetwork, macs: u64) -> usize {
    // Every layer is followed by the exact rest of the network: half of it on average.
    let passes = network.blocks.len() as u64 + 1;
    usize::try_from(MACS / (macs * passes).max(1)).unwrap_or(usize::MAX).clamp(16, 256)
}

/// The cost of every layer on `pictures`, in the order of the network. An embedding model has no head to quantise.
///
/// Takes about `depth + 1` forward passes in `f32`.
pub fn sensitivity(
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

/// The results for residual streams that enter block `first`.
fn finish(network: &FoldedNetwork, first: usize, mut stream: Vec<f32>) -> Vec<f32> {
    for block in network.blocks.iter().skip(first) {
        block.mix(&mut stream);
        block.mlp(network.activation, &mut stream);
    }
    network.head(&stream)
}

/// The quantised classifier's logits; none for an embedding, which is not quantised.
fn classify(head: &QuantisedHead, stream: &[f32], tokens: usize) -> Option<Vec<f32>> {
    let QuantisedHead::Classifier { input, weights, scale, bias } = head else {
        return None;
    };
    let dim = input.scale.len();
    let sums: Vec<f32> = token_means(stream, tokens, dim).iter().map(|mean| mean * tokens as f32).collect();
    let levels = input.apply_within(&sums, -32768.0, 32639.0);
    let class = |row: &[f32], class: usize| {
        let weights = &weights[class * dim..][..dim];
        let sum: f64 = weights.iter().zip(row).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
        sum as f32 * scale[class] + bias[class]
    };
    Some(levels.chunks_exact(dim).flat_map(|row| (0..scale.len()).map(move |c| class(row, c))).collect())
}

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
