//! Reads ONNX graphs: follows the picture through the graph and recognises the network by what the graph does to it.
//!
//! The names of nodes and tensors mean nothing here. `follow` runs the graph on symbols. For every tensor it tracks
//! which axis of the network (rows or columns of the picture, or channels) each dimension holds. It computes the
//! constant parts, and records the rest as linear layers, scales, shifts, activation functions and sums. `recognise`
//! reads the network off that record.

mod arithmetic;
mod attributes;
mod constant;
mod constant_moves;
mod constant_ops;
mod conv;
mod einsum;
mod expr;
mod external;
mod fold;
mod follow;
mod gelu;
mod graph;
mod input;
pub(crate) mod judge;
mod layout;
mod linear;
mod normalisation;
mod outputs;
mod parts;
mod pooling;
mod prescan;
pub mod proto;
mod reason;
mod recognise;
mod shape_ops;
mod slices;
mod state;

use crate::checkpoint::{Checkpoint, Format, LoadOptions};
use crate::error::{Error, Result};
use bytes::Bytes;
use external::External;
pub use graph::GraphError;
use graph::{Needed, label};
use input::PictureInput;
pub use judge::{OnnxGraph, OnnxInput};
use outputs::NoOutput;
pub use prescan::PrescanError;
use prost::Message;
use proto::{GraphProto, ModelProto};
pub use reason::OnnxReason;
use reason::{NEWEST_OPSET, OLDEST_OPSET};
use resmlp_network::Network;
use state::{Follower, Value};
use std::path::Path;
use std::rc::Rc;

/// Returns whether a file's first bytes are those of an ONNX model, which begins with its IR version.
pub(crate) fn begins_like_onnx(start: &[u8]) -> bool {
    matches!(start, [0x08, 1..=30, ..])
}

/// Reads the ONNX model in `bytes`, the contents of `path`.
pub(crate) fn load(path: &Path, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let fail = |reason: OnnxReason| Error::file(path, reason);
    refuse_other_flags(options).map_err(fail)?;
    let length = bytes.len();
    let (model, mut graph) = decoded(bytes).map_err(fail)?;
    let (opset, mut notes) = opset(&model).map_err(fail)?;
    let names = output_names(&graph, options.output.as_deref()).map_err(fail)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let needed = graph::needed(&graph, &names).map_err(|error| fail(error.into()))?;
    check_functions(&model, &graph, &needed).map_err(fail)?;
    let external = bring_in(path, &mut graph, &needed)?;
    let input = picture(path, &graph, &needed, options.image)?;
    if input.batch > 1 {
        notes.push(format!("the graph is for {} pictures at once; the network is read for one", input.batch));
    }

    let mut follower = Follower::new(opset, input.clone(), length.saturating_add(external));
    follow_all(path, &mut follower, &graph, &needed)?;
    let at_node = |index: usize, problem: String| {
        let node = graph.node.get(index).map_or("the graph".into(), label);
        fail(OnnxReason::Node { node, problem })
    };
    let (output, said) = outputs::choose(&follower, &names).map_err(|error| match error {
        NoOutput::Failed(failure) => at_node(failure.node, failure.message.clone()),
        NoOutput::Other(reason) => fail(reason),
    })?;
    notes.extend(said);
    let normalisation =
        normalisation::read(follower.pixels, input.integers).map_err(|problem| fail(OnnxReason::Pixels(problem)))?;
    let Follower { exprs, patch, channels, .. } = follower;
    let network = recognise::network(exprs, output.id, input.image, patch, channels);
    let mut network = network.map_err(|(index, problem)| at_node(index, problem))?;
    if let Some(normalisation) = &normalisation {
        notes.push(format!(
            "the graph's arithmetic on its pixels is read as mean {:?} and standard deviation {:?} of pixels from 0 to 1",
            normalisation.mean, normalisation.std
        ));
        negate_colours(&mut network, normalisation.negative);
    }
    check(&network, options).map_err(fail)?;

    let pruned = graph::needed(&graph, &[&output.value]).map_err(|error| fail(error.into()))?;
    let pruned = graph::pruned(&model, &graph, &output.value, &pruned);
    let mut onnx = Some(OnnxGraph::new(pruned, input, normalisation.as_ref()));
    if options.embedding && network.head.take().is_some() {
        notes.push("the classifier is left out".into());
        onnx = None; // The graph still computes the classifier, so its output is not the network's.
    }
    let normalisation = normalisation.map(|normalisation| (normalisation.mean, normalisation.std));
    let (parameters, format, bytes) = (network.parameters(), Format::Onnx, length.saturating_add(external) as u64);
    Ok(Checkpoint { network, format, parameters, notes, onnx, bytes, normalisation })
}

