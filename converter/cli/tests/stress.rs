//! Quantisation of networks whose numbers have unusual magnitudes: the effect of a number on the logits counts, not its
//! size.

use std::path::Path;

use resmlp_cli::classifier::Classifier;
use resmlp_cli::packed::PackedModel;
use resmlp_network::metrics::cosine;
use resmlp_network::{AffinePlacement, Network};
use resmlp_picture::Preprocess;
use resmlp_quantise::{Extras, Request, convert};
use resmlp_runtime::AlignedBytes;
use resmlp_runtime::format::{Layout, WeightStorage};
use resmlp_testing::{Random, Shape, evaluate};

const SHAPE: Shape = Shape { image: [16, 16], patch: 4, dim: 24, hidden: 96, depth: 3, classes: Some(8) };

fn pictures(count: usize) -> Vec<Vec<u8>> {
    let mut random = Random(7);
    let mut picture = || {
        let (low, high) = (random.uniform(0.0, 128.0), random.uniform(128.0, 256.0));
        random.vector(16 * 16 * 3, low, high).into_iter().map(|v| v as u8).collect()
    };
    (0..count).map(|_| picture()).collect()
}

/// Converts a network to int8 and returns the least cosine between its logits and the exact ones, on pictures with
/// which it was not calibrated.
fn least_cosine(network: Network, calibration: &[Vec<u8>]) -> f64 {
    let preprocess = Preprocess::imagenet(SHAPE.image);
    let extras = Extras { labels: vec![], preprocessing: preprocess.packed(), provenance: String::new() };
    let request = Request {
        network: &network,
        extras: &extras,
        weights: WeightStorage::Int8,
        layout: Layout::DEFAULT,
        pictures: calibration,
        sensitivity: false,
    };
    let bytes = convert(&request, || ()).unwrap().bytes;
    let model = PackedModel::new(Path::new("odd.rmlp"), AlignedBytes::from(&*bytes), None).unwrap();
    let tests = pictures(80).split_off(64);
    let found = model.logits(&tests.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    let of = |(picture, found): (&Vec<u8>, &Vec<f32>)| {
        let exact = evaluate(&network, &preprocess.normalise(picture)).logits;
        cosine(&exact.iter().map(|v| *v as f32).collect::<Vec<_>>(), found)
    };
    tests.iter().zip(&found).map(of).fold(1.0, f64::min)
}

fn network() -> Network {
    Random(3).network(&SHAPE, AffinePlacement::Branch)
}

/// Returns a network that computes the same function as [`network`]. Channel `d` of its residual stream is `factors[d]`
/// times as large, and the Affs make up for it.
fn rescaled(factors: &[f32]) -> Network {
    let mut network = network();
    let times = |values: &mut Vec<f32>| values.iter_mut().zip(factors).for_each(|(v, f)| *v *= f);
    let over = |values: &mut Vec<f32>| values.iter_mut().zip(factors).for_each(|(v, f)| *v /= f);
    times(&mut network.stem.bias);
    let rows = network.stem.weight.data.chunks_exact_mut(network.stem.weight.cols);
    rows.zip(factors).for_each(|(row, f)| row.iter_mut().for_each(|w| *w *= f));
    for block in &mut network.blocks {
        times(&mut block.mix_scale);
        times(&mut block.mlp_scale);
        over(&mut block.mix_affine.alpha);
        over(&mut block.mlp_affine.alpha);
    }
    over(&mut network.final_affine.alpha);
    network
}

#[test]
fn it_does_not_matter_how_large_a_channels_numbers_are() {
    let calibration = pictures(64);
    let plain = least_cosine(network(), &calibration);
    assert!(plain > 0.999, "{plain}");
    let one = |factor: f32| (0..SHAPE.dim).map(|d| if d == 5 { factor } else { 1.0 }).collect::<Vec<_>>();
    let all = |factor: f32| vec![factor; SHAPE.dim];
    let spread = Random(1).vector(SHAPE.dim, -4.0, 4.0).iter().map(|e| 10f32.powf(*e)).collect();
    for factors in [one(1e4), one(1e-6), all(1e-6), all(1e6), spread] {
        let found = least_cosine(rescaled(&factors), &calibration);
        assert!(1.0 - found < 2.0 * (1.0 - plain), "{found} instead of {plain}: {factors:?}");
    }
}

#[test]
fn a_hidden_unit_far_below_zero_costs_the_others_nothing() {
    let calibration = pictures(64);
    let with = |bias: f32| {
        let mut network = network();
        network.blocks.iter_mut().for_each(|block| block.expand.bias[7] = bias);
        least_cosine(network, &calibration)
    };
    let (near, far) = (with(-10.0), with(-1e5));
    assert!(1.0 - far < 2.0 * (1.0 - near), "{far} instead of {near}");
}

#[test]
fn channels_that_never_move_cost_the_others_nothing() {
    let mut network = network();
    let columns = network.stem.weight.cols;
    network.stem.weight.data[..8 * columns].fill(0.0);
    for block in &mut network.blocks {
        block.mix_scale[..8].fill(0.0);
        block.mlp_scale[..8].fill(0.0);
        block.mlp_affine.alpha[..8].fill(1e5);
        block.mlp_affine.beta[..8].fill(0.0);
    }
    network.stem.bias[..8].fill(0.0);
    let found = least_cosine(network, &pictures(64));
    assert!(found > 0.999, "{found}");
}
