//! tract computes from the exported graph the function that the network's authors wrote.

use std::path::Path;

use prost::Message;
use resmlp_checkpoint::export::{Batch, onnx_bytes, to_onnx};
use resmlp_checkpoint::{LoadOptions, load, load_bytes};
use resmlp_cli::tract::TractReference;
use resmlp_network::{Activation, AffinePlacement, Network, stage_names};
use resmlp_testing::rewrites::{DAMAGES, REWRITES, Rewriter};
use resmlp_testing::{Random, Shape, evaluate};

const SHAPES: [Shape; 4] = [
    Shape { image: [32, 32], patch: 8, dim: 32, hidden: 128, depth: 3, classes: Some(10) },
    // No size is a multiple of a vector's length, and the picture is no square.
    Shape { image: [15, 35], patch: 5, dim: 29, hidden: 67, depth: 2, classes: Some(7) },
    Shape { image: [6, 6], patch: 2, dim: 13, hidden: 5, depth: 4, classes: None },
    Shape { image: [3, 3], patch: 3, dim: 1, hidden: 1, depth: 1, classes: Some(1) },
];
const PLACEMENTS: [AffinePlacement; 2] = [AffinePlacement::Branch, AffinePlacement::Stream];

/// Returns the largest difference relative to the largest value, or to one where all values are smaller, because the
/// summands of a small value may cancel out.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let range = expected.iter().fold(1f64, |max, value| max.max(value.abs()));
    let pairs = found.iter().zip(expected);
    let worst =
        pairs.fold(0f64, |max, (&f, e)| if f.is_finite() { max.max((f64::from(f) - e).abs()) } else { f64::NAN });
    worst / range
}

