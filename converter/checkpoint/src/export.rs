//! Writes a trained network as an ONNX graph of its original layers: nothing is folded, and the activation is the
//! network's own.
//!
//! The graph serves as the reference that tract runs, and as a file for other tools.

use prost::Message;
use resmlp_network::{
    Activation, Affine, AffinePlacement, Block, Linear, Matrix, Network, mix_stage, mlp_stage, stage_names,
};

use crate::onnx::proto::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, Length, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// ONNX operator set of the exported graphs. In this set `ReduceMean` still takes its axes as an attribute.
const OPSET: i64 = 17;
/// ONNX file version that belongs to [`OPSET`].
const IR_VERSION: i64 = 8;

/// Name of the graph's input, `[batch, 3, height, width]`, normalised pixels.
pub const INPUT: &str = "pixels";
/// Name of the graph's first output, `[batch, outputs]`.
pub const LOGITS: &str = "logits";

/// Length of the first dimension of the graph's input and outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// Chosen at every run.
    Any,
    /// Always this many pictures.
    Fixed(usize),
}

/// Converts the network into an ONNX model.
///
/// The model's outputs are [`LOGITS`] and, with `stages`, the residual stream after the patch embedding and after each
/// half block (`[batch, tokens, dim]`, see [`stage_names`]).
pub fn to_onnx(network: &Network, batch: Batch, stages: bool) -> ModelProto {
    let mut graph = GraphBuilder::default();
    let mut stream = graph.patch_embedding(network);
    for (index, block) in network.blocks.iter().enumerate() {
        stream = graph.block(index, block, network, stream);
    }
    graph.classifier(network, stream);

    let [height, width] = network.image;
    let mut outputs = vec![value_info(LOGITS, batch, &[network.outputs()])];
    if stages {
        let shape = [network.tokens(), network.dim()];
        outputs.extend(stage_names(network).iter().map(|name| value_info(name, batch, &shape)));
    }
    ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "resmlp".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(GraphProto {
            name: "resmlp".to_owned(),
            node: graph.nodes,
            initializer: graph.initializers,
            input: vec![value_info(INPUT, batch, &[3, height, width])],
            output: outputs,
        }),
        functions: Vec::new(),
    }
}

/// Converts the network into the bytes of an `.onnx` file with [`LOGITS`] as its only output.
///
/// # Errors
/// Returns [`TooLarge`] where the network is larger than 2 GiB, which the protobuf format cannot hold.
pub fn onnx_bytes(network: &Network, batch: Batch) -> Result<Vec<u8>, TooLarge> {
    let model = to_onnx(network, batch, false);
    if model.encoded_len() > i32::MAX as usize {
        return Err(TooLarge);
    }
    Ok(model.encode_to_vec())
}

/// The network does not fit into an `.onnx` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network is larger than 2 GiB, which an .onnx file cannot hold")]
pub struct TooLarge;

/// Collects nodes and initialisers. Most methods return the name of the value that they add.
#[derive(Default)]
struct GraphBuilder {
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
}

impl GraphBuilder {
    /// Adds the patch embedding, from the pixels to the residual stream `[batch, tokens, dim]`, which is named `stem`.
    fn patch_embedding(&mut self, network: &Network) -> String {
        let patch = network.patch as i64;
        let kernel = [network.dim() as i64, 3, patch, patch];
        let weight = self.floats("stem.weight", &kernel, network.stem.weight.data.clone());
        let bias = self.vector("stem.bias", &network.stem.bias);
        let attributes = vec![ints("kernel_shape", vec![patch, patch]), ints("strides", vec![patch, patch])];
        let maps = self.node("Conv", "stem.conv", &[INPUT, &weight, &bias], attributes);
        // The length 0 stands for the batch as it is.
        let shape = self.integers("stem.shape", &[0, network.dim() as i64, network.tokens() as i64]);
        let channels = self.node("Reshape", "stem.flat", &[&maps, &shape], vec![]);
        self.node("Transpose", "stem", &[&channels], vec![ints("perm", vec![0, 2, 1])])
    }

