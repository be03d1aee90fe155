//! Rewrites a graph without changing its function.

use super::{Rewriter, int, ints, text};
use resmlp_checkpoint::onnx::proto::{AttributeProto, AttributeType, NodeProto, OperatorSetIdProto, TensorProto};

fn permutation(r: &mut Rewriter, rank: usize) -> (Vec<i64>, Vec<i64>) {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    for at in (1..rank).rev() {
        let other = r.below(at + 1);
        order.swap(at, other);
    }
    let mut back = vec![0; rank];
    for (at, axis) in order.iter().enumerate() {
        back[*axis as usize] = at as i64;
    }
    (order, back)
}

pub(super) fn two_transposes(r: &mut Rewriter, from: &str, shape: &[usize]) -> Option<String> {
    let (order, back) = permutation(r, shape.len());
    let there = r.node("Transpose", &[from], vec![ints("perm", &order)]);
    Some(r.node("Transpose", &[&there], vec![ints("perm", &back)]))
}

pub(super) fn reshapes(r: &mut Rewriter, from: &str, shape: &[usize]) -> Option<String> {
    let flat = r.integers(&[0, -1]);
    let whole: Vec<i64> = std::iter::once(-1).chain(shape[1..].iter().map(|length| *length as i64)).collect();
    let there = match r.below(3) {
        0 => r.node("Reshape", &[from, &flat], vec![]),
        1 => r.node("Flatten", &[from], vec![int("axis", 1)]),
        _ => {
            let rows = r.integers(&[-1, shape[shape.len() - 1] as i64]);
            r.node("Reshape", &[from, &rows], vec![])
        }
    };
    let back = match r.below(2) {
        0 => r.integers(&whole),
        _ => {
            // The graph computes the tensor's old shape, as the graphs of traced code do.
            let lengths = r.node("Shape", &[from], vec![]);
            let zero = r.integers(&[0]);
            let one = r.integers(&[1]);
            let first = r.node("Slice", &[&lengths, &zero, &one, &zero], vec![]);
            let rest = r.integers(&whole[1..]);
            r.node("Concat", &[&first, &rest], vec![int("axis", 0)])
        }
    };
    Some(r.node("Reshape", &[&there, &back], vec![]))
}

pub(super) fn unsqueeze_and_squeeze(r: &mut Rewriter, from: &str, shape: &[usize]) -> Option<String> {
    let axis = r.below(shape.len() + 1) as i64;
    let axes = r.integers(&[axis]);
    let there = r.node("Unsqueeze", &[from, &axes], vec![]);
    Some(r.node("Squeeze", &[&there, &axes], vec![]))
}

pub(super) fn split_and_joined(r: &mut Rewriter, from: &str, shape: &[usize]) -> Option<String> {
    let axis = 1 + r.below(shape.len() - 1);
    if shape[axis] < 2 {
        return None;
    }
    let first = 1 + r.below(shape[axis] - 1);
    let lengths = r.integers(&[first as i64, (shape[axis] - first) as i64]);
    let (a, b) = (r.fresh(), r.fresh());
    r.add("Split", &[from, &lengths], &a, vec![int("axis", axis as i64)]);
    r.graph().node.last_mut().unwrap().output.push(b.clone());
    Some(r.node("Concat", &[&a, &b], vec![int("axis", axis as i64 - shape.len() as i64)]))
}

pub(super) fn sliced(r: &mut Rewriter, from: &str, shape: &[usize]) -> Option<String> {
    let axis = 1 + r.below(shape.len() - 1);
    let (start, end, axes) = (r.integers(&[0]), r.integers(&[i64::MAX]), r.integers(&[axis as i64]));
    Some(r.node("Slice", &[from, &start, &end, &axes], vec![]))
}

pub(super) fn gathered(r: &mut Rewriter, from: &str, shape: &[usize]) -> Option<String> {
    let axis = 1 + r.below(shape.len() - 1);
    let indices = r.integers(&(0..shape[axis] as i64).collect::<Vec<_>>());
    Some(r.node("Gather", &[from, &indices], vec![int("axis", axis as i64)]))
}

