//! Networks with absurd but finite parameters: their conversion ends with a model or with an error that says why not,
//! and never with a panic.

use proptest::prelude::*;
use resmlp_network::{AffinePlacement, Network};
use resmlp_quantise::{ConvertError, Extras, Request, convert};
use resmlp_runtime::format::{Fit, Layout, Preprocessing, Resize, WeightStorage};
use resmlp_testing::{Random, Shape, cases};

const SHAPE: Shape = Shape { image: [8, 8], patch: 4, dim: 6, hidden: 10, depth: 2, classes: Some(3) };

/// Returns every parameter of a network, one list for each tensor.
fn tensors(network: &mut Network) -> Vec<&mut Vec<f32>> {
    let mut all = vec![&mut network.stem.weight.data, &mut network.stem.bias];
    for block in &mut network.blocks {
        all.extend([&mut block.mix_affine.alpha, &mut block.mix_affine.beta, &mut block.mix.weight.data]);
        all.extend([&mut block.mix.bias, &mut block.mix_scale, &mut block.mlp_affine.alpha]);
        all.extend([&mut block.mlp_affine.beta, &mut block.expand.weight.data, &mut block.expand.bias]);
        all.extend([&mut block.contract.weight.data, &mut block.contract.bias, &mut block.mlp_scale]);
    }
    all.extend([&mut network.final_affine.alpha, &mut network.final_affine.beta]);
    all.extend(network.head.iter_mut().flat_map(|head| [&mut head.weight.data, &mut head.bias]));
    all
}

/// Converts the network to int8, with the sensitivity table, and to f16.
fn convert_both(network: &Network) -> [Result<(), ConvertError>; 2] {
    let pictures: Vec<Vec<u8>> =
        (0..4u32).map(|p| (0..8 * 8 * 3).map(|i: u32| ((i * i * (p + 3)) >> 3) as u8).collect()).collect();
    let preprocessing =
        Preprocessing { resize: Resize::Bilinear, fit: Fit::Crop, crop: 1.0, mean: [0.5; 3], std: [0.25; 3] };
    let extras = Extras { labels: Vec::new(), preprocessing, provenance: String::new() };
    [WeightStorage::Int8, WeightStorage::F16].map(|weights| {
        let layout = if weights == WeightStorage::Int8 { Layout::DEFAULT } else { Layout::F16 };
        let (extras, pictures) = (&extras, &pictures[..]);
        convert(&Request { network, extras, weights, layout, pictures, sensitivity: true }, || ()).map(drop)
    })
}

#[test]
fn weights_of_ten_thousand_name_the_layer_where_they_overflow() {
    let mut network = Random(5).network(&Shape { depth: 12, ..SHAPE }, AffinePlacement::Branch);
    tensors(&mut network).into_iter().flatten().for_each(|value| *value *= 1e4);
    let error = convert_both(&network)[0].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("layer block.") && error.contains("expected finite numbers"), "{error}");
}

#[test]
fn a_scale_at_the_end_of_the_range_names_its_layer() {
    for (change, stage) in [
        ((|network| network.blocks[1].mix_affine.alpha.fill(3e38)) as fn(&mut Network), "layer block.1.mix: "),
        (|network| network.blocks[0].mlp_affine.alpha.fill(3e38), "layer block.0.mlp: "),
        (|network| network.stem.weight.data.fill(3e38), "layer stem: "),
    ] {
        let mut network = Random(6).network(&SHAPE, AffinePlacement::Branch);
        change(&mut network);
        let error = convert_both(&network)[0].as_ref().unwrap_err().to_string();
        assert!(error.starts_with(stage), "{stage}: {error}");
    }
}

#[test]
fn large_weights_that_do_not_overflow_are_converted() {
    let mut network = Random(7).network(&SHAPE, AffinePlacement::Branch);
    network.stem.weight.data.iter_mut().chain(&mut network.stem.bias).for_each(|value| *value *= 1e4);
    convert_both(&network).into_iter().for_each(|converted| converted.unwrap());
}

proptest! {
    #![proptest_config(cases(400))]
    #[test]
    fn no_finite_parameters_make_conversion_panic(
        seed: u64,
        stream: bool,
        factors in prop::collection::vec((0usize..100, -45f32..39.0), 0..6),
        values in prop::collection::vec((0usize..100, any::<prop::sample::Index>(), any::<f32>()), 0..6),
    ) {
        let placement = if stream { AffinePlacement::Stream } else { AffinePlacement::Branch };
        let mut network = Random(seed).network(&SHAPE, placement);
        let mut all = tensors(&mut network);
        let count = all.len();
        for (tensor, exponent) in factors {
            let scaled = all[tensor % count].iter_mut();
            scaled.for_each(|value| *value = (*value * 10f32.powf(exponent)).clamp(-f32::MAX, f32::MAX));
        }
        for (tensor, index, value) in values {
            let tensor = &mut all[tensor % count];
            let place = index.index(tensor.len());
            tensor[place] = if value.is_finite() { value } else { f32::MAX };
        }
        for error in convert_both(&network).into_iter().filter_map(Result::err) {
            prop_assert!(matches!(error, ConvertError::Layer { .. } | ConvertError::Pack(_)), "{error}");
        }
    }
}