    /// Adds both halves of a residual block.
    fn block(&mut self, index: usize, block: &Block, network: &Network, stream: String) -> String {
        let Network { placement, activation, .. } = *network;
        let name = mix_stage(index);
        let (skip, input) = self.affine_at(&format!("{name}.affine"), &block.mix_affine, placement, stream);
        let branch = self.patch_mixing(&name, &block.mix, &input);
        let stream = self.residual(&name, &skip, &branch, &block.mix_scale);

        let name = mlp_stage(index);
        let (skip, input) = self.affine_at(&format!("{name}.affine"), &block.mlp_affine, placement, stream);
        let expanded = self.linear(&format!("{name}.expand"), &block.expand, &input);
        let hidden = self.activation(&format!("{name}.gelu"), activation, &expanded);
        let branch = self.linear(&format!("{name}.contract"), &block.contract, &hidden);
        self.residual(&name, &skip, &branch, &block.mlp_scale)
    }

    /// Adds the Aff before a branch. Returns the value that the branch is added to, and the value that the branch
    /// reads.
    fn affine_at(
        &mut self,
        name: &str,
        affine: &Affine,
        placement: AffinePlacement,
        stream: String,
    ) -> (String, String) {
        let scaled = self.affine(name, affine, &stream);
        match placement {
            AffinePlacement::Branch => (stream, scaled),
            AffinePlacement::Stream => (scaled.clone(), scaled),
        }
    }

    /// Adds the final Aff, the mean over the patches and the classifier.
    fn classifier(&mut self, network: &Network, stream: String) {
        let scaled = self.affine("final.affine", &network.final_affine, &stream);
        let attributes = vec![ints("axes", vec![1]), int("keepdims", 0)];
        match &network.head {
            Some(head) => {
                let mean = self.node("ReduceMean", "final.mean", &[&scaled], attributes);
                self.linear(LOGITS, head, &mean);
            }
            None => {
                self.node("ReduceMean", LOGITS, &[&scaled], attributes);
            }
        }
    }

    /// Adds `alpha ⊙ x + beta` over the last axis.
    fn affine(&mut self, name: &str, affine: &Affine, input: &str) -> String {
        let alpha = self.vector(&format!("{name}.alpha"), &affine.alpha);
        let beta = self.vector(&format!("{name}.beta"), &affine.beta);
        let scaled = self.node("Mul", &format!("{name}.scaled"), &[input, &alpha], vec![]);
        self.node("Add", name, &[&scaled, &beta], vec![])
    }

    /// Adds `weight · x + bias` over the patches of `[batch, tokens, dim]`.
    fn patch_mixing(&mut self, name: &str, mix: &Linear, input: &str) -> String {
        let tokens = mix.weight.rows as i64;
        let weight = self.floats(&format!("{name}.weight"), &[tokens, tokens], mix.weight.data.clone());
        let bias = self.floats(&format!("{name}.bias"), &[tokens, 1], mix.bias.clone());
        let product = self.node("MatMul", &format!("{name}.product"), &[&weight, input], vec![]);
        self.node("Add", &format!("{name}.mixed"), &[&product, &bias], vec![])
    }

    /// Adds `weight · x + bias` over the last axis.
    fn linear(&mut self, name: &str, linear: &Linear, input: &str) -> String {
        let shape = [linear.weight.cols as i64, linear.weight.rows as i64];
        let weight = self.floats(&format!("{name}.weight"), &shape, transposed(&linear.weight));
        let bias = self.vector(&format!("{name}.bias"), &linear.bias);
        let product = self.node("MatMul", &format!("{name}.product"), &[input, &weight], vec![]);
        self.node("Add", name, &[&product, &bias], vec![])
    }

    fn activation(&mut self, name: &str, activation: Activation, input: &str) -> String {
        match activation {
            Activation::Gelu => self.gelu(name, input),
            Activation::GeluTanh => self.gelu_tanh(name, input),
            Activation::Relu => self.node("Relu", name, &[input], vec![]),
        }
    }

