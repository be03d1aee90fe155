//! From the folded network and calibration pictures to 8-bit weights and activations.
//!
//! Layer by layer, two residual streams go through the network: the exact one, and the one that the layers quantised so
//! far produce. Every layer is quantised for the inputs it will really see, and its bias makes up for the mean error.

mod gelu;
mod layers;
mod network;
mod ranges;
mod weights;

pub use gelu::GeluTable;
pub use network::{
    QuantisedBlock, QuantisedHead, QuantisedLinear, QuantisedMix, QuantisedMlp, QuantisedNetwork, Quantiser,
};

use crate::fold::FoldedNetwork;
use layers::Streams;

/// How much of the signal one stage lost.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StageLoss {
    /// `stem`, `block.3.mix`, `block.3.mlp`.
    pub name: String,
    /// Signal to noise of the residual stream after the stage, in dB, the noise of all earlier stages included.
    pub sqnr_db: f64,
}

/// The result of [`quantise`].
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The numbers.
    pub network: QuantisedNetwork,
    /// One entry a stage.
    pub losses: Vec<StageLoss>,
}

/// Quantises `network` for inputs like `pictures` (height × width × RGB bytes each); `progress` is told after each of the
/// `2 · depth + 2` steps.
pub fn quantise(network: &FoldedNetwork, pictures: &[Vec<u8>], mut progress: impl FnMut()) -> Quantised {
    let mut losses = Vec::new();
    let mut note = |name: String, streams: &Streams| {
        losses.push(StageLoss { name, sqnr_db: sqnr_db(&streams.exact, &streams.quantised) });
        progress();
    };
    let (stem, mut streams) = layers::stem(network, pictures);
    note("stem".into(), &streams);
    let mut blocks = Vec::with_capacity(network.blocks.len());
    for (i, block) in network.blocks.iter().enumerate() {
        let mix = layers::mix(block, &mut streams);
        note(format!("block.{i}.mix"), &streams);
        let mlp = layers::mlp(block, &mut streams);
        blocks.push(QuantisedBlock { mix, mlp });
        note(format!("block.{i}.mlp"), &streams);
    }
    let head = layers::head(network, &streams);
    progress();
    let network = QuantisedNetwork {
        image: network.image,
        patch: network.patch,
        dim: network.dim(),
        hidden: network.hidden(),
        stem,
        blocks,
        head,
    };
    Quantised { network, losses }
}

/// Signal-to-quantisation-noise ratio in dB of `found` against `exact`.
pub fn sqnr_db(exact: &[f32], found: &[f32]) -> f64 {
    let power = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let signal = power(&mut exact.iter().copied());
    let noise = power(&mut exact.iter().zip(found).map(|(e, f)| e - f));
    10.0 * (signal.max(1e-30) / noise.max(1e-30)).log10()
}
