//! Damages a graph so that its function changes.

use super::{Rewriter, ints};

/// Chooses a constant of floats that some node reads, and returns its index among the initialisers.
fn some_constant(r: &mut Rewriter) -> Option<usize> {
    let graph = r.model.graph.as_ref()?;
    let read: std::collections::HashSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    let is_read = |at: &usize| {
        let tensor = &graph.initializer[*at];
        tensor.data_type == 1 && read.contains(&tensor.name)
    };
    let found: Vec<usize> = (0..graph.initializer.len()).filter(is_read).collect();
    if found.is_empty() { None } else { Some(found[r.below(found.len())]) }
}

pub(super) fn constant_changed(r: &mut Rewriter) -> bool {
    let Some(at) = some_constant(r) else { return false };
    let name = r.graph().initializer[at].name.clone();
    let (_, mut data) = r.floats(&name).unwrap();
    let by = r.random.uniform(0.1, 0.9);
    match r.below(2) {
        // Either all numbers of the constant change, or one of them.
        0 => data.iter_mut().for_each(|value| *value = *value * (1.0 + by) + by),
        _ => {
            let index = r.below(data.len());
            data[index] += 0.5 + by;
        }
    }
    let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
    r.graph().initializer[at].raw_data = bytes.into();
    true
}

pub(super) fn subtraction_swapped(r: &mut Rewriter) -> bool {
    if !super::inverse_operation(r) {
        return false;
    }
    let Some(index) = r.pick(|_, node| ["Sub", "Div"].contains(&node.op_type.as_str())) else { return false };
    r.graph().node[index].input.swap(0, 1);
    true
}

pub(super) fn axis_changed(r: &mut Rewriter) -> bool {
    let Some(index) = r.pick(|_, node| ["ReduceMean", "Transpose"].contains(&node.op_type.as_str())) else {
        return false;
    };
    let node = &mut r.graph().node[index];
    node.attribute.retain(|attribute| attribute.name == "keepdims");
    match node.op_type.as_str() {
        "ReduceMean" => node.attribute.push(ints("axes", &[2])),
        _ => node.attribute.push(ints("perm", &[0, 1, 2])),
    }
    true
}

pub(super) fn operator_changed(r: &mut Rewriter) -> bool {
    const OTHERS: [(&str, &str); 8] = [
        ("Add", "Mul"),
        ("Mul", "Add"),
        ("Erf", "Tanh"),
        ("Tanh", "Erf"),
        ("Relu", "Tanh"),
        ("ReduceMean", "ReduceMax"),
        ("MatMul", "Add"),
        ("Add", "Sub"),
    ];
    let (from, to) = OTHERS[r.below(OTHERS.len())];
    let Some(index) = r.pick(|_, node| node.op_type == from) else { return false };
    r.graph().node[index].op_type = to.into();
    true
}

/// Lets a residual sum read another activation of the same shape.
pub(super) fn sum_from_elsewhere(r: &mut Rewriter) -> bool {
    let is_sum = |r: &Rewriter, name: &str| r.shapes.contains_key(name);
    let Some(index) = r.pick(|r, node| node.op_type == "Add" && node.input.iter().all(|name| is_sum(r, name))) else {
        return false;
    };
    let edge = r.below(2);
    let old = r.at(index).input[edge].clone();
    let mut others: Vec<String> = r.shapes.keys().filter(|name| r.shapes[*name] == r.shapes[&old]).cloned().collect();
    others.sort();
    let other = others[r.below(others.len())].clone();
    if other == old {
        return false;
    }
    r.graph().node[index].input[edge] = other;
    true
}
