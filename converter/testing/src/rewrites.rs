//! Rewrites ONNX graphs at random, either as exporters and optimisers do, without changing the function, or as damage
//! does.

mod change;
mod keep;

use std::collections::HashMap;

use resmlp_checkpoint::onnx::proto::{
    AttributeProto, AttributeType, DataType, GraphProto, ModelProto, NodeProto, TensorProto,
};

use crate::Random;
use change::*;
use keep::*;

/// A graph that is being rewritten.
pub struct Rewriter<'a> {
    model: ModelProto,
    random: &'a mut Random,
    /// Shape of each activation for one picture.
    shapes: HashMap<String, Vec<usize>>,
    made: usize,
}

/// A rewrite or a damage. It returns whether it found a place in the graph where it applies.
type Rewrite = fn(&mut Rewriter) -> bool;

/// Every rewrite that keeps the function, with its name.
pub const REWRITES: &[(&str, Rewrite)] = &[
    ("identity inserted", |r| r.on_an_edge(|r, from, _| Some(r.node("Identity", &[from], vec![])))),
    ("dropout inserted", |r| r.on_an_edge(|r, from, _| Some(r.node("Dropout", &[from], vec![])))),
    ("cast inserted", |r| r.on_an_edge(|r, from, _| Some(r.node("Cast", &[from], vec![int("to", 1)])))),
    ("two transposes inserted", |r| r.on_an_edge(two_transposes)),
    ("reshapes inserted", |r| r.on_an_edge(reshapes)),
    ("unsqueeze and squeeze inserted", |r| r.on_an_edge(unsqueeze_and_squeeze)),
    ("split and joined again", |r| r.on_an_edge(split_and_joined)),
    ("sliced as a whole", |r| r.on_an_edge(sliced)),
    ("gathered as a whole", |r| r.on_an_edge(gathered)),
    ("operands swapped", operands_swapped),
    ("constant split", constant_split),
    ("subtraction or division instead", inverse_operation),
    ("constant with more dimensions", constant_unsqueezed),
    ("constant as a node", constant_as_a_node),
    ("weight transposed in the graph", weight_transposed),
    ("transposes pushed through arithmetic", pushed_through),
    ("mixing from the right", mixing_from_the_right),
    ("einsum instead of a product", einsum),
    ("gemm instead of a product", gemm),
    ("another operator for the mean", another_mean),
    ("fused operators of ONNX Runtime", fused),
    ("LayerScale in the weights", layer_scale_folded),
    ("softmax at the end", softmax),
    ("junk beside the network", junk),
    ("values renamed", renamed),
    ("nodes shuffled", shuffled),
];

/// Every damage that changes the function, with its name.
pub const DAMAGES: &[(&str, Rewrite)] = &[
    ("a constant changed", constant_changed),
    ("the operands of a subtraction swapped", subtraction_swapped),
    ("an axis changed", axis_changed),
    ("an operator changed", operator_changed),
    ("a residual sum from elsewhere", sum_from_elsewhere),
];

impl<'a> Rewriter<'a> {
    /// Creates a rewriter of `model`, which [`resmlp_checkpoint::export::to_onnx`] must have written.
    pub fn new(model: ModelProto, random: &'a mut Random) -> Self {
        let mut rewriter = Self { model, random, shapes: HashMap::new(), made: 0 };
        rewriter.infer();
        rewriter
    }

    /// Returns the rewritten model.
    pub fn finish(self) -> ModelProto {
        self.model
    }

    fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    fn below(&mut self, count: usize) -> usize {
        (self.random.bits() % count.max(1) as u64) as usize
    }

    /// Chooses a node for which `is_wanted` holds, and returns its index.
    fn pick(&mut self, is_wanted: impl Fn(&Self, &NodeProto) -> bool) -> Option<usize> {
        let nodes = &self.model.graph.as_ref().unwrap().node;
        let found: Vec<usize> = (0..nodes.len()).filter(|at| is_wanted(self, &nodes[*at])).collect();
        if found.is_empty() { None } else { Some(found[self.below(found.len())]) }
    }

    fn at(&self, index: usize) -> NodeProto {
        self.model.graph.as_ref().unwrap().node[index].clone()
    }

