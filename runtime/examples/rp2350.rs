//! Prints a table of networks for a Raspberry Pi Pico 2 (RP2350), with the flash and the RAM that each of them needs.
//!
//! ```text
//! cargo run --release -p resmlp-runtime --example rp2350
//! ```
//!
//! The flash is that of the packed model without labels, in the layout for these cores. The RAM is the scratch memory
//! of a forward pass.

#[path = "random_model/model.rs"]
mod model;

use resmlp_runtime::{Dims, Engine, Kernels, Layout, Model, Serial, WeightStorage};

/// Each row gives the edge of the picture and of a patch in pixels, and the numbers of channels, blocks and classes.
const NETWORKS: [[usize; 5]; 9] = [
    [32, 4, 128, 8, 10],
    [48, 8, 128, 8, 10],
    [64, 8, 128, 12, 100],
    [64, 8, 192, 8, 100],
    [96, 8, 128, 10, 100],
    [96, 12, 192, 8, 100],
    [128, 16, 192, 8, 100],
    [224, 16, 192, 8, 1000],
    [224, 16, 384, 12, 1000],
];

fn main() {
    println!("| picture | patch | tokens | channels | blocks | classes | flash, KB | RAM, KB | picture, KB | MMAC |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for [edge, patch, dim, depth, outputs] in NETWORKS {
        let dims = Dims {
            weights: WeightStorage::Int8,
            image: [edge, edge],
            patch,
            dim,
            hidden: 4 * dim,
            depth,
            outputs,
            has_head: true,
            has_gains: false,
            layout: Layout::DSP,
        };
        let bytes = model::random_model(&dims);
        let model = Model::parse(&bytes).expect("a valid model");
        let scratch = Engine::new(model, Kernels::scalar(), Serial).expect("any layout").scratch_len();
        let [flash, ram, picture] = [bytes.len(), scratch, edge * edge * 3].map(|bytes| bytes.div_ceil(1024));
        println!(
            "| {edge}×{edge} | {patch} | {} | {dim} | {depth} | {outputs} | {flash} | {ram} | {picture} | {} |",
            dims.tokens(),
            dims.macs() / 1_000_000
        );
    }
}
