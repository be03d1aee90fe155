//! Folding random networks does not change the function that they compute.

use proptest::prelude::*;
use resmlp_network::{Affine, AffinePlacement, Network};
use resmlp_network::{FoldedNetwork, Head, fold, to_branch};
use resmlp_picture::Preprocess;
use resmlp_testing::{Evaluated, Random, Shape, activate, apply, evaluate};

/// Computes the folded network in `f64`, one scalar at a time. The stages are the streams after the stem and each half
/// block, `[tokens, dim]`.
fn folded(network: &FoldedNetwork, picture: &[u8]) -> Evaluated {
    let dim = network.dim();
    let mut stream: Vec<Vec<f64>> = patches(network, picture).iter().map(|p| apply(&network.stem, p)).collect();
    let mut stages = vec![stream.concat()];
    for block in &network.blocks {
        let row_sums = apply(&block.mix, &vec![1.0; stream.len()]);
        for d in 0..dim {
            let [scale, sum_gain, bias_gain, gain] =
                [&block.scale, &block.sum_gain, &block.bias_gain, &block.mix_gain].map(|v| f64::from(v[d]));
            let column: Vec<f64> = stream.iter().map(|token| token[d]).collect();
            for (n, mixed) in apply(&block.mix, &column).into_iter().enumerate() {
                let bias = f64::from(block.mix.bias[n]);
                let constant = sum_gain * (row_sums[n] - bias) + bias_gain * bias;
                stream[n][d] = gain * stream[n][d] + scale * (mixed - bias) + constant;
            }
        }
        stages.push(stream.concat());
        for token in &mut stream {
            let hidden: Vec<f64> =
                apply(&block.expand, token).into_iter().map(|x| activate(network.activation, x)).collect();
            let added = apply(&block.contract, &hidden);
            for ((y, added), &gain) in token.iter_mut().zip(added).zip(&block.mlp_gain) {
                *y = f64::from(gain) * *y + added;
            }
        }
        stages.push(stream.concat());
    }
    let tokens = stream.len() as f64;
    let mean: Vec<f64> = (0..dim).map(|d| stream.iter().map(|token| token[d]).sum::<f64>() / tokens).collect();
    let logits = match &network.head {
        Head::Classifier(head) => apply(head, &mean),
        Head::Embedding { scale, bias } => {
            let affine = scale.iter().zip(bias).zip(&mean);
            affine.map(|((&s, &b), m)| f64::from(s) * m + f64::from(b)).collect()
        }
    };
    Evaluated { logits, stages }
}

/// Cuts a picture into patches, flattened as (row, column, colour).
fn patches(network: &FoldedNetwork, picture: &[u8]) -> Vec<Vec<f64>> {
    let ([height, width], patch) = (network.image, network.patch);
    let corners = (0..height).step_by(patch).flat_map(|top| (0..width).step_by(patch).map(move |left| (top, left)));
    let row = |y: usize, left: usize| picture[(y * width + left) * 3..][..3 * patch].iter().map(|&p| f64::from(p));
    corners.map(|(top, left)| (top..top + patch).flat_map(|y| row(y, left)).collect()).collect()
}

/// Returns all Affs of the network.
fn affines(network: &mut Network) -> impl Iterator<Item = &mut Affine> {
    let blocks = network.blocks.iter_mut().flat_map(|block| [&mut block.mix_affine, &mut block.mlp_affine]);
    blocks.chain([&mut network.final_affine])
}

/// Gives about a quarter of the channels' scales a value that is hard to fold.
fn harden(network: &mut Network, random: &mut Random) {
    const HARD: [f32; 10] = [0.0, -0.0, 1e-30, -1e-12, 1e-5, 9e-4, -1e-3, 1.0, -40.0, 3e3];
    for affine in affines(network) {
        for alpha in &mut affine.alpha {
            if random.bits().is_multiple_of(4) {
                *alpha = HARD[(random.bits() % HARD.len() as u64) as usize];
            }
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let sizes = (1usize..4, 1usize..4, 1usize..5, 1usize..12, 1usize..20, 1usize..5);
    (sizes, proptest::option::of(1usize..9)).prop_map(|((rows, columns, patch, dim, hidden, depth), classes)| Shape {
        image: [rows * patch, columns * patch],
        patch,
        dim,
        hidden,
        depth,
        classes,
    })
}

/// Returns the largest difference relative to `range`. Panics where a value is infinite or NaN.
fn difference(found: impl IntoIterator<Item = f64>, expected: &[f64], range: f64) -> f64 {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|value| value.is_finite()), "{found:?}");
    found.iter().zip(expected).fold(0f64, |max, (f, e)| max.max((f - e).abs())) / range
}

/// Returns the largest magnitude of `values`, or 1 where all are smaller.
fn largest<'v>(values: impl IntoIterator<Item = &'v f64>) -> f64 {
    values.into_iter().fold(1f64, |max, value| max.max(value.abs()))
}