    /// Returns the lengths and numbers of the constant called `name`, if it holds floats.
    fn floats(&self, name: &str) -> Option<(Vec<i64>, Vec<f32>)> {
        let graph = self.model.graph.as_ref().unwrap();
        let tensor = graph.initializer.iter().find(|tensor| tensor.name == name && tensor.data_type == 1)?;
        let data = tensor.raw_data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Some((tensor.dims.clone(), data))
    }

    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("new{}", self.made)
    }

    fn constant(&mut self, dims: &[i64], data: &[f32]) -> String {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(DataType::Float, dims, bytes)
    }

    fn integers(&mut self, data: &[i64]) -> String {
        let bytes = data.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(DataType::Int64, &[data.len() as i64], bytes)
    }

    fn tensor(&mut self, data_type: DataType, dims: &[i64], bytes: Vec<u8>) -> String {
        let name = self.fresh();
        let tensor = TensorProto {
            name: name.clone(),
            data_type: data_type as i32,
            dims: dims.to_vec(),
            raw_data: bytes.into(),
            ..Default::default()
        };
        self.graph().initializer.push(tensor);
        name
    }

    /// Adds a node with one output, and returns the name of that output.
    fn node(&mut self, operator: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let output = self.fresh();
        self.add(operator, inputs, &output, attributes);
        output
    }

    fn add(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: Vec<AttributeProto>) {
        let (operator, domain) = match operator.split_once('.') {
            Some((domain, operator)) => (operator, format!("com.{domain}")),
            None => (operator, String::new()),
        };
        let node = NodeProto {
            op_type: operator.into(),
            domain,
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: vec![output.into()],
            attribute: attributes,
            ..Default::default()
        };
        self.graph().node.push(node);
    }

    /// Removes and returns node `index`. The caller then adds other nodes that compute its output.
    fn take(&mut self, index: usize) -> NodeProto {
        self.graph().node.remove(index)
    }

    /// Inserts new nodes between a node and one of the activations that it reads. The new value has the shape of the
    /// old one.
    fn on_an_edge(&mut self, insert: fn(&mut Self, &str, &[usize]) -> Option<String>) -> bool {
        let Some(index) = self.pick(|r, node| node.input.iter().any(|name| r.shapes.contains_key(name))) else {
            return false;
        };
        let node = self.at(index);
        let edges: Vec<usize> = (0..node.input.len()).filter(|i| self.shapes.contains_key(&node.input[*i])).collect();
        let edge = edges[self.below(edges.len())];
        let from = node.input[edge].clone();
        let shape = self.shapes[&from].clone();
        let Some(to) = insert(self, &from, &shape) else { return false };
        self.shapes.insert(to.clone(), shape);
        self.graph().node[index].input[edge] = to;
        true
    }

    /// Returns the names of the activation and of the constant that `node` reads, if it reads one of each, and the
    /// place of the constant among its inputs.
    fn operands(&self, node: &NodeProto) -> Option<(String, String, usize)> {
        let [a, b] = node.input.as_slice() else { return None };
        self.shapes.get(&node.output[0])?;
        match (self.shapes.contains_key(a), self.floats(b).is_some()) {
            (true, true) => Some((a.clone(), b.clone(), 1)),
            _ if self.shapes.contains_key(b) && self.floats(a).is_some() => Some((b.clone(), a.clone(), 0)),
            _ => None,
        }
    }

    /// Computes the shapes of the exported graph's activations.
    fn infer(&mut self) {
        let graph = self.model.graph.clone().unwrap();
        let edges = |tensor: &str| self.floats(tensor).map(|(dims, _)| dims);
        let input = graph.input[0].r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).unwrap();
        let lengths = input.shape.as_ref().unwrap().dim.iter().map(|length| match &length.value {
            Some(resmlp_checkpoint::onnx::proto::Length::DimValue(value)) => *value as usize,
            _ => 1,
        });
        let image: Vec<usize> = lengths.collect();
        let mut shapes: HashMap<String, Vec<usize>> = HashMap::new();
        for node in &graph.node {
            let of = |at: usize| node.input.get(at).and_then(|name| shapes.get(name)).cloned();
            let shape = match node.op_type.as_str() {
                "Conv" => {
                    let kernel = edges(&node.input[1]).unwrap();
                    vec![1, kernel[0] as usize, image[2] / kernel[2] as usize, image[3] / kernel[3] as usize]
                }
                "Reshape" => {
                    let x = of(0).unwrap();
                    vec![1, x[1], x[2] * x[3]]
                }
                "Transpose" => {
                    let x = of(0).unwrap();
                    vec![1, x[2], x[1]]
                }
                "MatMul" => match (of(0), of(1)) {
                    (Some(mut x), None) => {
                        *x.last_mut().unwrap() = edges(&node.input[1]).unwrap()[1] as usize;
                        x
                    }
                    (None, Some(x)) => x,
                    _ => unreachable!("an exported product has one weight"),
                },
                "ReduceMean" => {
                    let x = of(0).unwrap();
                    vec![1, x[2]]
                }
                _ => of(0).or_else(|| of(1)).unwrap(),
            };
            shapes.insert(node.output[0].clone(), shape);
        }
        self.shapes = shapes;
    }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Int as i32, i, ..Default::default() }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), r#type: AttributeType::Ints as i32, ints: ints.into(), ..Default::default() }
}

fn text(name: &str, text: &str) -> AttributeProto {
    let s = text.as_bytes().to_vec();
    AttributeProto { name: name.into(), r#type: AttributeType::String as i32, s, ..Default::default() }
}
