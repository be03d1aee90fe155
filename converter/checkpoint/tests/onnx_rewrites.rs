//! Checks that graphs which are rewritten without changing their function are read as the same network, and that
//! damaged graphs never are.

use std::collections::BTreeMap;
use std::path::Path;

use prost::Message;
use resmlp_checkpoint::export::{Batch, to_onnx};
use resmlp_checkpoint::onnx::proto::ModelProto;
use resmlp_checkpoint::{LoadOptions, load_bytes};
use resmlp_network::{Activation, AffinePlacement, Network};
use resmlp_testing::rewrites::{DAMAGES, REWRITES, Rewriter};
use resmlp_testing::{Random, Shape, evaluate};

/// Number of graphs that each test rewrites or damages.
const GRAPHS: u64 = 500;

/// Creates a small network of random sizes. Some sizes are often equal, so that shapes alone cannot reveal swapped
/// axes.
fn network(random: &mut Random) -> Network {
    let mut any = |low: u64, high: u64| (low + random.bits() % (high - low + 1)) as usize;
    let patch = any(1, 3);
    let image = [patch * any(1, 3), patch * any(1, 3)];
    let tokens = image[0] * image[1] / (patch * patch);
    // With one patch and one channel, a layer over patches and a layer over channels could not be told apart.
    let dim = if any(0, 1) == 0 { tokens.max(2) } else { any(2, 6) };
    let hidden = if any(0, 1) == 0 { dim } else { any(2, 9) };
    let classes = (any(0, 4) > 0).then_some(if any(0, 1) == 0 { dim } else { any(2, 5) });
    let shape = Shape { image, patch, dim, hidden, depth: any(1, 3), classes };
    let placement = [AffinePlacement::Branch, AffinePlacement::Stream][any(0, 1)];
    let activation = Activation::ALL[any(0, 2)];
    Network { activation, ..random.network(&shape, placement) }
}

fn read(model: &ModelProto) -> Result<Network, String> {
    let outcome = load_bytes(Path::new("rewritten.onnx"), model.encode_to_vec(), &LoadOptions::default());
    outcome.map(|checkpoint| checkpoint.network).map_err(|error| error.to_string())
}

/// Returns the largest difference of the logits for a picture, relative to the largest logit of `a` or to 1.
fn difference(a: &Network, b: &Network, pixels: &[f32]) -> f64 {
    if a.image != b.image || a.outputs() != b.outputs() {
        return f64::INFINITY;
    }
    let (a, b) = (evaluate(a, pixels).logits, evaluate(b, pixels).logits);
    let range = a.iter().fold(1f64, |max, logit| max.max(logit.abs()));
    a.iter().zip(&b).fold(0f64, |max, (a, b)| max.max((a - b).abs())) / range
}

#[test]
fn rewrites_that_keep_the_function_keep_the_network() {
    let mut refused = BTreeMap::new();
    let mut applied: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..GRAPHS {
        let mut random = Random(seed);
        let original = network(&mut random);
        let pixels = random.vector(3 * original.image[0] * original.image[1], -2.0, 2.0);
        let batch = [Batch::Any, Batch::Fixed(1)][(random.bits() % 2) as usize];
        let steps = 1 + random.bits() % 8;
        let chosen: Vec<usize> = (0..steps).map(|_| random.bits() as usize % REWRITES.len()).collect();
        let mut rewriter = Rewriter::new(to_onnx(&original, batch, false), &mut random);
        let names: Vec<&str> = chosen
            .iter()
            .map(|at| REWRITES[*at])
            .filter(|(_, rewrite)| rewrite(&mut rewriter))
            .map(|(n, _)| n)
            .collect();
        match read(&rewriter.finish()) {
            Ok(found) => {
                let error = difference(&original, &found, &pixels);
                assert!(error < 1e-4, "graph {seed} after {names:?}: {error:e}");
                names.iter().for_each(|name| *applied.entry(name).or_default() += 1);
            }
            Err(error) => {
                refused.insert(seed, format!("{names:?}: {error}"));
            }
        }
    }
    assert!(refused.is_empty(), "{} of {GRAPHS} refused: {refused:#?}", refused.len());
    let missing: Vec<_> =
        REWRITES.iter().filter(|(name, _)| !applied.contains_key(name)).map(|(name, _)| name).collect();
    assert!(missing.is_empty(), "never applied: {missing:?}");
}

#[test]
fn damage_never_passes_for_the_original() {
    let mut refused = 0;
    let mut changed = 0;
    for seed in 0..GRAPHS {
        let mut random = Random(1_000_000 + seed);
        // ReLU is left out, because with it a change may have no effect on one picture.
        let original = Network { activation: Activation::ALL[seed as usize % 2], ..network(&mut random) };
        let pixels = random.vector(3 * original.image[0] * original.image[1], -2.0, 2.0);
        let (damage, rewrite) = (random.bits() as usize % DAMAGES.len(), random.bits() as usize % REWRITES.len());
        let mut rewriter = Rewriter::new(to_onnx(&original, Batch::Any, false), &mut random);
        REWRITES[rewrite].1(&mut rewriter);
        if !DAMAGES[damage].1(&mut rewriter) {
            continue;
        }
        match read(&rewriter.finish()) {
            Ok(found) => {
                let error = difference(&original, &found, &pixels);
                assert!(
                    error > 1e-9,
                    "graph {seed}: {} after {} passes for the original",
                    DAMAGES[damage].0,
                    REWRITES[rewrite].0
                );
                changed += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 50 && changed > 50, "{refused} refused, {changed} read as another network");
}
