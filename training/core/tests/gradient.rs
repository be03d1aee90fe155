//! Compares the gradient with differences of an independent evaluation in `f64`, and checks that threads change
//! nothing.

use resmlp_network::{Activation, AffinePlacement};
use resmlp_testing::{Random, evaluate};
use resmlp_train_core::{Batch, CHUNK, Kind, Layout, Shape, Trainer};

/// A random network with a random batch.
struct Case {
    layout: Layout,
    parameters: Vec<f32>,
    pictures: Vec<f32>,
    targets: Vec<f32>,
    keep: Vec<f32>,
}

fn case(random: &mut Random, shape: Shape, count: usize) -> Case {
    let layout = Layout::new(shape);
    let plain = resmlp_testing::Shape {
        image: shape.image,
        patch: shape.patch,
        dim: shape.dim,
        hidden: shape.hidden,
        depth: shape.depth,
        classes: shape.classes,
    };
    let mut network = random.network(&plain, shape.placement);
    network.activation = shape.activation;
    let mut targets = random.vector(count * shape.outputs(), 0.0, 1.0);
    for row in targets.chunks_exact_mut(shape.outputs()) {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|t| *t /= sum);
    }
    Case {
        parameters: layout.gather(&network),
        pictures: random.vector(count * shape.picture_len(), -1.0, 1.0),
        targets,
        keep: (0..count * 2 * shape.depth).map(|_| [0.0, 1.0, 1.25][(random.bits() % 3) as usize]).collect(),
        layout,
    }
}

/// Computes the mean loss in `f64` by the plainest evaluation. A picture's factors of branches are folded into
/// LayerScale.
fn loss(case: &Case, parameters: &[f64]) -> f64 {
    let shape = &case.layout.shape;
    let pictures = case.pictures.chunks_exact(shape.picture_len()).zip(case.targets.chunks_exact(shape.outputs()));
    let mut sum = 0.0;
    let mut count = 0.0;
    for ((pixels, targets), keep) in pictures.zip(case.keep.chunks_exact(2 * shape.depth)) {
        let logits = reference::logits(&case.layout, parameters, pixels, keep);
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = largest + logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln();
        sum -= targets.iter().zip(&logits).map(|(&t, x)| f64::from(t) * (x - log_sum)).sum::<f64>();
        count += 1.0;
    }
    sum / count
}

#[path = "common/reference.rs"]
mod reference;

/// Returns the shapes that the tests use: odd lengths, pictures that are not square, both placements and all
/// activations.
fn shapes() -> Vec<Shape> {
    let shape = |image, patch, dim, hidden, depth, classes, activation, placement| Shape {
        image,
        patch,
        dim,
        hidden,
        depth,
        classes,
        activation,
        placement,
    };
    use Activation::{Gelu, GeluTanh, Relu};
    use AffinePlacement::{Branch, Stream};
    vec![
        shape([4, 6], 2, 5, 7, 2, Some(3), Gelu, Branch),
        shape([6, 4], 2, 5, 7, 2, Some(3), Gelu, Stream),
        shape([3, 3], 3, 17, 33, 1, Some(4), GeluTanh, Branch),
        shape([8, 4], 4, 3, 1, 3, Some(2), GeluTanh, Stream),
        shape([4, 4], 1, 4, 9, 1, None, Gelu, Branch),
        shape([2, 2], 1, 6, 16, 2, Some(5), Relu, Branch),
    ]
}

