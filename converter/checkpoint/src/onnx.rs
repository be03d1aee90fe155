//! Reads ONNX graphs: follows the picture through the graph and recognises the network by what is done to it.
//!
//! Names mean nothing here. [`follow`] runs the graph on symbols: it knows of every tensor which axis of the network
//! (rows and columns of the picture, channels) each of its dimensions holds, computes the constant parts, and
//! writes down the rest as a chain of linear layers, scales, shifts, activation functions and sums. [`recognise`] reads
//! that chain.

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
mod recognise;
mod shape_ops;
mod state;

use crate::checkpoint::{Checkpoint, Format, LoadOptions};
use crate::error::{Error, Result};
use bytes::Bytes;
use external::External;
use graph::{Needed, label};
use input::PictureInput;
pub use judge::{OnnxGraph, OnnxInput};
use prost::Message;
use proto::{GraphProto, ModelProto};
use resmlp_network::Network;
use state::{Follower, Value};
use std::path::Path;
use std::rc::Rc;

/// Whether a file's first bytes are those of an ONNX model, which begins with its IR version.
pub(crate) fn begins_like_onnx(start: &[u8]) -> bool {
    matches!(start, [0x08, 1..=30, ..])
}

/// Reads the ONNX model in `bytes`, the contents of `path`.
pub(crate) fn load(path: &Path, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let fail = |message: String| Error::file(path, message);
    refuse_other_flags(options).map_err(fail)?;
    let length = bytes.len();
    prescan::check(&bytes).map_err(|error| fail(error.to_string()))?;
    let mut model =
        ModelProto::decode(Bytes::from(bytes)).map_err(|_| fail(prescan::PrescanError::Damaged.to_string()))?;
    let (opset, mut notes) = opset(&model).map_err(fail)?;
    let graph = model.graph.take().filter(|graph| !graph.node.is_empty());
    let mut graph = graph.ok_or_else(|| fail("an ONNX file without a graph".into()))?;
    let names = output_names(&graph, options.output.as_deref()).map_err(fail)?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let needed = graph::needed(&graph, &names).map_err(|error| fail(error.to_string()))?;
    check_functions(&model, &graph, &needed).map_err(fail)?;
    let external = bring_in(path, &mut graph, &needed)?;
    let input = picture(path, &graph, &needed, options.image)?;
    if input.batch > 1 {
        notes.push(format!("the graph is for {} pictures at once; the network is read for one", input.batch));
    }

    let mut follower = Follower::new(opset, input.clone(), length.saturating_add(external));
    follow_all(path, &mut follower, &graph, &needed)?;
    let at_node = |(node, message): (usize, String)| {
        let place = graph.node.get(node).map_or("the graph's input".into(), label);
        fail(format!("{place}: {message}"))
    };
    let (output, said) = outputs::choose(&follower, &names).map_err(|(node, message)| match node {
        Some(node) => at_node((node, message)),
        None => fail(message),
    })?;
    notes.extend(said);
    let normalisation = normalisation::read(follower.pixels, input.integers).map_err(fail)?;
    let Follower { exprs, patch, channels, .. } = follower;
    let mut network = recognise::network(exprs, output.id, input.image, patch, channels).map_err(at_node)?;
    if let Some(normalisation) = &normalisation {
        notes.push(format!(
            "the graph's arithmetic on its pixels is read as mean {:?} and standard deviation {:?} of pixels from 0 to 1",
            normalisation.mean, normalisation.std
        ));
        negate_colours(&mut network, normalisation.negative);
    }
    check(&network, options).map_err(fail)?;

    let pruned = graph::needed(&graph, &[&output.value]).map_err(|error| fail(error.to_string()))?;
    let judge = OnnxGraph::new(graph::pruned(&model, &graph, &output.value, &pruned), input, normalisation.as_ref());
    let onnx = match (options.embedding, network.head.is_some()) {
        (true, true) => {
            notes.push("the classifier is left out".into());
            network.head = None;
            None
        }
        _ => Some(judge),
    };
    let normalisation = normalisation.map(|normalisation| (normalisation.mean, normalisation.std));
    Ok(Checkpoint { parameters: network.parameters(), network, format: Format::Onnx, notes, onnx, normalisation })
}