/// Decodes a file and returns the model without its graph, and the graph.
fn decoded(bytes: Vec<u8>) -> std::result::Result<(ModelProto, GraphProto), OnnxReason> {
    prescan::check(&bytes)?;
    let mut model = ModelProto::decode(Bytes::from(bytes)).map_err(|_| PrescanError::Damaged)?;
    let graph = model.graph.take().filter(|graph| !graph.node.is_empty());
    Ok((model, graph.ok_or(OnnxReason::NoGraph)?))
}

/// Refuses flags that only make sense for named tensors.
fn refuse_other_flags(options: &LoadOptions) -> std::result::Result<(), OnnxReason> {
    let flags =
        [("--key", options.key.is_some()), ("--names", options.names.is_some()), ("--head", options.head.is_some())];
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(OnnxReason::Flag(flag)),
        None => Ok(()),
    }
}

/// Returns the version of ONNX's own operators, and a note if that version is newer than any that was tried.
fn opset(model: &ModelProto) -> std::result::Result<(i64, Vec<String>), OnnxReason> {
    let mut versions = model.opset_import.iter().filter(|set| graph::is_standard(&set.domain)).map(|set| set.version);
    let version = versions.next().unwrap_or(0);
    if versions.any(|other| other != version) {
        return Err(OnnxReason::TwoOpsets);
    }
    if version < OLDEST_OPSET {
        return Err(OnnxReason::Opset(version));
    }
    let mut notes = Vec::new();
    if version > NEWEST_OPSET {
        notes.push(format!("ONNX opset {version} is newer than {NEWEST_OPSET}, the newest that was tried"));
    }
    Ok((version, notes))
}

/// Largest number of outputs among which the reader looks for the logits.
const MOST_OUTPUTS: usize = 1000;

/// Returns the names of the outputs that may hold the logits: the one that the caller names, or else all of them.
fn output_names(graph: &GraphProto, wanted: Option<&str>) -> std::result::Result<Vec<String>, OnnxReason> {
    let names: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    match wanted {
        None if names.len() <= MOST_OUTPUTS => Ok(names),
        None => Err(OnnxReason::ManyOutputs(names.len())),
        Some(wanted) if names.iter().any(|name| name == wanted) => Ok(vec![wanted.into()]),
        Some(wanted) => Err(OnnxReason::UnknownOutput { wanted: wanted.into(), found: graph::brief(&names) }),
    }
}

/// Refuses nodes whose operator the file defines itself, even if ONNX has an operator of the same name.
fn check_functions(model: &ModelProto, graph: &GraphProto, needed: &Needed) -> std::result::Result<(), OnnxReason> {
    let own: std::collections::HashSet<_> =
        model.functions.iter().map(|function| (function.domain.as_str(), function.name.as_str())).collect();
    let mut nodes = needed.nodes.iter().filter_map(|index| graph.node.get(*index));
    match nodes.find(|node| own.contains(&(node.domain.as_str(), node.op_type.as_str()))) {
        Some(node) => {
            let problem = "an operator that the file defines itself; expected ONNX's own operators \
                           (onnx.inliner.inline_local_functions writes such a file)";
            Err(OnnxReason::Node { node: label(node), problem: problem.into() })
        }
        None => Ok(()),
    }
}

