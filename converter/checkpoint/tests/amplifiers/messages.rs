//! Makes ONNX files of small messages that become large structures.

use prost::Message;
use resmlp_checkpoint::export::{Batch, to_onnx};
use resmlp_checkpoint::onnx::proto::{ModelProto, NodeProto, TensorProto};
use resmlp_network::AffinePlacement;
use resmlp_testing::{Random, Shape};

use super::Kind;

/// Number of the field that holds a model's graph.
const GRAPH: u32 = 7;

/// Returns the encoded model of a network of one block.
fn model() -> Vec<u8> {
    let shape = Shape { image: [4, 4], patch: 2, dim: 4, hidden: 4, depth: 1, classes: Some(3) };
    to_onnx(&Random(1).network(&shape, AffinePlacement::Branch), Batch::Any, false).encode_to_vec()
}

/// Returns the model with a sum, on which the logits depend, of as many copies of one value as the decoder allows for
/// a file of `size` bytes. The rest of the file is a weight that nothing needs.
fn sum_of_one_value(size: usize) -> Vec<u8> {
    let mut model = ModelProto::decode(&model()[..]).unwrap();
    let graph = model.graph.as_mut().unwrap();
    // Three bytes of the file become 25 in memory, of which there may be four for each byte.
    let count = size * 4 / 26;
    let input = vec!["stem".to_owned(); count];
    graph.node.push(NodeProto { op_type: "Sum".into(), input, output: vec!["sum".into()], ..Default::default() });
    let reader = graph.node.iter_mut().find(|node| node.output[0] == "block.0.mix.affine.scaled").unwrap();
    reader.input.iter_mut().filter(|name| *name == "stem").for_each(|name| *name = "sum".into());
    let raw_data = vec![0; size.saturating_sub(6 * count)].into();
    graph.initializer.push(TensorProto { name: "rest".into(), data_type: 1, raw_data, ..Default::default() });
    model.encode_to_vec()
}

/// Returns a field with a stated length.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut bytes);
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

/// Returns the model and, in addition, about `size` bytes of `unit`, wrapped in the fields `around`, from the outermost
/// one inwards.
fn with(around: &[u32], unit: &[u8], size: usize) -> Vec<u8> {
    let many = unit.repeat(size / unit.len());
    let more = around.iter().rev().fold(many, |content, tag| field(*tag, &content));
    [model(), more].concat()
}

pub const KINDS: &[Kind] = &[
    ("nodes", |size| with(&[GRAPH], &[0x0a, 0], size)),
    ("constants", |size| with(&[GRAPH], &[0x2a, 0], size)),
    ("inputs", |size| with(&[GRAPH], &[0x5a, 0], size)),
    ("outputs", |size| with(&[GRAPH], &[0x62, 0], size)),
    ("attributes", |size| with(&[GRAPH, 1], &[0x2a, 0], size)),
    ("attributes with tensors", |size| with(&[GRAPH, 1], &[0x2a, 2, 0x2a, 0], size)),
    ("names of inputs", |size| with(&[GRAPH, 1], &[0x0a, 0], size)),
    ("names of outputs", |size| with(&[GRAPH, 1], &[0x12, 0], size)),
    ("lengths of a constant", |size| with(&[GRAPH, 5], &[0x08, 1], size)),
    ("packed lengths of a constant", |size| with(&[GRAPH, 5, 1], &[1], size)),
    ("packed integers", |size| with(&[GRAPH, 5, 7], &[1], size)),
    ("packed small integers", |size| with(&[GRAPH, 5, 5], &[1], size)),
    ("packed integers of an attribute", |size| with(&[GRAPH, 1, 5, 8], &[1], size)),
    ("places of external data", |size| with(&[GRAPH, 5], &[0x6a, 0], size)),
    ("lengths of an input", |size| with(&[GRAPH, 11, 2, 1, 2], &[0x0a, 0], size)),
    ("operator sets", |size| with(&[], &[0x42, 0], size)),
    ("functions", |size| with(&[], &[0xca, 1, 0], size)),
    ("graphs", |size| with(&[], &[0x3a, 0], size)),
    ("graphs inside nodes", |size| {
        // A node's attribute holds a graph, which holds a node.
        let mut content = Vec::new();
        while content.len() < size.min(1 << 20) && content.len() < 4000 {
            content = field(1, &field(5, &field(6, &content)));
        }
        with(&[GRAPH], &content, size)
    }),
    ("a sum of one value", sum_of_one_value),
    ("unknown fields", |size| with(&[], &[0xfa, 0x7f, 0], size)),
    ("unknown groups", |size| with(&[], &[0xfb, 0x7f], size)),
];