#[test]
fn the_gradient_of_every_parameter_agrees_with_differences_of_the_loss() {
    let mut random = Random(21);
    for shape in shapes() {
        for count in [1, 3, CHUNK + 1] {
            let case = case(&mut random, shape, count);
            let mut trainer = Trainer::new(case.layout.clone());
            let mut gradient = vec![f32::NAN; case.layout.len()];
            let batch = Batch { pictures: &case.pictures, targets: &case.targets, keep: Some(&case.keep) };
            let found = trainer.gradient(&case.parameters, batch, &mut gradient).unwrap();
            let mut parameters: Vec<f64> = case.parameters.iter().map(|&p| f64::from(p)).collect();
            let expected = loss(&case, &parameters);
            assert!((found.loss - expected).abs() <= 1e-5 * expected, "{} instead of {expected}", found.loss);
            for tensor in &case.layout.tensors {
                let step = 1e-6;
                let differences: Vec<f64> = tensor
                    .range
                    .clone()
                    .map(|at| {
                        let before = parameters[at];
                        let mut at_offset = |offset: f64| {
                            parameters[at] = before + offset;
                            loss(&case, &parameters)
                        };
                        let difference = (at_offset(step) - at_offset(-step)) / (2.0 * step);
                        parameters[at] = before;
                        difference
                    })
                    .collect();
                let size = differences.iter().map(|d| d.abs()).fold(1e-3, f64::max);
                for (at, (&found, expected)) in gradient[tensor.range.clone()].iter().zip(&differences).enumerate() {
                    let error = (f64::from(found) - expected).abs() / size;
                    assert!(error <= 1e-4, "{} {at} of {shape:?}: {found}, expected {expected}", tensor.name);
                }
            }
        }
    }
}

#[test]
fn the_reference_without_dropped_branches_is_the_evaluation_of_a_network() {
    let mut random = Random(22);
    for shape in shapes() {
        let case = case(&mut random, shape, 1);
        let network = case.layout.network(&case.parameters);
        let parameters: Vec<f64> = case.parameters.iter().map(|&p| f64::from(p)).collect();
        let expected = evaluate(&network, &case.pictures).logits;
        let found = reference::logits(&case.layout, &parameters, &case.pictures, &vec![1.0; 2 * shape.depth]);
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{found}, expected {expected}");
        }
        let mut trainer = Trainer::new(case.layout.clone());
        for (found, expected) in trainer.logits(&case.parameters, &case.pictures).iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{found}, not {expected}");
        }
    }
}

#[test]
fn parameters_survive_the_way_to_a_network_and_back() {
    let mut random = Random(23);
    for shape in shapes() {
        let case = case(&mut random, shape, 1);
        assert_eq!(case.layout.gather(&case.layout.network(&case.parameters)), case.parameters);
        let weights = case.layout.tensors.iter().filter(|tensor| tensor.kind == Kind::Weight).count();
        assert_eq!(weights, 1 + 3 * shape.depth + usize::from(shape.classes.is_some()));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mut random = Random(24);
    for (shape, count) in shapes().into_iter().zip([1, 7, CHUNK, 3 * CHUNK + 1, 200, 16 * CHUNK + 5]) {
        let case = case(&mut random, shape, count);
        let batch = Batch { pictures: &case.pictures, targets: &case.targets, keep: Some(&case.keep) };
        let results = [1, 2, 3, 8].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut gradient = vec![0.0; case.layout.len()];
            let mut trainer = Trainer::new(case.layout.clone());
            // The first batch leaves its traces in the buffers; the second one must not see them.
            let found = pool.install(|| {
                trainer.gradient(&case.parameters, batch, &mut gradient).unwrap();
                trainer.gradient(&case.parameters, batch, &mut gradient).unwrap()
            });
            let bits: Vec<u32> = gradient.iter().chain(&found.logits).map(|x| x.to_bits()).collect();
            (bits, found.loss.to_bits())
        });
        assert!(results.iter().all(|result| *result == results[0]), "{count} pictures of {shape:?}");
    }
}

#[test]
fn a_number_that_is_not_finite_names_its_tensor() {
    let mut random = Random(25);
    let mut case = case(&mut random, shapes()[0], 2);
    let batch = Batch { pictures: &case.pictures, targets: &case.targets, keep: None };
    let mut trainer = Trainer::new(case.layout.clone());
    let mut gradient = vec![0.0; case.layout.len()];
    case.parameters[case.layout.stem.weight.start] = f32::INFINITY;
    let error = trainer.gradient(&case.parameters, batch, &mut gradient).unwrap_err();
    assert!(error.to_string().contains("loss"), "{error}");
}
