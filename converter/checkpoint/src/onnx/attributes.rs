//! Attributes of a node, with the defaults that ONNX gives them.

use super::proto::{AttributeProto, NodeProto};

fn find<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// The attribute itself.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    find(node, name)
}

/// An integer attribute.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    find(node, name).map_or(default, |attribute| attribute.i)
}

/// A float attribute.
pub(super) fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    find(node, name).map_or(default, |attribute| attribute.f)
}

/// A list of integers, if the node has it.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    find(node, name).map(|attribute| attribute.ints.as_slice())
}

/// A text, empty if the node has none.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str) -> &'a str {
    find(node, name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok()).unwrap_or("")
}

/// `axis` of a tensor of `rank` dimensions, counted from the end if negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let signed = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(signed)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} of a tensor with {rank} dimensions"))
}
