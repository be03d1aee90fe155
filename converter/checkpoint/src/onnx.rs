//! Reads ONNX graphs: follows the picture through the graph and recognises the network by what is done to it.
//!
//! Names mean nothing here. [`follow`] runs the graph on symbols: it knows of every tensor which axis of the network
//! (rows and columns of the picture, channels) each of its dimensions holds, computes the constant parts, and
//! writes down the rest as a chain of linear layers, scales, shifts, GELUs and sums. [`recognise`] reads that chain.

mod arithmetic;
mod attributes;
mod constant;
mod constant_ops;
mod expr;
mod external;
mod follow;
mod layers;
mod layout;
pub mod proto;
mod recognise;
mod shape_ops;
mod state;

use crate::checkpoint::{Checkpoint, Format, LoadOptions};
use crate::error::{Error, Result};
use prost::Message;
use proto::{GraphProto, ModelProto, NodeProto};
use std::collections::HashSet;
use std::path::Path;

/// Whether a file's first bytes are those of an ONNX model, which begins with its IR version.
pub(crate) fn begins_like_onnx(start: &[u8]) -> bool {
    matches!(start, [0x08, 1..=30, ..])
}

/// Reads the ONNX model in `bytes`, the contents of `path`.
pub(crate) fn load(path: &Path, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let length = bytes.len();
    let model = ModelProto::decode(bytes.as_slice())
        .map_err(|_| Error::file(path, "a damaged ONNX file; expected a complete ModelProto"))?;
    drop(bytes);
    let mut notes = opset(path, &model)?;
    let mut graph = model
        .graph
        .filter(|graph| !graph.node.is_empty())
        .ok_or_else(|| Error::file(path, "an ONNX file without a graph"))?;
    let Some(output) = graph.output.first().map(|output| output.name.clone()) else {
        return Err(Error::file(path, "an ONNX graph without an output; expected the logits"));
    };
    if graph.output.len() > 1 {
        notes.push(format!("the graph has {} outputs; '{output}', the first, is taken", graph.output.len()));
    }
    let needed = needed(&graph, &output);
    let mut follower = state::Follower::new(path, length);
    follower.constants(std::mem::take(&mut graph.initializer), |name| needed.names.contains(name))?;
    follower.picture(&graph.input, |name| needed.names.contains(name), options.image)?;
    for (index, node) in graph.node.iter().enumerate().filter(|(index, _)| needed.nodes.contains(index)) {
        follow::node(&mut follower, index, node)
            .map_err(|message| Error::file(path, format!("{}: {message}", label(node))))?;
    }
    let chain = follower.finish(&output).map_err(|message| Error::file(path, message))?;
    let network = recognise::network(chain).map_err(|(node, message)| {
        let label = graph.node.get(node).map_or("the graph's input".into(), label);
        Error::file(path, format!("{label}: {message}"))
    })?;
    let parameters = network.parameters();
    Ok(Checkpoint { network, format: Format::Onnx, parameters, notes, onnx: Some(path.to_path_buf()) })
}

const OLDEST_OPSET: i64 = 13;
const NEWEST_OPSET: i64 = 20;

/// Checks the opset; a newer one than was tried gives a note.
fn opset(path: &Path, model: &ModelProto) -> Result<Vec<String>> {
    let standard = model.opset_import.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx");
    let version = standard.map_or(0, |set| set.version);
    if version < OLDEST_OPSET {
        let message = format!("ONNX opset {version}; expected {OLDEST_OPSET} to {NEWEST_OPSET}");
        return Err(Error::file(path, message));
    }
    if version > NEWEST_OPSET {
        return Ok(vec![format!("ONNX opset {version} is newer than {NEWEST_OPSET}, the newest that was tried")]);
    }
    Ok(Vec::new())
}

/// Nodes and names that the output depends on.
struct Needed {
    nodes: HashSet<usize>,
    names: HashSet<String>,
}

fn needed(graph: &GraphProto, output: &str) -> Needed {
    let mut needed = Needed { nodes: HashSet::new(), names: HashSet::from([output.to_string()]) };
    for (index, node) in graph.node.iter().enumerate().rev() {
        if node.output.iter().any(|name| needed.names.contains(name)) {
            needed.nodes.insert(index);
            needed.names.extend(node.input.iter().cloned());
        }
    }
    needed
}

/// How messages call a node.
fn label(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first().map_or("", String::as_str) } else { &node.name };
    format!("node '{name}' ({})", node.op_type)
}