/// Reads the numbers that lie in files beside the model into the graph, and returns the size of those files in bytes.
fn bring_in(path: &Path, graph: &mut GraphProto, needed: &Needed) -> Result<usize> {
    let mut external = External::beside(path);
    for index in &needed.constants {
        let Some(tensor) = graph.initializer.get_mut(*index) else { continue };
        external.bring_in(tensor).map_err(|message| Error::tensor(path, &tensor.name, message))?;
    }
    for index in &needed.nodes {
        let Some(node) = graph.node.get_mut(*index) else { continue };
        let mut tensors = node.attribute.iter_mut().filter_map(|attribute| attribute.t.as_deref_mut());
        let outcome = tensors.try_for_each(|tensor| external.bring_in(tensor));
        outcome.map_err(|problem| Error::file(path, OnnxReason::Node { node: label(node), problem }))?;
    }
    Ok(usize::try_from(external.total()).unwrap_or(usize::MAX))
}

/// Returns the picture: the one input of the graph that is not a constant.
fn picture(path: &Path, graph: &GraphProto, needed: &Needed, image: Option<[usize; 2]>) -> Result<PictureInput> {
    let inputs: Vec<_> = needed.inputs.iter().filter_map(|index| graph.input.get(*index)).collect();
    let [input] = inputs.as_slice() else {
        return Err(Error::file(path, OnnxReason::Inputs(inputs.len())));
    };
    PictureInput::read(input, image).map_err(|message| Error::tensor(path, &input.name, message))
}

/// Runs the follower over the constants, then the picture, then the nodes.
fn follow_all(path: &Path, follower: &mut Follower, graph: &GraphProto, needed: &Needed) -> Result<()> {
    for tensor in needed.constants.iter().filter_map(|index| graph.initializer.get(*index)) {
        let constant = follower.constant(tensor).map_err(|message| Error::tensor(path, &tensor.name, message))?;
        follower.values.insert(tensor.name.clone(), Value::Constant(Rc::new(constant)));
    }
    for input in needed.inputs.iter().filter_map(|index| graph.input.get(*index)) {
        follower.picture(&input.name);
    }
    for index in &needed.nodes {
        if let Some(node) = graph.node.get(*index) {
            follow::node(follower, *index, node);
        }
    }
    Ok(())
}

/// Changes the sign of the patch embedding's weights for the colours that the graph negates.
fn negate_colours(network: &mut Network, negative: [bool; 3]) {
    let area = network.patch * network.patch;
    for row in 0..network.stem.weight.rows {
        for (column, weight) in network.stem.weight.row_mut(row).iter_mut().enumerate() {
            if negative.get(column / area).copied().unwrap_or(false) {
                *weight = -*weight;
            }
        }
    }
}

/// Checks that the weights are finite. If the caller states an activation function, the network must have the same one.
fn check(network: &Network, options: &LoadOptions) -> std::result::Result<(), OnnxReason> {
    let linear = |layer: &resmlp_network::Linear| layer.weight.data.iter().chain(&layer.bias).all(|w| w.is_finite());
    let affine = |affine: &resmlp_network::Affine| affine.alpha.iter().chain(&affine.beta).all(|w| w.is_finite());
    let block = |block: &resmlp_network::Block| {
        [&block.mix, &block.expand, &block.contract].into_iter().all(linear)
            && [&block.mix_affine, &block.mlp_affine].into_iter().all(affine)
            && block.mix_scale.iter().chain(&block.mlp_scale).all(|w| w.is_finite())
    };
    let is_finite = linear(&network.stem)
        && network.blocks.iter().all(block)
        && affine(&network.final_affine)
        && network.head.as_ref().is_none_or(linear);
    if !is_finite {
        return Err(OnnxReason::NotFinite);
    }
    match options.activation {
        Some(wanted) if wanted != network.activation => {
            Err(OnnxReason::Activation { found: network.activation.name(), wanted: wanted.name() })
        }
        _ => Ok(()),
    }
}
