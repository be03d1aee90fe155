//! Goes the whole way from the bytes of a file to logits.

use resmlp_network::{FoldedNetwork, Network, fold};
use resmlp_quantise::{Extras, Request, convert};
use resmlp_runtime::format::{Fit, Layout, MAGIC, Preprocessing, Resize, WeightStorage};
use resmlp_runtime::{AlignedBytes, Kernels, Model};

use crate::differential::{MOST_MACS, on_tables};
use crate::readers::checkpoint;

/// The most parameters of a network that is converted.
const MOST_PARAMETERS: usize = 100_000;

/// Reads a packed model or a checkpoint. A checkpoint is converted, in both precisions, and every model is run.
///
/// # Panics
/// If a network that was read cannot be run in f32, if conversion makes a model that cannot be read, or if two kernel
/// tables give different logits.
pub fn run(data: &[u8]) {
    if data.starts_with(&MAGIC) {
        return packed(data, data);
    }
    if let Some(checkpoint) = checkpoint(data.to_vec()) {
        network(&checkpoint.network, data);
    }
}

/// Runs a packed model, if the bytes are one.
fn packed(file: &[u8], data: &[u8]) {
    let file = AlignedBytes::from(file);
    if let Ok(model) = Model::parse(&file) {
        on_the_best_table(&model, data);
    }
}

/// Compares the fastest kernel table with the scalar one. Other targets compare all tables.
fn on_the_best_table(model: &Model, data: &[u8]) {
    on_tables(model, data, std::iter::once(Kernels::best(model.dims())));
}

fn network(network: &Network, data: &[u8]) {
    if network.macs() > MOST_MACS || network.parameters() > MOST_PARAMETERS {
        return;
    }
    let preprocessing =
        Preprocessing { resize: Resize::Bicubic, fit: Fit::Crop, crop: 0.9, mean: [0.5; 3], std: [0.25; 3] };
    let extras = Extras { labels: Vec::new(), preprocessing, provenance: String::new() };
    let pictures = pictures(network.image, data);
    let folded = fold(network, preprocessing.mean, preprocessing.std);
    let exact = folded.forward(&pictures);
    assert_eq!(exact.len(), pictures.len() * folded.outputs());
    for (weights, layout) in [(WeightStorage::Int8, Layout::DEFAULT), (WeightStorage::F16, Layout::F16)] {
        let request = Request { network, extras: &extras, weights, layout, pictures: &pictures, sensitivity: false };
        let Ok(converted) = convert(&request, || ()) else { continue };
        if weights == WeightStorage::Int8 {
            check_finite(&folded, &exact);
        }
        let bytes = AlignedBytes::from(&converted.bytes[..]);
        match Model::parse(&bytes) {
            Ok(model) => on_the_best_table(&model, data),
            Err(error) => panic!("a model that was just made: {error}"),
        }
    }
}

/// Checks that the network, which was calibrated without an error, gives finite logits for the same pictures.
fn check_finite(folded: &FoldedNetwork, logits: &[f32]) {
    let finite = logits.iter().all(|logit| logit.is_finite());
    assert!(finite, "{} outputs were converted although {logits:?} are not all finite", folded.outputs());
}

/// Returns two pictures: a gradient and the file's own bytes.
fn pictures(image: [usize; 2], data: &[u8]) -> Vec<Vec<u8>> {
    let length = 3 * image[0] * image[1];
    let bytes = data.iter().rev().copied().cycle();
    vec![(0..length).map(|at| at as u8).collect(), bytes.take(length).collect()]
}