#[test]
fn logits_and_stages_equal_the_plain_loops() {
    for (seed, shape) in SHAPES.iter().enumerate() {
        for placement in PLACEMENTS {
            let mut random = Random(seed as u64);
            let network = random.network(shape, placement);
            let picture = 3 * shape.image[0] * shape.image[1];
            let pixels = random.vector(3 * picture, -2.0, 2.0);
            let traces = TractReference::with_stages(&network).unwrap().traces(&pixels).unwrap();
            assert_eq!(traces.len(), 3);
            for (trace, pixels) in traces.iter().zip(pixels.chunks(picture)) {
                let expected = evaluate(&network, pixels);
                let error = difference(&trace.logits, &expected.logits);
                assert!(error <= 1e-5, "{shape:?} {placement:?} logits: {error:e}");
                assert_eq!(trace.stages.len(), expected.stages.len());
                for ((found, expected), name) in trace.stages.iter().zip(&expected.stages).zip(stage_names(&network)) {
                    let error = difference(found, expected);
                    assert!(error <= 1e-5, "{shape:?} {placement:?} {name}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn a_graph_of_too_many_nodes_is_not_run() {
    let bytes = onnx_bytes(&Random(3).network(&SHAPES[2], AffinePlacement::Branch), Batch::Any).unwrap();
    let checkpoint = load_bytes(Path::new("many.onnx"), bytes, &LoadOptions::default()).unwrap();
    let mut graph = checkpoint.onnx.unwrap();
    assert!(TractReference::from_onnx(&graph).is_ok());
    let nodes = &mut graph.model.graph.as_mut().unwrap().node;
    let node = nodes[0].clone();
    nodes.resize(4097, node);
    let error = TractReference::from_onnx(&graph).err().unwrap().to_string();
    assert!(error.contains("4097 nodes, expected at most 4096"), "{error}");
}

#[test]
fn a_written_file_runs_with_any_batch() {
    let shape = SHAPES[1];
    let mut random = Random(7);
    let network = random.network(&shape, AffinePlacement::Stream);
    let pixels = random.vector(3 * 3 * shape.image[0] * shape.image[1], -2.0, 2.0);
    let expected = TractReference::from_network(&network).unwrap().logits(&pixels).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    // With three pictures in batches of two, the last batch is padded.
    for batch in [Batch::Any, Batch::Fixed(1), Batch::Fixed(2)] {
        std::fs::write(&path, onnx_bytes(&network, batch).unwrap()).unwrap();
        let checkpoint = load(&path, &LoadOptions::default()).unwrap();
        let found = TractReference::from_onnx(&checkpoint.onnx.unwrap()).unwrap().logits(&pixels).unwrap();
        assert_eq!(found.len(), 3);
        for (found, expected) in found.iter().zip(&expected) {
            let expected: Vec<f64> = expected.iter().map(|&value| f64::from(value)).collect();
            assert!(difference(found, &expected) <= 1e-5);
        }
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let shape = SHAPES[0];
    let network = Random(1).network(&shape, AffinePlacement::Branch);
    let reference = TractReference::from_network(&network).unwrap();
    let message = reference.logits(&[0.0; 100]).unwrap_err().to_string();
    assert_eq!(message, "tract: found 100 pixel values, expected a multiple of 3072");

    // tract names an operator that it does not know.
    let bytes = onnx_bytes(&network, Batch::Any).unwrap();
    let mut graph = load_bytes(Path::new("network.onnx"), bytes, &LoadOptions::default()).unwrap().onnx.unwrap();
    graph.model.graph.as_mut().unwrap().node[0].op_type = "NobodyKnows".into();
    let message = TractReference::from_onnx(&graph).err().unwrap().to_string();
    assert!(message.starts_with("tract: ") && message.contains("NobodyKnows"), "{message}");
}

/// Rewritten and damaged graphs that are compared.
const GRAPHS: u64 = 500;

#[test]
fn what_is_read_from_a_rewritten_graph_is_what_tract_computes_from_it() {
    let mut agreed = [0, 0];
    for seed in 0..GRAPHS {
        let mut random = Random(seed);
        let shape = Shape {
            image: [[6, 4], [4, 4], [2, 8]][seed as usize % 3],
            patch: 2,
            dim: [4, 6, 5][seed as usize / 3 % 3],
            hidden: 6,
            depth: 2,
            classes: Some(4),
        };
        let activation = Activation::ALL[seed as usize % 3];
        let original = Network { activation, ..random.network(&shape, PLACEMENTS[seed as usize % 2]) };
        let pixels = random.vector(3 * shape.image[0] * shape.image[1], -2.0, 2.0);
        let steps: Vec<usize> = (0..4).map(|_| random.bits() as usize % REWRITES.len()).collect();
        let damage = (seed % 2 == 1).then_some(random.bits() as usize % DAMAGES.len());
        let mut rewriter = Rewriter::new(to_onnx(&original, Batch::Any, false), &mut random);
        for step in &steps {
            REWRITES[*step].1(&mut rewriter);
        }
        if let Some(damage) = damage {
            DAMAGES[damage].1(&mut rewriter);
        }
        let bytes = rewriter.finish().encode_to_vec();
        let outcome = load_bytes(Path::new("rewritten.onnx"), bytes, &LoadOptions::default());
        let checkpoint = match outcome {
            Ok(checkpoint) => checkpoint,
            Err(error) => {
                assert!(damage.is_some(), "graph {seed}: {error}");
                continue;
            }
        };
        // Operators that tract does not know are left to the network's own export.
        let Ok(reference) = TractReference::from_onnx(checkpoint.onnx.as_ref().unwrap()) else { continue };
        let found = reference.logits(&pixels).unwrap();
        let error = difference(&found[0], &evaluate(&checkpoint.network, &pixels).logits);
        let names: Vec<&str> = steps.iter().map(|step| REWRITES[*step].0).collect();
        assert!(error <= 1e-4, "graph {seed}, {names:?}, damage {damage:?}: {error:e}");
        agreed[usize::from(damage.is_some())] += 1;
    }
    assert!(agreed[0] > 125 && agreed[1] > 50, "{agreed:?} compared");
}
