//! Edits exported ONNX graphs, for tests of the ONNX reader.

use std::path::Path;

use prost::Message;
use resmlp_checkpoint::export::{Batch, to_onnx};
use resmlp_checkpoint::onnx::proto::{
    AttributeProto, AttributeType, DataType, GraphProto, Length, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};
use resmlp_checkpoint::{Checkpoint, LoadOptions, load_bytes};
use resmlp_network::{AffinePlacement, Network};
use resmlp_testing::{Random, Shape, evaluate};

pub const SHAPE: Shape = Shape { image: [4, 6], patch: 2, dim: 4, hidden: 6, depth: 2, classes: Some(3) };

pub fn network() -> Network {
    Random(3).network(&SHAPE, AffinePlacement::Branch)
}

/// An exported graph under edit.
pub struct Edited(pub ModelProto);

impl Edited {
    pub fn of(network: &Network) -> Self {
        Self(to_onnx(network, Batch::Any, false))
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.as_mut().unwrap()
    }

    pub fn opset(mut self, version: i64) -> Self {
        self.0.opset_import[0].version = version;
        self
    }

    /// Replaces the node that makes `output` with `nodes`.
    pub fn instead(mut self, output: &str, nodes: &[NodeProto]) -> Self {
        let at = self.graph().node.iter().position(|node| node.output[0] == output).unwrap();
        self.graph().node.splice(at..=at, nodes.iter().cloned());
        self
    }

    /// Adds `nodes`, which make `to` from `from`, and lets all nodes that read `from` read `to`.
    pub fn between(mut self, from: &str, to: &str, nodes: &[NodeProto]) -> Self {
        for name in self.graph().node.iter_mut().flat_map(|node| &mut node.input).filter(|name| *name == from) {
            *name = to.into();
        }
        self.graph().node.extend_from_slice(nodes);
        self
    }

    pub fn floats(mut self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        let raw_data = data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>().into();
        let (name, dims) = (name.into(), dims.into());
        let tensor = TensorProto { name, data_type: DataType::Float as i32, dims, raw_data, ..Default::default() };
        self.graph().initializer.push(tensor);
        self
    }

    pub fn integers(mut self, name: &str, data: &[i64]) -> Self {
        let (name, dims, int64_data) = (name.into(), vec![data.len() as i64], data.into());
        let tensor = TensorProto { name, data_type: DataType::Int64 as i32, dims, int64_data, ..Default::default() };
        self.graph().initializer.push(tensor);
        self
    }

    /// Changes the input's type and shape.
    pub fn input(mut self, data_type: DataType, shape: &[i64]) -> Self {
        let tensor = self.graph().input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
        tensor.elem_type = data_type as i32;
        for (dimension, length) in tensor.shape.as_mut().unwrap().dim.iter_mut().zip(shape) {
            dimension.value = Some(Length::DimValue(*length));
        }
        self
    }

    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: name.into(), r#type: None });
        self
    }

    pub fn load_with(&self, options: &LoadOptions) -> Result<Checkpoint, String> {
        load_bytes(Path::new("my.onnx"), self.0.encode_to_vec(), options).map_err(|error| error.to_string())
    }

    pub fn load(&self) -> Result<Checkpoint, String> {
        self.load_with(&LoadOptions::default())
    }
}

pub fn node(operator: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) -> NodeProto {
    let (domain, operator) = operator.rsplit_once(':').unwrap_or(("", operator));
    NodeProto {
        op_type: operator.into(),
        domain: domain.into(),
        input: inputs.iter().map(|name| (*name).into()).collect(),
        output: vec![output.into()],
        attribute: attributes.to_vec(),
        ..Default::default()
    }
}

pub fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints: ints.into(), ..Default::default() }
}

pub fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..Default::default() }
}

pub fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Float as i32, f, ..Default::default() }
}

pub fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s: s.into(), ..Default::default() }
}

/// Checks that `found` computes the same logits as `wanted`.
pub fn equal(found: &Network, wanted: &Network, what: &str) {
    assert_eq!((found.image, found.outputs()), (wanted.image, wanted.outputs()), "{what}");
    let pixels = Random(9).vector(3 * found.image[0] * found.image[1], -2.0, 2.0);
    let (found, wanted) = (evaluate(found, &pixels).logits, evaluate(wanted, &pixels).logits);
    let error = found.iter().zip(&wanted).fold(0f64, |max, (a, b)| max.max((a - b).abs()));
    assert!(error < 1e-5, "{what}: {found:?}, expected {wanted:?}");
}
