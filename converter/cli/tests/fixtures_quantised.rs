//! Packed models of every dialect and format come near to PyTorch's logits.

use std::collections::BTreeMap;

use resmlp_checkpoint::{Checkpoint, load};
use resmlp_cli::classifier::Classifier;
use resmlp_cli::packed::PackedModel;
use resmlp_network::fold;
use resmlp_quantise::{Extras, Request, convert};
use resmlp_runtime::AlignedBytes;
use resmlp_runtime::format::{Layout, WeightStorage};
use resmlp_testing::Random;
use resmlp_testing::fixtures::{Fixture, expected};

/// Makes calibration pictures. They are tinted and have coloured areas and grain like the fixtures' pictures.
fn calibration([height, width]: [usize; 2]) -> Vec<Vec<u8>> {
    let mut random = Random(64);
    let mut integer = |low: i32, high: i32| low + (random.bits() % (high - low) as u64) as i32;
    let mut picture = || {
        let tint = [0; 3].map(|_| integer(0, 256));
        let areas: Vec<[i32; 3]> = (0..height.div_ceil(4) * width.div_ceil(4))
            .map(|_| tint.map(|tint| (integer(0, 256) + tint) / 2))
            .collect();
        let area = |i: usize| areas[i / width / 4 * width.div_ceil(4) + i % width / 4];
        let pixels: Vec<[i32; 3]> = (0..height * width).map(area).collect();
        pixels.as_flattened().iter().map(|v| (v + integer(-24, 25)).clamp(0, 255) as u8).collect()
    };
    (0..64).map(|_| picture()).collect()
}

fn checkpoint(fixture: &Fixture) -> Checkpoint {
    load(&fixture.path(), &fixture.load_options()).unwrap()
}

fn packed_logits(fixture: &Fixture, weights: WeightStorage, pictures: &[Vec<u8>]) -> Vec<Vec<f32>> {
    let (path, checkpoint) = (fixture.path(), checkpoint(fixture));
    let extras = Extras { labels: vec![], preprocessing: fixture.preprocess().packed(), provenance: String::new() };
    let request = Request {
        network: &checkpoint.network,
        extras: &extras,
        weights,
        layout: Layout::DEFAULT,
        pictures,
        sensitivity: false,
    };
    let converted = convert(&request, || ()).unwrap();
    let model = PackedModel::new(&path, AlignedBytes::from(&*converted.bytes), None).unwrap();
    let pictures = fixture.pictures();
    model.logits(&pictures.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap()
}

fn cosine(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let found: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&found, expected) / (dot(&found, &found) * dot(expected, expected)).sqrt()
}

/// Fails with a list of all fixtures whose figure is not `good`, and prints the worst figure.
fn all(what: &str, figure: impl Fn(&Fixture) -> f64, worst: fn(f64, f64) -> f64, good: impl Fn(f64) -> bool) {
    let figures: Vec<(String, f64)> = expected().fixtures.iter().map(|f| (f.file.clone(), figure(f))).collect();
    let extreme = figures.iter().map(|(_, figure)| *figure).reduce(worst).unwrap();
    println!("{what}: worst of {} fixtures {extreme:.3e}", figures.len());
    let bad: Vec<String> = figures.iter().filter(|(_, v)| !good(*v)).map(|(f, v)| format!("{f}: {v:.6}")).collect();
    assert!(bad.is_empty(), "{what}: {} of {} fixtures miss it:\n{}", bad.len(), figures.len(), bad.join("\n"));
}

#[test]
fn folded_f32_is_pytorch() {
    let error = |fixture: &Fixture| {
        let folded = fold(&checkpoint(fixture).network, fixture.mean, fixture.std);
        let logits = folded.forward(&fixture.pictures());
        fixture.error(&logits.chunks(folded.outputs()).map(<[f32]>::to_vec).collect::<Vec<_>>())
    };
    all("error of folded f32", error, f64::max, |error| error <= 1e-4);
}

#[test]
fn f16_is_close_to_pytorch() {
    let error = |fixture: &Fixture| fixture.error(&packed_logits(fixture, WeightStorage::F16, &[]));
    all("error of f16", error, f64::max, |error| error <= 2e-3);
}

#[test]
fn int8_points_the_same_way_as_pytorch() {
    let sizes: BTreeMap<_, _> = expected().fixtures.iter().map(|f| (f.image, calibration(f.image))).collect();
    let least = |fixture: &Fixture| {
        let found = packed_logits(fixture, WeightStorage::Int8, &sizes[&fixture.image]);
        assert_eq!(found.len(), fixture.logits.len());
        found.iter().zip(&fixture.logits).map(|(f, e)| cosine(f, e)).fold(1.0, f64::min)
    };
    all("cosine of int8", least, f64::min, |cosine| cosine >= 0.995);
}
