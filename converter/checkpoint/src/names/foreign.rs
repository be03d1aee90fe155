//! Identifies checkpoints that are not a ResMLP, and layers that people add to one.

use super::reason::NamesReason;
use super::take::Taker;
use crate::error::{Error, Result};
use std::path::Path;

/// Parts of tensor names that no ResMLP has, each with the layer or the kind of network that has it.
const MARKS: [(&str, &str); 18] = [
    ("lora_A", LORA),
    ("lora_B", LORA),
    ("lora_up", LORA),
    ("lora_down", LORA),
    ("_flat_param", "parameters flattened by FSDP; save a full state_dict (StateDictType.FULL_STATE_DICT)"),
    ("attn.qkv", "self-attention, as in a vision transformer"),
    ("attn.q.", "attention, as in CaiT"),
    ("attn.proj", "self-attention, as in a vision transformer"),
    ("self_attn", "self-attention"),
    ("self_attention", "self-attention, as in torchvision's vision transformer"),
    ("attention.", "self-attention"),
    ("to_qkv", "self-attention, as in a vision transformer"),
    ("mlp_tokens", MIXER),
    ("gate.proj", GATE),
    ("sgu.", GATE),
    ("spatial_proj", GATE),
    ("cls_token", "a class token, as in a vision transformer"),
    ("running_mean", "batch normalisation, as in a convolutional network"),
];

const LORA: &str = "a LoRA adapter, which holds only changes to a network; merge it into its network with \
                    merge_and_unload() and save that network's state_dict";
const MIXER: &str = "an MLP across patches, as in MLP-Mixer; a ResMLP has one linear layer";
const GATE: &str = "a gating unit, as in gMLP";

/// Parts of the names of layers that people add to a ResMLP, each with a description of the layer.
const ADDITIONS: [(&str, &str); 8] = [
    ("pos_embed", "a position embedding"),
    ("position", "a position embedding"),
    ("cls_token", "a class token"),
    ("dist_token", "a distillation token"),
    ("fc_norm", "a normalisation in front of the classifier"),
    ("head_dist", "a second classifier, for distillation"),
    ("running_mean", "batch normalisation"),
    ("running_var", "batch normalisation"),
];

/// Returns a description of an unexpected tensor by its `name`, or `None` if the name is unknown.
pub(super) fn addition(name: &str) -> Option<&'static str> {
    ADDITIONS.iter().chain(&MARKS).find(|(mark, _)| name.contains(mark)).map(|(_, meaning)| *meaning)
}

/// Returns the reason that refuses `names` if one of them belongs to another kind of network.
pub(super) fn found<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<NamesReason> {
    MARKS.iter().find_map(|(mark, meaning)| {
        let name = names.clone().find(|name| name.contains(mark))?;
        Some(NamesReason::Foreign { name: name.to_string(), meaning })
    })
}

/// Returns the error for a checkpoint whose names no dialect explains.
pub(super) fn error(path: &Path, taker: &Taker) -> Error {
    let names = || taker.names().map(String::as_str);
    if let Some(reason) = found(names()) {
        return Error::file(path, reason);
    }
    if let Some(name) = token_mlp(names()) {
        return Error::file(path, NamesReason::Foreign { name: name.into(), meaning: MIXER });
    }
    if let Some((name, [classes, dim])) = only_head(taker) {
        return Error::file(path, NamesReason::OnlyHead { name: taker.file_name(name), classes, dim });
    }
    let count = names().count();
    if count == 0 {
        return Error::file(path, NamesReason::NoTensors);
    }
    if let Some(name) = layer_norm(names()) {
        return Error::file(path, NamesReason::LayerNorm { name: name.into() });
    }
    let is_matrix = |shape: &[usize]| shape.len() == 2 || shape.len() == 3 && shape[2] == 1;
    let matrices = || taker.shapes().filter(|(_, shape)| is_matrix(shape) && !shape.contains(&1));
    if matrices().count() >= 4 && matrices().all(|(_, shape)| shape[0] != shape[1]) {
        return Error::file(path, NamesReason::NoSquare { count, first: first(names()) });
    }
    Error::file(path, NamesReason::Unknown { count, first: first(names()) })
}

/// Returns the first name of an MLP across patches, which is a module called `token_mix…` with more than one weight.
fn token_mlp<'a>(names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut before: Option<(&str, &str)> = None;
    for name in names.filter(|name| name.ends_with(".weight")) {
        let Some(at) = name.find("token_mix") else { continue };
        let end = name[at..].find('.').map_or(name.len(), |length| at + length);
        match before {
            Some((module, first)) if module == &name[..end] => return Some(first),
            _ => before = Some((&name[..end], name)),
        }
    }
    None
}

/// Returns the first name of a layer normalisation, or `None` if any name looks like that of an Aff.
fn layer_norm<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    const AFF: [&str; 7] = ["alpha", "beta", "g", "b", "gamma", "ww", "bb"];
    let is_aff = |name: &str| AFF.contains(&name.rsplit('.').next().unwrap_or(name)) || name.contains("aff");
    let is_norm = |name: &str| {
        let module = name.strip_suffix(".weight").map(|module| module.rsplit('.').next().unwrap_or(module));
        module.is_some_and(|module| module.trim_end_matches(|c: char| c.is_ascii_digit()).ends_with("norm"))
    };
    match names.clone().any(is_aff) {
        true => None,
        false => names.into_iter().find(|name| is_norm(name)),
    }
}

fn first<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.take(4).collect::<Vec<_>>().join(", ")
}

/// Returns the name and the shape of the weights if the tensors are one linear layer and nothing else.
pub(super) fn only_head<'a>(taker: &'a Taker) -> Option<(&'a String, [usize; 2])> {
    let mut shapes = taker.shapes().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let (Some(bias), Some(weight), None) = (shapes.next(), shapes.next(), shapes.next()) else {
        return None;
    };
    let module = weight.0.strip_suffix("weight")?;
    let &[classes, dim] = weight.1 else {
        return None;
    };
    (bias.0.strip_suffix("bias") == Some(module) && bias.1 == [classes]).then_some((weight.0, [classes, dim]))
}

/// Refuses tensors behind `prefix` whose names belong to another kind of network.
///
/// Names for which `skip` returns true are not examined.
///
/// # Errors
/// Returns an error that names the first such tensor.
pub(super) fn refuse(path: &Path, taker: &Taker, prefix: &str, skip: impl Fn(&str) -> bool) -> Result<()> {
    let names: Vec<_> = taker.names().filter(|name| name.starts_with(prefix) && !skip(name)).collect();
    let behind = names.iter().map(|name| &name[prefix.len()..]);
    match found(behind) {
        Some(NamesReason::Foreign { name, meaning }) => {
            let name = taker.file_name(&format!("{prefix}{name}"));
            Err(Error::file(path, NamesReason::Foreign { name, meaning }))
        }
        _ => Ok(()),
    }
}
