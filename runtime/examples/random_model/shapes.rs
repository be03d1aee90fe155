//! The shapes of the published ResMLP networks, for pictures of 224 × 224 pixels and 1000 classes.

use resmlp_runtime::{Dims, Layout, WeightStorage};

/// Names of the shapes. The number after the slash is the edge of a patch in pixels; without a slash it is 16.
pub const NAMES: [&str; 5] = ["S12", "S24", "S36", "B24/16", "B24/8"];

/// Returns the shape of this name, in the default layout for the kind of weights, or `None` if there is no such name.
pub fn shape(name: &str, weights: WeightStorage) -> Option<Dims> {
    let [patch, dim, depth] = match name {
        "S12" => [16, 384, 12],
        "S24" => [16, 384, 24],
        "S36" => [16, 384, 36],
        "B24/16" => [16, 768, 24],
        "B24/8" => [8, 768, 24],
        _ => return None,
    };
    let layout = match weights {
        WeightStorage::Int8 => Layout::DEFAULT,
        WeightStorage::F16 => Layout::F16,
    };
    Some(Dims {
        weights,
        image: [224, 224],
        patch,
        dim,
        hidden: 4 * dim,
        depth,
        outputs: 1000,
        has_head: true,
        has_gains: false,
        layout,
    })
}