pub(super) fn operands_swapped(r: &mut Rewriter) -> bool {
    let Some(index) = r.pick(|_, node| ["Add", "Mul"].contains(&node.op_type.as_str())) else { return false };
    r.graph().node[index].input.swap(0, 1);
    true
}

/// Chooses one of the `operators` that combines an activation with a constant, and returns the index of its node.
fn arithmetic(r: &mut Rewriter, operators: &[&str]) -> Option<usize> {
    r.pick(|r, node| operators.contains(&node.op_type.as_str()) && r.operands(node).is_some())
}

pub(super) fn constant_split(r: &mut Rewriter) -> bool {
    let Some(index) = arithmetic(r, &["Add", "Mul"]) else { return false };
    let node = r.take(index);
    let (x, c, _) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&c).unwrap();
    let shape = r.shapes[&node.output[0]].clone();
    let uniform = r.below(2) == 0;
    let by = r.random.uniform(0.5, 2.0);
    let first: Vec<f32> = data.iter().map(|_| if uniform { by } else { r.random.uniform(0.5, 2.0) }).collect();
    let rest: Vec<f32> = match node.op_type.as_str() {
        "Add" => data.iter().zip(&first).map(|(whole, part)| whole - part).collect(),
        _ => data.iter().zip(&first).map(|(whole, part)| whole / part).collect(),
    };
    let first = if uniform { r.constant(&[], &[by]) } else { r.constant(&dims, &first) };
    let rest = r.constant(&dims, &rest);
    let between = r.node(&node.op_type, &[&x, &first], vec![]);
    r.shapes.insert(between.clone(), shape);
    r.add(&node.op_type, &[&rest, &between], &node.output[0], vec![]);
    true
}

pub(super) fn inverse_operation(r: &mut Rewriter) -> bool {
    let Some(index) = arithmetic(r, &["Add", "Mul"]) else { return false };
    let node = r.at(index);
    let (x, c, _) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&c).unwrap();
    if node.op_type == "Mul" && data.iter().any(|value| value.abs() < 1e-3) {
        return false;
    }
    r.take(index);
    let shape = r.shapes[&node.output[0]].clone();
    match (node.op_type.as_str(), r.below(2)) {
        ("Mul", _) => {
            let inverse: Vec<f32> = data.iter().map(|value| 1.0 / value).collect();
            let inverse = r.constant(&dims, &inverse);
            r.add("Div", &[&x, &inverse], &node.output[0], vec![]);
        }
        (_, 0) => {
            let negative: Vec<f32> = data.iter().map(|value| -value).collect();
            let negative = r.constant(&dims, &negative);
            r.add("Sub", &[&x, &negative], &node.output[0], vec![]);
        }
        _ => {
            let negated = r.node("Neg", &[&x], vec![]);
            r.shapes.insert(negated.clone(), shape);
            r.add("Sub", &[&c, &negated], &node.output[0], vec![]);
        }
    }
    true
}

pub(super) fn constant_unsqueezed(r: &mut Rewriter) -> bool {
    let Some(index) = arithmetic(r, &["Add", "Sub", "Mul", "Div"]) else { return false };
    let node = r.at(index);
    let (x, c, place) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&c).unwrap();
    let rank = r.shapes[&x].len();
    let dims: Vec<i64> = std::iter::repeat_n(1, rank.saturating_sub(dims.len())).chain(dims.iter().copied()).collect();
    let c = r.constant(&dims, &data);
    r.graph().node[index].input[place] = c;
    true
}

pub(super) fn constant_as_a_node(r: &mut Rewriter) -> bool {
    let count = r.graph().initializer.len();
    if count == 0 {
        return false;
    }
    let at = r.below(count);
    let tensor: TensorProto = r.graph().initializer[at].clone();
    if r.floats(&tensor.name).is_none() {
        return false;
    }
    // The initialiser stays in place for other rewrites, but every node now reads the new node's output.
    let value = AttributeProto {
        name: "value".into(),
        r#type: AttributeType::Tensor as i32,
        t: Some(Box::new(tensor.clone())),
        ..Default::default()
    };
    let constant = r.node("Constant", &[], vec![value]);
    let readers = r.graph().node.iter_mut().flat_map(|node| &mut node.input).filter(|name| **name == tensor.name);
    readers.for_each(|name| name.clone_from(&constant));
    true
}

