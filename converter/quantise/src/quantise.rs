//! Quantises a folded network layer by layer.
//!
//! Two residual streams go through the network side by side: the exact one, and the one that the layers quantised so
//! far produce. Every layer is quantised for the inputs that it will really see, and its bias makes up for the mean
//! error.

use resmlp_network::metrics::sqnr_db;
use resmlp_network::{FoldedNetwork, mix_stage, mlp_stage};

use crate::error::ConvertError;
use crate::layers::{self, Streams};
use crate::network::{QuantisedBlock, QuantisedHead, QuantisedNetwork};

/// The noise of the residual stream after one stage.
#[derive(Clone, Debug, serde::Serialize)]
pub struct StageLoss {
    /// Name of the stage: `stem`, `block.3.mix` or `block.3.mlp`.
    pub name: String,
    /// Signal-to-noise ratio of the residual stream after the stage, in dB. The noise of all earlier stages is part of
    /// it.
    pub sqnr_db: f64,
}

/// The result of [`quantise`].
#[derive(Clone, Debug)]
pub(crate) struct Quantised {
    /// The quantised network.
    pub network: QuantisedNetwork,
    /// One entry for each stage, in the order of the forward pass.
    pub losses: Vec<StageLoss>,
}

/// Quantises `network` for inputs like `pictures` (height × width × RGB bytes each). `progress` is called after each of
/// the `2 · depth + 2` steps.
///
/// # Errors
/// Returns [`ConvertError::Layer`] where the activations of a layer are not finite.
pub(crate) fn quantise(
    network: &FoldedNetwork,
    pictures: &[Vec<u8>],
    mut progress: impl FnMut(),
) -> Result<Quantised, ConvertError> {
    let mut losses = Vec::new();
    let mut note = |name: String, streams: &Streams| {
        require_finite(&name, &streams.exact)?;
        require_finite(&name, &streams.quantised)?;
        losses.push(StageLoss { name, sqnr_db: sqnr_db(&streams.exact, &streams.quantised) });
        progress();
        Ok::<(), ConvertError>(())
    };
    let (stem, mut streams) = layers::stem(network, pictures);
    note("stem".into(), &streams)?;
    let mut blocks = Vec::with_capacity(network.blocks.len());
    for (i, block) in network.blocks.iter().enumerate() {
        let mix = layers::mix(block, &mut streams);
        note(mix_stage(i), &streams)?;
        let mlp = layers::mlp(block, network.activation, &mut streams);
        let mlp = mlp.map_err(|value| ConvertError::Layer { stage: mlp_stage(i), value })?;
        blocks.push(QuantisedBlock { mix, mlp });
        note(mlp_stage(i), &streams)?;
    }
    let head = layers::head(network, &streams);
    let (QuantisedHead::Classifier { bias, .. } | QuantisedHead::Embedding { bias, .. }) = &head;
    require_finite("head", bias)?;
    progress();
    let network = QuantisedNetwork {
        image: network.image,
        patch: network.patch,
        dim: network.dim(),
        hidden: network.hidden(),
        activation: network.activation,
        stem,
        blocks,
        head,
    };
    Ok(Quantised { network, losses })
}

/// Refuses values of the layer `stage` that are not finite: no range of 8-bit numbers could hold them.
fn require_finite(stage: &str, values: &[f32]) -> Result<(), ConvertError> {
    match values.iter().find(|value| !value.is_finite()) {
        Some(&value) => Err(ConvertError::Layer { stage: stage.to_owned(), value }),
        None => Ok(()),
    }
}
