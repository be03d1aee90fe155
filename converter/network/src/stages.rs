//! Names of the stages of a forward pass. Reports and exported graphs use the same names.

use crate::network::Network;

/// Name of the residual stream after the patch embedding.
pub(crate) const STEM: &str = "stem";

/// Returns the name of the residual stream after the patch mixing of block `index`.
pub fn mix_stage(index: usize) -> String {
    format!("block.{index}.mix")
}

/// Returns the name of the residual stream after the channel MLP of block `index`.
pub fn mlp_stage(index: usize) -> String {
    format!("block.{index}.mlp")
}

/// Returns the names of all residual streams in the order of the forward pass: `stem`, then two a block.
pub fn stage_names(network: &Network) -> Vec<String> {
    let blocks = (0..network.blocks.len()).flat_map(|index| [mix_stage(index), mlp_stage(index)]);
    std::iter::once(STEM.to_owned()).chain(blocks).collect()
}