fn transposed(data: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..cols).flat_map(|c| (0..rows).map(move |r| data[r * cols + c])).collect()
}

pub(super) fn weight_transposed(r: &mut Rewriter) -> bool {
    let Some(index) = arithmetic(r, &["MatMul"]) else { return false };
    let node = r.at(index);
    let (_, w, place) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&w).unwrap();
    let [rows, cols] = dims[..] else { return false };
    let turned = r.constant(&[cols, rows], &transposed(&data, rows as usize, cols as usize));
    let back =
        r.node("Transpose", &[&turned], if r.made.is_multiple_of(2) { vec![] } else { vec![ints("perm", &[1, 0])] });
    r.graph().node[index].input[place] = back;
    true
}

pub(super) fn pushed_through(r: &mut Rewriter) -> bool {
    let is_matrix = |r: &Rewriter, node: &NodeProto| {
        let Some((x, c, _)) = r.operands(node) else { return false };
        let dims = r.floats(&c).unwrap().0;
        let lengths = &r.shapes[&x];
        lengths.len() == 3 && dims.len() == 1 && dims[0] as usize == lengths[2] && node.domain.is_empty()
    };
    let is_arithmetic = |node: &NodeProto| ["Add", "Sub", "Mul", "Div"].contains(&node.op_type.as_str());
    let Some(index) = r.pick(|r, node| is_arithmetic(node) && is_matrix(r, node)) else { return false };
    let node = r.take(index);
    let (x, c, place) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&c).unwrap();
    let shape = r.shapes[&x].clone();
    let column = r.constant(&[dims[0], 1], &data);
    let there = r.node("Transpose", &[&x], vec![ints("perm", &[0, 2, 1])]);
    let operands = if place == 1 { [&there, &column] } else { [&column, &there] };
    let result = r.node(&node.op_type, &operands.map(String::as_str), vec![]);
    for name in [&there, &result] {
        r.shapes.insert(name.clone(), vec![shape[0], shape[2], shape[1]]);
    }
    r.add("Transpose", &[&result], &node.output[0], vec![ints("perm", &[0, 2, 1])]);
    true
}

/// Chooses a product of a weight and the stream, `W · x`.
fn mixing(r: &mut Rewriter) -> Option<usize> {
    r.pick(|r, node| node.op_type == "MatMul" && r.operands(node).is_some_and(|(_, _, place)| place == 0))
}

/// Chooses a product of the stream and a weight, `x · W`.
fn over_channels(r: &mut Rewriter) -> Option<usize> {
    r.pick(|r, node| node.op_type == "MatMul" && r.operands(node).is_some_and(|(_, _, place)| place == 1))
}

pub(super) fn mixing_from_the_right(r: &mut Rewriter) -> bool {
    let Some(index) = mixing(r) else { return false };
    let node = r.take(index);
    let (x, w, _) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&w).unwrap();
    let turned = r.constant(&dims, &transposed(&data, dims[0] as usize, dims[1] as usize));
    let shape = r.shapes[&x].clone();
    let there = r.node("Transpose", &[&x], vec![ints("perm", &[0, 2, 1])]);
    let product = r.node("MatMul", &[&there, &turned], vec![]);
    for name in [&there, &product] {
        r.shapes.insert(name.clone(), vec![shape[0], shape[2], shape[1]]);
    }
    r.add("Transpose", &[&product], &node.output[0], vec![ints("perm", &[0, 2, 1])]);
    true
}

