//! Reads ONNX files that are built to be costly. Memory must stay a small multiple of the file's size, and time must be
//! proportional to it.

#[path = "../../../fuzz/src/memory.rs"]
mod memory;

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message;
use resmlp_checkpoint::export::{Batch, to_onnx};
use resmlp_checkpoint::onnx::proto::{
    AttributeProto, AttributeType, DataType, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use resmlp_checkpoint::{LoadOptions, load_bytes};
use resmlp_network::AffinePlacement;
use resmlp_testing::{Random, Shape};

/// Memory that the reader may hold.
const BOUND: memory::Bound = memory::Bound { per_byte: 32, base: 8 << 20 };
/// Longest time that the reader may take for a graph of this test, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Number of nodes of a long chain. Work that grows with the square of this number would take minutes.
const LONG: usize = 40_000;

/// Creates a network of one block.
fn model() -> ModelProto {
    let shape = Shape { image: [4, 4], patch: 2, dim: 4, hidden: 4, depth: 1, classes: Some(3) };
    let mut model = to_onnx(&Random(1).network(&shape, AffinePlacement::Branch), Batch::Any, false);
    // Most of the file is weights, as in a trained network. Otherwise the number of messages alone would be refused.
    let raw_data = vec![0; 8 << 20].into();
    let weights =
        TensorProto { name: "weights".into(), data_type: 1, dims: vec![2 << 20], raw_data, ..Default::default() };
    model.graph.as_mut().unwrap().initializer.push(weights);
    model
}

/// Reads the file and checks the limits. Returns the text of the error if the file is refused.
fn read(file: Vec<u8>, what: &str) -> Result<(), String> {
    let length = file.len();
    let start = Instant::now();
    let _alone = memory::alone();
    let load = || load_bytes(Path::new("hostile.onnx"), file, &LoadOptions::default());
    let outcome = BOUND.hold(length, load, |_| 0).map(drop).map_err(|error| error.to_string());
    assert!(start.elapsed() <= PATIENCE, "{what}: {:?} for a file of {length}", start.elapsed());
    if let Err(error) = &outcome {
        assert!(error.len() < 2000, "{what}: a message of {} bytes", error.len());
    }
    outcome
}

#[test]
fn a_constant_of_small_numbers_takes_little_memory() {
    // Each number of the constant is a varint of one byte, which becomes an integer of eight bytes.
    let mut model = model();
    let tensor = TensorProto {
        name: "bytes".into(),
        data_type: DataType::Uint8 as i32,
        dims: vec![1 << 20],
        int32_data: vec![1; 1 << 20],
        ..Default::default()
    };
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(tensor);
    let from = graph.node[0].input[0].clone();
    graph.node.push(node("Add", &[&from, "bytes"], "never"));
    graph.output.push(ValueInfoProto { name: "never".into(), r#type: None });
    read(model.encode_to_vec(), "bytes as varints").unwrap();
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        ..Default::default()
    }
}

fn scalar(name: &str, value: f32) -> TensorProto {
    let raw_data = value.to_le_bytes().to_vec().into();
    TensorProto { name: name.into(), data_type: DataType::Float as i32, raw_data, ..Default::default() }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    let data_type = DataType::Int64 as i32;
    TensorProto {
        name: name.into(),
        data_type,
        dims: vec![values.len() as i64],
        int64_data: values.into(),
        ..Default::default()
    }
}

/// Adds `nodes` to the network. The last of them computes the value `end`, which replaces the value `from` in the node
/// that computes `to`.
fn with_chain(from: &str, to: &str, nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> Vec<u8> {
    let mut model = model();
    let graph = model.graph.as_mut().unwrap();
    let reader = graph.node.iter_mut().find(|node| node.output[0] == to).unwrap();
    reader.input.iter_mut().filter(|name| *name == from).for_each(|name| *name = "end".into());
    graph.node.extend(nodes);
    graph.initializer.extend(constants);
    model.encode_to_vec()
}

/// Returns the nodes of `count` links, each of which computes a value from the one before. The first link reads `from`,
/// and the last one computes `end`.
fn chain(from: &str, count: usize, link: impl Fn(usize, &str, &str) -> Vec<NodeProto>) -> Vec<NodeProto> {
    let name = |at: usize| match at {
        0 => from.to_owned(),
        at if at == count => "end".to_owned(),
        at => format!("l{at}"),
    };
    (0..count).flat_map(|at| link(at, &name(at), &name(at + 1))).collect()
}

#[test]
fn long_chains_take_a_time_that_grows_with_their_length() {
    let ints = |name: &str, ints: &[i64]| AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: ints.into(),
        ..Default::default()
    };
    let identities = chain("stem", LONG, |_, from, to| vec![node("Identity", &[from], to)]);
    assert_eq!(read(with_chain("stem", "block.0.mix.affine.scaled", identities, vec![]), "identities"), Ok(()));

    let turns = chain("stem", LONG, |_, from, to| {
        vec![NodeProto { attribute: vec![ints("perm", &[0, 2, 1])], ..node("Transpose", &[from], to) }]
    });
    assert_eq!(read(with_chain("stem", "block.0.mix.affine.scaled", turns, vec![]), "transposes"), Ok(()));

    let two = || vec![scalar("two", 2.0), scalar("half", 0.5)];
    let scales = chain("stem", LONG, |at, from, to| vec![node("Mul", &[from, ["two", "half"][at % 2]], to)]);
    assert_eq!(read(with_chain("stem", "block.0.mix.affine.scaled", scales, two()), "uniform scales"), Ok(()));

    let affines =
        chain("stem", LONG, |at, from, to| vec![node(["Mul", "Div"][at % 2], &[from, "block.0.mix.affine.alpha"], to)]);
    assert_eq!(read(with_chain("stem", "block.0.mix.affine.scaled", affines, vec![]), "scales by channel"), Ok(()));

    // Every link of a chain of scales feeds a GELU, and the last node sums all GELUs.
    let constants = vec![scalar("two", 2.0), scalar("half", 0.5), scalar("root", 0.5f32.sqrt()), scalar("one", 1.0)];
    let mut gelus = chain("block.0.mlp.expand", LONG / 8, |at, from, to| {
        let of = |part: &str| format!("{part}{at}");
        vec![
            node("Mul", &[from, "root"], &of("scaled")),
            node("Erf", &[&of("scaled")], &of("erf")),
            node("Add", &[&of("erf"), "one"], &of("gate")),
            node("Mul", &[from, &of("gate")], &of("gelu")),
            node("Mul", &[from, ["two", "half"][at % 2]], if to == "end" { "last" } else { to }),
        ]
    });
    let all: Vec<String> = (0..LONG / 8).map(|at| format!("gelu{at}")).collect();
    gelus.push(node("Sum", &all.iter().map(String::as_str).collect::<Vec<_>>(), "end"));
    let error = read(with_chain("block.0.mlp.gelu", "block.0.mlp.contract.product", gelus, constants), "GELUs");
    assert!(error.unwrap_err().contains("not a ResMLP"));
}

#[test]
fn what_is_repeated_is_paid_for() {
    let axes =
        AttributeProto { name: "axes".into(), r#type: AttributeType::Ints as i32, ints: vec![1], ..Default::default() };
    let keep =
        AttributeProto { name: "keepdims".into(), r#type: AttributeType::Int as i32, i: 0, ..Default::default() };
    let mut means: Vec<NodeProto> = (0..LONG)
        .map(|at| NodeProto {
            attribute: vec![axes.clone(), keep.clone()],
            ..node("ReduceMean", &["final.affine"], &format!("mean{at}"))
        })
        .collect();
    let all: Vec<String> = (0..LONG).map(|at| format!("mean{at}")).collect();
    means.push(node("Sum", &all.iter().map(String::as_str).collect::<Vec<_>>(), "end"));
    let error = read(with_chain("final.mean", "logits.product", means, vec![]), "means").unwrap_err();
    assert!(error.contains("not a ResMLP") || error.contains("unfolds"), "{error}");

    // These operators ask for tensors of 2^40 elements.
    let bombs = |operator: &str, first: &str| {
        vec![node(operator, &[first, "huge"], "bomb"), node("Add", &["stem", "bomb"], "end")]
    };
    let huge = || integers("huge", &[1 << 20, 1 << 20]);
    for (operator, first) in
        [("Expand", "block.0.mix.affine.alpha"), ("Tile", "block.0.mix.affine.alpha"), ("Reshape", "stem")]
    {
        read(with_chain("stem", "block.0.mix.affine.scaled", bombs(operator, first), vec![huge()]), operator)
            .unwrap_err();
    }
    let shapes = vec![node("ConstantOfShape", &["huge"], "bomb"), node("Add", &["stem", "bomb"], "end")];
    read(with_chain("stem", "block.0.mix.affine.scaled", shapes, vec![huge()]), "ConstantOfShape").unwrap_err();
    let range = vec![node("Range", &["low", "high", "step"], "bomb"), node("Reshape", &["stem", "bomb"], "end")];
    let bounds = [("low", 0), ("high", 1 << 40), ("step", 1)]
        .map(|(name, value)| TensorProto { dims: vec![], ..integers(name, &[value]) });
    read(with_chain("stem", "block.0.mix.affine.scaled", range, bounds.to_vec()), "Range").unwrap_err();

    // Forty concatenations each double a value.
    let joins = chain("block.0.mix.affine.alpha", 40, |_, from, to| {
        let axis = AttributeProto { name: "axis".into(), r#type: AttributeType::Int as i32, ..Default::default() };
        vec![NodeProto { attribute: vec![axis], ..node("Concat", &[from, from], to) }]
    });
    read(with_chain("block.0.mix.affine.alpha", "block.0.mix.affine.scaled", joins, vec![]), "Concat").unwrap_err();

    // A graph has too many outputs to look for the logits among them.
    let mut model = model();
    let graph = model.graph.as_mut().unwrap();
    graph.output.extend((0..LONG).map(|_| ValueInfoProto { name: "final.affine".into(), r#type: None }));
    let error = read(model.encode_to_vec(), "outputs").unwrap_err();
    assert!(error.contains("40001 outputs; name one with --onnx-output"), "{error}");
}

#[test]
fn a_cycle_is_refused() {
    let nodes =
        vec![node("Add", &["stem", "b"], "a"), node("Add", &["a", "stem"], "b"), node("Add", &["b", "stem"], "end")];
    let error = read(with_chain("stem", "block.0.mix.affine.scaled", nodes, vec![]), "cycle").unwrap_err();
    assert!(error.contains("expected a graph without cycles"), "{error}");
}
