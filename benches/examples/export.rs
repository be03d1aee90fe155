//! Writes a network as ONNX, as it was trained and with nothing folded, for engines that read no other format.
//!
//! ```text
//! cargo run --release -p resmlp-benches --example export -- SHAPE|CHECKPOINT OUT.onnx
//! ```
//!
//! A SHAPE such as S12 stands for a network of that published shape with random weights.

use std::path::Path;

use resmlp_benches::{random_network, shape};
use resmlp_checkpoint::export::{Batch, onnx_bytes};
use resmlp_checkpoint::{LoadOptions, load};
use resmlp_runtime::WeightStorage;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, onnx] = &arguments[..] else { panic!("expected SHAPE|CHECKPOINT OUT.onnx") };
    let network = match shape(network, WeightStorage::Int8) {
        Some(dims) => random_network(&dims),
        None => load(Path::new(network), &LoadOptions::default()).expect("a checkpoint").network,
    };
    let bytes = onnx_bytes(&network, Batch::Fixed(1)).expect("at most 2 GiB");
    std::fs::write(onnx, bytes).expect("an ONNX file");
}