pub(super) fn einsum(r: &mut Rewriter) -> bool {
    let (index, equations) = match r.below(2) {
        0 => (mixing(r), ["mn, bnd -> bmd", "mn,...nd->...md"]),
        _ => (over_channels(r), ["bnd,de->bne", "...d, de -> ...e"]),
    };
    let Some(index) = index else { return false };
    let equation = equations[r.below(2)];
    let node = r.at(index);
    if r.shapes[&node.output[0]].len() != 3 {
        return false;
    }
    r.take(index);
    let inputs: Vec<&str> = node.input.iter().map(String::as_str).collect();
    r.add("Einsum", &inputs, &node.output[0], vec![text("equation", equation)]);
    true
}

pub(super) fn gemm(r: &mut Rewriter) -> bool {
    let Some(index) = over_channels(r) else { return false };
    let node = r.take(index);
    let (x, w, _) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&w).unwrap();
    let shape = r.shapes[&node.output[0]].clone();
    let rows = r.integers(&[-1, dims[0]]);
    let turned = r.constant(&[dims[1], dims[0]], &transposed(&data, dims[0] as usize, dims[1] as usize));
    let there = r.node("Reshape", &[&x, &rows], vec![]);
    let product = r.node("Gemm", &[&there, &turned], vec![int("transB", 1)]);
    let lengths: Vec<i64> = std::iter::once(-1).chain(shape[1..].iter().map(|length| *length as i64)).collect();
    let back = r.integers(&lengths);
    r.add("Reshape", &[&product, &back], &node.output[0], vec![]);
    true
}

pub(super) fn another_mean(r: &mut Rewriter) -> bool {
    let Some(index) = r.pick(|_, node| node.op_type == "ReduceMean") else { return false };
    let node = r.take(index);
    let x = node.input[0].clone();
    let [_, tokens, dim] = r.shapes[&x][..] else { return false };
    let factor = r.constant(&[], &[1.0 / tokens as f32]);
    let axes = r.integers(&[-2]);
    match r.below(4) {
        0 => {
            let sum = r.node("ReduceSum", &[&x, &axes], vec![int("keepdims", 0)]);
            r.shapes.insert(sum.clone(), vec![1, dim]);
            r.add("Mul", &[&factor, &sum], &node.output[0], vec![]);
        }
        1 => {
            let sum = r.node("Einsum", &[&x], vec![text("equation", "bnd->bd")]);
            r.shapes.insert(sum.clone(), vec![1, dim]);
            r.add("Mul", &[&sum, &factor], &node.output[0], vec![]);
        }
        choice => {
            let turned = r.node("Transpose", &[&x], vec![ints("perm", &[0, 2, 1])]);
            let pooled = match choice {
                2 => r.node("GlobalAveragePool", &[&turned], vec![]),
                _ => r.node("AveragePool", &[&turned], vec![ints("kernel_shape", &[tokens as i64])]),
            };
            r.add("Flatten", &[&pooled], &node.output[0], vec![]);
        }
    }
    true
}