/// Refuses flags that only make sense for named tensors.
fn refuse_other_flags(options: &LoadOptions) -> std::result::Result<(), String> {
    let flags =
        [("--key", options.key.is_some()), ("--names", options.names.is_some()), ("--head", options.head.is_some())];
    match flags.iter().find(|(_, is_given)| *is_given) {
        Some((flag, _)) => Err(format!("{flag} is for files of named tensors; an ONNX graph holds the whole network")),
        None => Ok(()),
    }
}

const OLDEST_OPSET: i64 = 9;
const NEWEST_OPSET: i64 = 20;

/// The version of ONNX's own operators; a newer one than was tried gives a note.
fn opset(model: &ModelProto) -> std::result::Result<(i64, Vec<String>), String> {
    let mut versions = model.opset_import.iter().filter(|set| graph::is_standard(&set.domain)).map(|set| set.version);
    let version = versions.next().unwrap_or(0);
    if versions.any(|other| other != version) {
        return Err("two versions of ONNX's operators; expected one".into());
    }
    if version < OLDEST_OPSET {
        return Err(format!("ONNX opset {version}; expected {OLDEST_OPSET} to {NEWEST_OPSET}"));
    }
    let mut notes = Vec::new();
    if version > NEWEST_OPSET {
        notes.push(format!("ONNX opset {version} is newer than {NEWEST_OPSET}, the newest that was tried"));
    }
    Ok((version, notes))
}

/// Most outputs among which the logits are looked for.
const MOST_OUTPUTS: usize = 1000;

/// The outputs that may be read: all, or the one that the caller names.
fn output_names(graph: &GraphProto, wanted: Option<&str>) -> std::result::Result<Vec<String>, String> {
    let names: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    match wanted {
        None if names.len() <= MOST_OUTPUTS => Ok(names),
        None => Err(format!("{} outputs; name one with --output", names.len())),
        Some(wanted) if names.iter().any(|name| name == wanted) => Ok(vec![wanted.into()]),
        Some(wanted) => Err(format!("no output '{wanted}'; the graph's outputs are {}", graph::brief(&names))),
    }
}

/// Refuses nodes whose operator the file defines itself, even one with the name of ONNX's own.
fn check_functions(model: &ModelProto, graph: &GraphProto, needed: &Needed) -> std::result::Result<(), String> {
    let own: std::collections::HashSet<_> =
        model.functions.iter().map(|function| (function.domain.as_str(), function.name.as_str())).collect();
    let mut nodes = needed.nodes.iter().filter_map(|index| graph.node.get(*index));
    match nodes.find(|node| own.contains(&(node.domain.as_str(), node.op_type.as_str()))) {
        Some(node) => {
            let advice = "expected ONNX's own operators (onnx.inliner.inline_local_functions writes such a file)";
            Err(format!("{}: an operator that the file defines itself; {advice}", label(node)))
        }
        None => Ok(()),
    }
}

/// Reads the numbers that lie in files beside the model into the graph; gives the number of those files' bytes.
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
        outcome.map_err(|message| Error::file(path, format!("{}: {message}", label(node))))?;
    }
    Ok(usize::try_from(external.total()).unwrap_or(usize::MAX))
}

/// The one input that is no constant: the picture.
fn picture(path: &Path, graph: &GraphProto, needed: &Needed, image: Option<[usize; 2]>) -> Result<PictureInput> {
    let [index] = needed.inputs.as_slice() else {
        let message = format!("{} inputs; expected one, [batch, 3, height, width]", needed.inputs.len());
        return Err(Error::file(path, message));
    };
    let input = graph.input.get(*index).ok_or_else(|| Error::file(path, "an input that is missing"))?;
    PictureInput::read(input, image).map_err(|message| Error::tensor(path, &input.name, message))
}

/// Follows the constants, the picture and the nodes.
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

/// Changes the sign of the embedding's weights for colours that the graph negates.
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

/// Checks that the weights are finite and that the caller expects this activation function.
fn check(network: &Network, options: &LoadOptions) -> std::result::Result<(), String> {
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
        return Err("weights that are not finite once the graph's constants are multiplied out".into());
    }
    match options.activation {
        Some(wanted) if wanted != network.activation => {
            Err(format!("the graph applies {}; --activation says {}", network.activation.name(), wanted.name()))
        }
        _ => Ok(()),
    }
}
