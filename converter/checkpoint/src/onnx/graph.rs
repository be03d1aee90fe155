//! Finds the nodes and constants that a graph's outputs need, and sorts the nodes so that each comes after those that
//! it reads.

use super::proto::{GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use std::collections::{HashMap, HashSet};

/// Why a graph cannot be sorted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Two nodes, constants or inputs define the same value.
    #[error("the value '{0}' is made twice; expected a name of its own for every value")]
    MadeTwice(String),
    /// A node reads a value that no node, constant or input defines.
    #[error("{node}: its input '{name}' is made by no node, constant or input of the graph")]
    NeverMade {
        /// The node that reads the value.
        node: String,
        /// The value.
        name: String,
    },
    /// A node reads a value that depends on the node's own result.
    #[error("{0}: it reads what is computed from its own result; expected a graph without cycles")]
    Cycle(String),
}

/// The part of a graph that the chosen outputs need.
#[derive(Debug, Default)]
pub(super) struct Needed {
    /// Indices of nodes. Each node comes after those that it reads.
    pub nodes: Vec<usize>,
    /// Indices of constants.
    pub constants: Vec<usize>,
    /// Indices of inputs that are not constants.
    pub inputs: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Maker {
    Node(usize),
    Constant(usize),
    Input(usize),
}

/// Returns the name by which messages call a node.
pub(super) fn label(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name };
    format!("node '{}' ({})", short(name), short(&node.op_type))
}

/// Returns a name as messages show it, cut short if it is very long.
pub(super) fn short(name: &str) -> String {
    const MOST: usize = 120;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.into(),
    }
}

/// Returns a list as messages show it, cut short if it is very long.
pub(super) fn brief<T: std::fmt::Debug>(list: &[T]) -> String {
    const MOST: usize = 12;
    match list.get(..MOST) {
        Some(first) if list.len() > MOST => format!("{first:?} and {} more", list.len() - MOST),
        _ => format!("{list:?}"),
    }
}

/// Finds the part of the graph that the values called `outputs` need.
///
/// # Errors
/// Returns an error where two parts of the graph define the same value, and where the needed part has a cycle or reads
/// a value that nothing defines. Cycles and missing values elsewhere in the graph are no errors.
pub(super) fn needed(graph: &GraphProto, outputs: &[&str]) -> Result<Needed, GraphError> {
    let makers = makers(graph)?;
    let mut needed = Needed::default();
    let mut begun = HashSet::new();
    let mut done = HashSet::new();
    for output in outputs {
        let mut stack = match makers.get(output) {
            Some(Maker::Node(node)) if !done.contains(node) => vec![(*node, 0)],
            // The node is sorted already, or no node computes this output, which `outputs::choose` reports.
            _ => continue,
        };
        while let Some((index, next)) = stack.pop() {
            let Some(node) = graph.node.get(index) else { continue };
            begun.insert(index);
            let Some(input) = node.input.get(next) else {
                done.insert(index);
                needed.nodes.push(index);
                continue;
            };
            stack.push((index, next + 1));
            match makers.get(input.as_str()) {
                _ if input.is_empty() => {} // An empty name stands for an optional input that is absent.
                Some(Maker::Node(other)) if done.contains(other) => {}
                Some(Maker::Node(other)) if begun.contains(other) => return Err(GraphError::Cycle(label(node))),
                Some(Maker::Node(other)) => stack.push((*other, 0)),
                Some(Maker::Constant(constant)) => needed.constants.push(*constant),
                Some(Maker::Input(input)) => needed.inputs.push(*input),
                None => return Err(GraphError::NeverMade { node: label(node), name: short(input) }),
            }
        }
    }
    for list in [&mut needed.constants, &mut needed.inputs] {
        list.sort_unstable();
        list.dedup();
    }
    Ok(needed)
}

/// Maps the name of each value to the node, constant or input that defines it. Old files list their constants among the
/// inputs too.
fn makers(graph: &GraphProto) -> Result<HashMap<&str, Maker>, GraphError> {
    let constants =
        graph.initializer.iter().enumerate().map(|(at, tensor)| (tensor.name.as_str(), Maker::Constant(at)));
    let results = graph.node.iter().enumerate().flat_map(|(at, node)| {
        let names = node.output.iter().filter(|name| !name.is_empty());
        names.map(move |name| (name.as_str(), Maker::Node(at)))
    });
    let mut makers = HashMap::new();
    for (name, maker) in constants.chain(results) {
        if makers.insert(name, maker).is_some() {
            return Err(GraphError::MadeTwice(short(name)));
        }
    }
    for (at, input) in graph.input.iter().enumerate() {
        match makers.insert(&input.name, Maker::Input(at)) {
            None => {}
            Some(constant @ Maker::Constant(_)) => {
                makers.insert(&input.name, constant);
            }
            Some(_) => return Err(GraphError::MadeTwice(short(&input.name))),
        }
    }
    Ok(makers)
}

/// Copies the part of `model` that its value `output` needs into a model that holds nothing else. Its nodes are sorted,
/// and its constants lie inside the model.
pub(super) fn pruned(model: &ModelProto, graph: &GraphProto, output: &str, needed: &Needed) -> ModelProto {
    fn picked<T: Clone>(all: &[T], indices: &[usize]) -> Vec<T> {
        indices.iter().filter_map(|index| all.get(*index).cloned()).collect()
    }
    let node: Vec<NodeProto> = picked(&graph.node, &needed.nodes);
    let initializer: Vec<TensorProto> = picked(&graph.initializer, &needed.constants);
    let input: Vec<ValueInfoProto> = picked(&graph.input, &needed.inputs);
    let is_used =
        |set: &&OperatorSetIdProto| is_standard(&set.domain) || node.iter().any(|node| node.domain == set.domain);
    let opset_import = model.opset_import.iter().filter(is_used).cloned().collect();
    let output = vec![ValueInfoProto { name: output.into(), r#type: None }];
    let graph = GraphProto { node, name: graph.name.clone(), initializer, input, output };
    ModelProto {
        ir_version: model.ir_version,
        producer_name: model.producer_name.clone(),
        producer_version: model.producer_version.clone(),
        opset_import,
        graph: Some(graph),
        ..Default::default()
    }
}

/// Returns whether a domain is that of ONNX's own operators.
pub(super) fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}