pub(super) fn fused(r: &mut Rewriter) -> bool {
    let Some(index) = mixing(r) else { return false };
    let node = r.take(index);
    let (x, w, _) = r.operands(&node).unwrap();
    let (dims, data) = r.floats(&w).unwrap();
    let half: Vec<f32> =
        transposed(&data, dims[0] as usize, dims[1] as usize).iter().map(|value| value / 2.0).collect();
    let half = r.constant(&dims, &half);
    let alpha =
        AttributeProto { name: "alpha".into(), r#type: AttributeType::Float as i32, f: 2.0, ..Default::default() };
    r.add("microsoft.FusedMatMul", &[&half, &x], &node.output[0], vec![int("transA", 1), alpha]);
    if !r.model.opset_import.iter().any(|set| set.domain == "com.microsoft") {
        r.model.opset_import.push(OperatorSetIdProto { domain: "com.microsoft".into(), version: 1 });
    }
    true
}

/// Folds a scale of one value for each channel into the weight and the bias before it.
pub(super) fn layer_scale_folded(r: &mut Rewriter) -> bool {
    let last = |r: &Rewriter, node: &NodeProto, operator: &str, before: &str| {
        let (x, _, _) = r.operands(node)?;
        let maker = r.model.graph.as_ref()?.node.iter().position(|other| other.output[0] == x)?;
        (node.op_type == operator && r.at(maker).op_type == before).then_some(maker)
    };
    let Some(scale) = r.pick(|r, node| {
        let Some(add) = last(r, node, "Mul", "Add") else { return false };
        let Some(product) = last(r, &r.at(add), "Add", "MatMul") else { return false };
        r.operands(&r.at(product)).is_some_and(|(_, _, place)| place == 1)
    }) else {
        return false;
    };
    let (scale_node, add) = (r.at(scale), last(r, &r.at(scale), "Mul", "Add").unwrap());
    let add_node = r.at(add);
    let product = last(r, &add_node, "Add", "MatMul").unwrap();
    let factors = r.floats(&r.operands(&scale_node).unwrap().1).unwrap().1;
    let (_, bias, place) = r.operands(&add_node).unwrap();
    let (_, weight, _) = r.operands(&r.at(product)).unwrap();
    let ((bias_dims, bias), (weight_dims, weight)) = (r.floats(&bias).unwrap(), r.floats(&weight).unwrap());
    let readers = |name: &str| {
        let nodes = &r.model.graph.as_ref().unwrap().node;
        nodes.iter().flat_map(|node| &node.input).filter(|input| *input == name).count()
    };
    let lone = readers(&add_node.output[0]) == 1 && readers(&r.at(product).output[0]) == 1;
    if !lone || bias.len() != factors.len() || weight_dims.last() != Some(&(factors.len() as i64)) {
        return false;
    }
    let bias: Vec<f32> = bias.iter().zip(&factors).map(|(value, by)| value * by).collect();
    let weight: Vec<f32> = weight.iter().zip(factors.iter().cycle()).map(|(value, by)| value * by).collect();
    let (bias, weight) = (r.constant(&bias_dims, &bias), r.constant(&weight_dims, &weight));
    r.graph().node[add].input[place] = bias;
    r.graph().node[product].input[1] = weight;
    let identity = &mut r.graph().node[scale];
    identity.op_type = "Identity".into();
    identity.input = vec![add_node.output[0].clone()];
    true
}

pub(super) fn softmax(r: &mut Rewriter) -> bool {
    let output = r.graph().output[0].name.clone();
    let operator = ["Softmax", "LogSoftmax"][r.below(2)];
    if r.graph().node.iter().any(|node| node.op_type.ends_with("Softmax")) {
        return false;
    }
    let probabilities = r.node(operator, &[&output], vec![int("axis", -1)]);
    r.graph().output[0].name = probabilities;
    true
}

pub(super) fn junk(r: &mut Rewriter) -> bool {
    let weight = r.constant(&[7, 3], &[1.0; 21]);
    let shape: Vec<String> = r.shapes.keys().cloned().collect();
    let mut names = shape;
    names.sort();
    let some = names[r.below(names.len())].clone();
    r.node("NonMaxSuppression", &[&weight, &some], vec![]);
    r.node("MatMul", &[&some, &weight], vec![]);
    let loops = r.fresh();
    r.add("Loop", &[&loops], "never_read", vec![]);
    let last = r.graph().node.last_mut().unwrap();
    last.output[0] = loops;
    true
}

pub(super) fn renamed(r: &mut Rewriter) -> bool {
    let prefix = format!("r{}", r.below(1000));
    let rename = |name: &mut String| {
        if !name.is_empty() {
            *name = format!("{prefix}/{name}");
        }
    };
    let graph = r.model.graph.as_mut().unwrap();
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
        node.name.clear();
    }
    graph.initializer.iter_mut().for_each(|tensor| rename(&mut tensor.name));
    graph.input.iter_mut().chain(&mut graph.output).for_each(|value| rename(&mut value.name));
    r.shapes =
        std::mem::take(&mut r.shapes).into_iter().map(|(name, shape)| (format!("{prefix}/{name}"), shape)).collect();
    true
}

pub(super) fn shuffled(r: &mut Rewriter) -> bool {
    for at in (1..r.graph().node.len()).rev() {
        let other = r.below(at + 1);
        r.graph().node.swap(at, other);
    }
    true
}
