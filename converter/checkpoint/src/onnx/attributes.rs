//! Reads the attributes of a node, and lists the operators and attributes that the reader knows.

use super::graph::{brief, is_standard, short};
use super::proto::AttributeType::{Float, Floats, Int, Ints, String as Text, Tensor};
use super::proto::{AttributeProto, AttributeType, NodeProto};
use std::collections::HashSet;

/// A known operator: its name, the largest number of its inputs, and its attributes.
type Known = (&'static str, usize, &'static [(&'static str, AttributeType)]);

/// Largest number of inputs of an operator that takes any number of them.
const ANY: usize = usize::MAX;

/// ONNX's own operators.
const STANDARD: &[Known] = &[
    ("Abs", 1, &[]),
    ("Add", 2, &[]),
    (
        "AveragePool",
        1,
        &[
            ("auto_pad", Text),
            ("ceil_mode", Int),
            ("count_include_pad", Int),
            ("dilations", Ints),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
    ),
    ("Cast", 1, &[("to", Int), ("saturate", Int), ("round_mode", Text)]),
    ("CastLike", 2, &[("saturate", Int), ("round_mode", Text)]),
    ("Clip", 3, &[("min", Float), ("max", Float)]),
    ("Concat", ANY, &[("axis", Int)]),
    (
        "Constant",
        0,
        &[
            ("value", Tensor),
            ("value_float", Float),
            ("value_floats", Floats),
            ("value_int", Int),
            ("value_ints", Ints),
        ],
    ),
    ("ConstantOfShape", 1, &[("value", Tensor)]),
    (
        "Conv",
        3,
        &[
            ("auto_pad", Text),
            ("dilations", Ints),
            ("group", Int),
            ("kernel_shape", Ints),
            ("pads", Ints),
            ("strides", Ints),
        ],
    ),
    ("Div", 2, &[]),
    ("Dropout", 3, &[("ratio", Float), ("seed", Int)]),
    ("Einsum", 2, &[("equation", Text)]),
    ("Equal", 2, &[]),
    ("Erf", 1, &[]),
    ("Expand", 2, &[]),
    ("Flatten", 1, &[("axis", Int)]),
    ("Floor", 1, &[]),
    ("Gather", 2, &[("axis", Int)]),
    ("Gelu", 1, &[("approximate", Text)]),
    ("Gemm", 3, &[("alpha", Float), ("beta", Float), ("transA", Int), ("transB", Int)]),
    ("GlobalAveragePool", 1, &[]),
    ("Identity", 1, &[]),
    ("LogSoftmax", 1, &[("axis", Int)]),
    ("MatMul", 2, &[]),
    ("Max", ANY, &[]),
    ("Min", ANY, &[]),
    ("Mul", 2, &[]),
    ("Neg", 1, &[]),
    ("Pow", 2, &[]),
    ("Range", 3, &[]),
    ("Reciprocal", 1, &[]),
    ("ReduceMean", 2, &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)]),
    ("ReduceProd", 2, &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)]),
    ("ReduceSum", 2, &[("axes", Ints), ("keepdims", Int), ("noop_with_empty_axes", Int)]),
    ("Relu", 1, &[]),
    ("Reshape", 2, &[("allowzero", Int)]),
    ("Shape", 1, &[("start", Int), ("end", Int)]),
    ("Sigmoid", 1, &[]),
    ("Size", 1, &[]),
    ("Slice", 5, &[("axes", Ints), ("starts", Ints), ("ends", Ints)]),
    ("Softmax", 1, &[("axis", Int)]),
    ("Split", 2, &[("axis", Int), ("split", Ints), ("num_outputs", Int)]),
    ("Sqrt", 1, &[]),
    ("Squeeze", 2, &[("axes", Ints)]),
    ("Sub", 2, &[]),
    ("Sum", ANY, &[]),
    ("Tanh", 1, &[]),
    ("Tile", 2, &[]),
    ("Transpose", 1, &[("perm", Ints)]),
    ("Unsqueeze", 2, &[("axes", Ints)]),
    ("Where", 3, &[]),
];

/// Operators that ONNX Runtime's optimiser writes.
const MICROSOFT: &[Known] = &[
    ("BiasGelu", 2, &[]),
    ("FastGelu", 2, &[]),
    (
        "FusedMatMul",
        2,
        &[("alpha", Float), ("transA", Int), ("transB", Int), ("transBatchA", Int), ("transBatchB", Int)],
    ),
    ("Gelu", 1, &[]),
];