    /// Adds `(x / 2) · (1 + erf(x / √2))`, in a form that tract computes in one pass.
    fn gelu(&mut self, name: &str, input: &str) -> String {
        let root = self.scalar(&format!("{name}.root"), std::f32::consts::FRAC_1_SQRT_2);
        let one = self.scalar(&format!("{name}.one"), 1.0);
        let half = self.scalar(&format!("{name}.half"), 0.5);
        let scaled = self.node("Mul", &format!("{name}.scaled"), &[input, &root], vec![]);
        let erf = self.node("Erf", &format!("{name}.erf"), &[&scaled], vec![]);
        let sum = self.node("Add", &format!("{name}.sum"), &[&erf, &one], vec![]);
        let halved = self.node("Mul", &format!("{name}.halved"), &[input, &half], vec![]);
        self.node("Mul", name, &[&halved, &sum], vec![])
    }

    /// Adds `(x / 2) · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`.
    fn gelu_tanh(&mut self, name: &str, input: &str) -> String {
        let cubic = self.scalar(&format!("{name}.cubic"), 0.044_715);
        let root = self.scalar(&format!("{name}.root"), 0.797_884_6);
        let one = self.scalar(&format!("{name}.one"), 1.0);
        let half = self.scalar(&format!("{name}.half"), 0.5);
        let square = self.node("Mul", &format!("{name}.square"), &[input, input], vec![]);
        let cube = self.node("Mul", &format!("{name}.cube"), &[&square, input], vec![]);
        let weighted = self.node("Mul", &format!("{name}.weighted"), &[&cube, &cubic], vec![]);
        let inner = self.node("Add", &format!("{name}.inner"), &[input, &weighted], vec![]);
        let scaled = self.node("Mul", &format!("{name}.scaled"), &[&inner, &root], vec![]);
        let tanh = self.node("Tanh", &format!("{name}.tanh"), &[&scaled], vec![]);
        let sum = self.node("Add", &format!("{name}.sum"), &[&tanh, &one], vec![]);
        let halved = self.node("Mul", &format!("{name}.halved"), &[input, &half], vec![]);
        self.node("Mul", name, &[&halved, &sum], vec![])
    }

    /// Adds `skip + scale ⊙ branch`.
    fn residual(&mut self, name: &str, skip: &str, branch: &str, scale: &[f32]) -> String {
        let scale = self.vector(&format!("{name}.scale"), scale);
        let scaled = self.node("Mul", &format!("{name}.branch"), &[branch, &scale], vec![]);
        self.node("Add", name, &[skip, &scaled], vec![])
    }

    /// Adds a node with one output, which has the node's name.
    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        self.nodes.push(NodeProto {
            name: name.to_owned(),
            op_type: op.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute: attributes,
            ..Default::default()
        });
        name.to_owned()
    }

    fn vector(&mut self, name: &str, values: &[f32]) -> String {
        self.floats(name, &[values.len() as i64], values.to_vec())
    }

    fn scalar(&mut self, name: &str, value: f32) -> String {
        self.floats(name, &[], vec![value])
    }

    fn floats(&mut self, name: &str, dims: &[i64], values: Vec<f32>) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, DataType::Float, dims, bytes)
    }

    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, DataType::Int64, &[values.len() as i64], bytes)
    }

    fn tensor(&mut self, name: &str, data_type: DataType, dims: &[i64], bytes: Vec<u8>) -> String {
        self.initializers.push(TensorProto {
            name: name.to_owned(),
            data_type: data_type as i32,
            dims: dims.to_vec(),
            raw_data: bytes.into(),
            ..Default::default()
        });
        name.to_owned()
    }
}

fn transposed(matrix: &Matrix) -> Vec<f32> {
    (0..matrix.cols).flat_map(|c| (0..matrix.rows).map(move |r| matrix.data[r * matrix.cols + c])).collect()
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Int as i32, i: value, ..Default::default() }
}

fn ints(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: AttributeType::Ints as i32, ints: values, ..Default::default() }
}

/// Describes a float tensor whose first dimension is the batch.
fn value_info(name: &str, batch: Batch, shape: &[usize]) -> ValueInfoProto {
    let first = match batch {
        Batch::Any => Length::DimParam("batch".to_owned()),
        Batch::Fixed(count) => Length::DimValue(count as i64),
    };
    let dims = std::iter::once(first).chain(shape.iter().map(|&size| Length::DimValue(size as i64)));
    let dim = dims.map(|value| Dimension { value: Some(value) }).collect();
    let tensor = TensorTypeProto { elem_type: DataType::Float as i32, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
