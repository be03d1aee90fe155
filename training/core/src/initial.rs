//! The parameters from which training starts.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::layout::{Kind, Layout, TensorAt};

/// Returns the paper's first factor of LayerScale for a network of this depth (arXiv 2105.03404, appendix A; CaiT,
/// arXiv 2103.17239, table 9).
pub fn layer_scale(depth: usize) -> f32 {
    match depth {
        0..=18 => 0.1,
        19..=24 => 1e-5,
        _ => 1e-6,
    }
}

/// Returns the parameters from which training starts.
///
/// As in timm's `MlpMixer`, weights are uniform with variance `2 / (in + out)` (Glorot and Bengio, 2010), the patch
/// embedding is uniform within `±1 / √in`, and the classifier and all biases are zero. Affs start as the identity, and
/// LayerScale at `scale`. The same seed gives the same parameters on every machine.
pub fn initial(layout: &Layout, scale: f32, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut parameters = vec![0.0; layout.len()];
    for tensor in &layout.tensors {
        let values = &mut parameters[tensor.range.clone()];
        match tensor.kind {
            Kind::Weight => {
                let bound = bound(tensor);
                values.iter_mut().for_each(|value| *value = bound * symmetric(&mut random));
            }
            Kind::Bias | Kind::Beta => {}
            Kind::Alpha => values.fill(1.0),
            Kind::Scale => values.fill(scale),
        }
    }
    parameters
}

/// Returns the largest magnitude of a tensor's first weights.
fn bound(tensor: &TensorAt) -> f32 {
    let out = tensor.shape[0];
    let inputs = tensor.range.len() / out;
    match tensor.name.as_str() {
        "head.weight" => 0.0,
        "stem.proj.weight" => (1.0 / inputs as f32).sqrt(),
        _ => (6.0 / (inputs + out) as f32).sqrt(),
    }
}

/// Returns a number that is uniformly distributed in `-1..1`.
fn symmetric(random: &mut impl Rng) -> f32 {
    (random.next_u32() >> 8) as f32 * (2.0 / (1 << 24) as f32) - 1.0
}