/// Checks that the node's operator, the number of its inputs and all its attributes are known, so that the reader never
/// guesses a meaning.
pub(super) fn check(node: &NodeProto) -> Result<(), String> {
    if ["Quantize", "QLinear", "Dequantize", "Integer", "NBits"].iter().any(|word| node.op_type.contains(word)) {
        return Err("a quantised graph; expected the one of floats that it was made from".into());
    }
    let known = match node.domain.as_str() {
        domain if is_standard(domain) => find(STANDARD, &node.op_type).ok_or_else(|| unknown(node))?,
        "com.microsoft" | "com.microsoft.nchwc" => find(MICROSOFT, &node.op_type).ok_or(
            "an operator that ONNX Runtime's optimiser made; expected the file before ONNX Runtime optimised it",
        )?,
        domain => return Err(format!("an operator of the domain '{}'; expected ONNX's own", short(domain))),
    };
    let (_, inputs, attributes) = *known;
    if node.input.len() > inputs {
        return Err(format!("{} inputs; expected at most {inputs}", node.input.len()));
    }
    let mut met = HashSet::new();
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        let Some((_, kind)) = attributes.iter().find(|(known, _)| *known == name) else {
            return Err(format!("the attribute '{}', which this program does not know for this operator", short(name)));
        };
        if attribute.r#type != AttributeType::Undefined as i32 && attribute.r#type != *kind as i32 {
            return Err(format!("the attribute '{name}' of another type; expected {}", kind.as_str_name()));
        }
        if !met.insert(name) {
            return Err(format!("the attribute '{name}' twice; expected it once"));
        }
    }
    Ok(())
}

fn find(operators: &'static [Known], name: &str) -> Option<&'static Known> {
    operators.iter().find(|(known, ..)| *known == name)
}

/// Returns the message about an operator that a ResMLP does not have.
fn unknown(node: &NodeProto) -> String {
    match node.op_type.as_str() {
        "If" | "Loop" | "Scan" => "a sub-graph; expected a graph without control flow".into(),
        _ => NO_SUCH_OPERATOR.into(),
    }
}

/// The message about an operator that has no place in a ResMLP.
pub(super) const NO_SUCH_OPERATOR: &str = "not a ResMLP: it has no such operator";

/// Returns the attribute called `name`, if the node has it.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Returns an integer attribute, or `default` if the node does not have it.
pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

/// Returns whether an integer attribute, 0 by default, is other than 0.
pub(super) fn flag(node: &NodeProto, name: &str) -> bool {
    int(node, name, 0) != 0
}

/// Returns a float attribute, or `default` if the node does not have it.
pub(super) fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |attribute| attribute.f)
}

/// Returns an attribute that is a list of integers, if the node has it.
pub(super) fn ints<'a>(node: &'a NodeProto, name: &str) -> Option<&'a [i64]> {
    attribute(node, name).map(|attribute| attribute.ints.as_slice())
}

/// Returns a text attribute, or the empty text if the node does not have it.
pub(super) fn text<'a>(node: &'a NodeProto, name: &str) -> &'a str {
    attribute(node, name).and_then(|attribute| std::str::from_utf8(&attribute.s).ok()).unwrap_or("")
}

/// Returns the index of dimension `axis` of a tensor with `rank` dimensions. A negative `axis` counts from the end.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let signed = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    usize::try_from(signed)
        .ok()
        .filter(|axis| *axis < rank)
        .ok_or_else(|| format!("axis {axis} of a tensor with {rank} dimensions"))
}

/// Returns the indices of several dimensions of a tensor with `rank` dimensions, which must all differ.
pub(super) fn axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let found = axes.iter().map(|one| axis(*one, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut met = vec![false; rank];
    for axis in &found {
        if met.get_mut(*axis).is_none_or(|met| std::mem::replace(met, true)) {
            return Err(format!("the axes {}, one of which comes twice", brief(axes)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_nobody_knows_is_refused() {
        let attribute = |name: &str, kind| AttributeProto { name: name.into(), r#type: kind, ..Default::default() };
        let node = |attributes: &[AttributeProto]| NodeProto {
            op_type: "Transpose".into(),
            attribute: attributes.to_vec(),
            ..Default::default()
        };
        let (perm, axis, text) = (attribute("perm", 7), attribute("axis", 2), attribute("perm", 3));
        assert_eq!(check(&node(std::slice::from_ref(&perm))), Ok(()));
        assert!(check(&node(&[axis])).unwrap_err().contains("'axis', which this program does not know"));
        assert!(check(&node(&[text])).unwrap_err().contains("of another type; expected INTS"));
        assert!(check(&node(&[perm.clone(), perm])).unwrap_err().contains("twice"));
    }
}