/// Returns the largest magnitude among the logits and the values of which the head takes the mean. With scales as hard
/// as these, the mean may be a small difference of large numbers.
fn range(network: &Network, evaluated: &Evaluated) -> f64 {
    let Affine { alpha, beta } = &network.final_affine;
    let stream = evaluated.stages.last().unwrap().chunks_exact(alpha.len());
    let affine = |row: &[f64]| -> Vec<f64> {
        row.iter().zip(alpha.iter().zip(beta)).map(|(y, (&a, &b))| f64::from(a) * y + f64::from(b)).collect()
    };
    largest(&evaluated.logits).max(largest(&stream.flat_map(affine).collect::<Vec<_>>()))
}

/// Returns a random network, a picture for it, and how the picture is normalised.
fn case(shape: &Shape, placement: AffinePlacement, hard: bool, seed: u64) -> (Network, Vec<u8>, Preprocess) {
    let mut random = Random(seed);
    let mut network = random.network(shape, placement);
    if hard {
        harden(&mut network, &mut random);
    }
    let picture = (0..3 * shape.image[0] * shape.image[1]).map(|_| random.bits() as u8).collect();
    let mut triple = |low, high| [0; 3].map(|_| random.uniform(low, high));
    let preprocess = Preprocess { mean: triple(-0.2, 1.0), std: triple(0.2, 1.5), ..Preprocess::imagenet(shape.image) };
    (network, picture, preprocess)
}

proptest! {
    #![proptest_config(resmlp_testing::cases(1000))]

    #[test]
    fn a_folded_network_is_the_same_function(shape in shapes(), stream: bool, hard: bool, seed: u64) {
        let placement = if stream { AffinePlacement::Stream } else { AffinePlacement::Branch };
        let (network, picture, preprocess) = case(&shape, placement, hard, seed);
        let expected = evaluate(&network, &preprocess.normalise(&picture));
        let range = range(&network, &expected);
        let network = fold(&network, preprocess.mean, preprocess.std);
        // The remaining error is that of rounding the folded weights to `f32`, which hard scales may amplify.
        let (exact, single) = if hard { (1e-4, 1e-3) } else { (5e-6, 1e-5) };
        let found = folded(&network, &picture);
        let error = difference(found.logits, &expected.logits, range);
        prop_assert!(error <= exact, "{placement:?} in f64: {error:e}");
        let error = difference(network.forward(&[picture]).into_iter().map(f64::from), &expected.logits, range);
        prop_assert!(error <= single, "{placement:?} in f32: {error:e}");
        if !stream {
            // Where the Affs act inside the branch, the stored stream is the true one.
            for (found, expected) in found.stages.iter().zip(&expected.stages) {
                let error = difference(found.iter().copied(), expected, largest(expected));
                prop_assert!(error <= exact, "stage: {error:e}");
            }
            prop_assert_eq!(network.explicit_scales(), 0);
        }
    }
}

proptest! {
    #![proptest_config(resmlp_testing::cases(500))]

    #[test]
    fn affs_on_the_stream_move_into_the_branches(shape in shapes(), hard: bool, seed: u64) {
        let (network, picture, preprocess) = case(&shape, AffinePlacement::Stream, hard, seed);
        let pixels = preprocess.normalise(&picture);
        let expected = evaluate(&network, &pixels);
        match to_branch(&network) {
            Some(branch) => {
                prop_assert_eq!(branch.placement, AffinePlacement::Branch);
                let tolerance = if hard { 1e-4 } else { 5e-6 };
                let found = evaluate(&branch, &pixels);
                let error = difference(found.logits, &expected.logits, range(&network, &expected));
                prop_assert!(error <= tolerance, "{error:e}");
            }
            None => prop_assert!(fold(&network, preprocess.mean, preprocess.std).explicit_scales() > 0),
        }
        let (branch, _, _) = case(&shape, AffinePlacement::Branch, hard, seed);
        prop_assert_eq!(to_branch(&branch), Some(branch));
    }
}

#[test]
fn a_scale_of_zero_stays_explicit_and_finite() {
    let shape = Shape { image: [4, 6], patch: 2, dim: 5, hidden: 7, depth: 2, classes: Some(3) };
    for alpha in [0.0, -0.0, 1e-38, -1e-38, f32::MIN_POSITIVE / 2.0] {
        let (mut network, picture, preprocess) = case(&shape, AffinePlacement::Stream, false, 3);
        affines(&mut network).for_each(|affine| affine.alpha[2] = alpha);
        let expected = evaluate(&network, &preprocess.normalise(&picture));
        let range = range(&network, &expected);
        let network = fold(&network, preprocess.mean, preprocess.std);
        // Each of the four half blocks has one explicit scale.
        assert_eq!(network.explicit_scales(), 4, "{alpha:e}");
        let error = difference(network.forward(&[picture]).into_iter().map(f64::from), &expected.logits, range);
        assert!(error <= 1e-5, "{alpha:e}: {error:e}");
    }
}

#[test]
fn scales_that_fold_well_cost_nothing_at_run_time() {
    let shape = Shape { image: [4, 6], patch: 2, dim: 5, hidden: 7, depth: 3, classes: None };
    let (mut network, _, _) = case(&shape, AffinePlacement::Stream, false, 4);
    affines(&mut network).for_each(|affine| affine.alpha = vec![-0.9, 0.7, 1.2, -1.0, 0.5]);
    assert_eq!(fold(&network, [0.5; 3], [0.25; 3]).explicit_scales(), 0);
}
