//! Linear layers, over whatever axis the exporter's operator contracts, and the mean over patches.

use super::attributes;
use super::constant::Constant;
use super::expr::Expr;
use super::layout::{Axis, Dimension, length, positions, whole};
use super::proto::NodeProto;
use super::state::{Activation, Follow, Follower, Inputs, Value, patch_dimensions};
use super::{arithmetic, shape_ops};
use resmlp_network::Matrix;

/// `MatMul` of an activation and a weight, in either order.
pub(super) fn matmul(follower: &mut Follower, inputs: &Inputs) -> Follow<Activation> {
    match (inputs.get(0), inputs.get(1)) {
        (Some(Value::Activation(x)), Some(Value::Constant(weight))) => {
            let last = x.dimensions.len().checked_sub(1).ok_or("a scalar; expected at least one dimension")?;
            linear(follower, x, last, &Weight::matrix(weight, true)?)
        }
        (Some(Value::Constant(weight)), Some(Value::Activation(x))) => {
            let contracted = x.dimensions.len().checked_sub(2).ok_or("a vector; expected at least two dimensions")?;
            linear(follower, x, contracted, &Weight::matrix(weight, false)?)
        }
        _ => Err("a product of two activations (as in attention); expected a weight".into()),
    }
}

/// `Gemm`: `alpha · A · B + beta · C` with the weight as A or B.
pub(super) fn gemm(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let flag = |name| attributes::int(node, name, 0) != 0;
    let (trans_a, trans_b) = (flag("transA"), flag("transB"));
    let oriented = |x: &Activation, transposed: bool| match (x.dimensions.len(), transposed) {
        (2, false) => Ok(x.clone()),
        (2, true) => shape_ops::transposed(x, &[1, 0]),
        (rank, _) => Err(format!("{rank} dimensions; expected 2")),
    };
    let product = match (inputs.get(0), inputs.get(1)) {
        (Some(Value::Activation(x)), Some(Value::Constant(weight))) => {
            linear(follower, &oriented(x, trans_a)?, 1, &Weight::matrix(weight, !trans_b)?)?
        }
        (Some(Value::Constant(weight)), Some(Value::Activation(x))) => {
            linear(follower, &oriented(x, trans_b)?, 0, &Weight::matrix(weight, trans_a)?)?
        }
        _ => return Err("a product of two activations; expected a weight".into()),
    };
    let product = arithmetic::scaled(follower, &product, attributes::float(node, "alpha", 1.0));
    match inputs.get(2) {
        None => Ok(product),
        Some(Value::Constant(bias)) => {
            arithmetic::shifted(follower, &product, bias, attributes::float(node, "beta", 1.0))
        }
        Some(Value::Activation(_)) => Err("a bias that depends on the picture; expected a constant".into()),
    }
}

/// `Conv`: the patch embedding, or a linear layer written as a convolution of width 1.
pub(super) fn conv(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let weight = inputs.constant(1)?;
    let (outputs, channels, kernel) = match weight.shape.as_slice() {
        [outputs, channels, kernel @ ..] if kernel.len() + 2 == x.dimensions.len() => (*outputs, *channels, kernel),
        shape => return Err(format!("a kernel of shape {shape:?} for {} dimensions", x.dimensions.len())),
    };
    let all = |name: &str, value: i64| attributes::ints(node, name).is_none_or(|list| list.iter().all(|v| *v == value));
    if attributes::int(node, "group", 1) != 1 || !all("pads", 0) || !all("dilations", 1) {
        return Err("groups, padding or dilation; expected a patch embedding without them".into());
    }
    if !["", "NOTSET", "VALID"].contains(&attributes::text(node, "auto_pad")) {
        return Err("automatic padding; expected a patch embedding without padding".into());
    }
    let strides: Vec<usize> = match attributes::ints(node, "strides") {
        Some(strides) => strides.iter().map(|stride| usize::try_from(*stride).unwrap_or(0)).collect(),
        None => vec![1; kernel.len()],
    };
    if strides != kernel {
        return Err(format!(
            "a kernel of {kernel:?} with strides of {strides:?}; expected patches that do not overlap"
        ));
    }
    let data = weight.floats()?;
    let y = if kernel.iter().all(|length| *length == 1) {
        linear(follower, x, 1, &Weight { data, outputs, inputs: channels, inputs_first: false })?
    } else {
        let &[patch, other] = kernel else {
            return Err(format!("a kernel of {kernel:?}; expected a square patch"));
        };
        let [height, width] = follower.image;
        let is_picture = x.channels == 0
            && x.dimensions == [vec![], whole(Axis::Colour, 3), whole(Axis::Row, height), whole(Axis::Column, width)];
        if patch != other
            || channels != 3
            || !is_picture
            || !height.is_multiple_of(patch)
            || !width.is_multiple_of(patch)
        {
            return Err(format!(
                "a kernel of shape {:?} over {height} × {width} pixels; expected [dim, 3, patch, patch] over the \
                 picture, whose edges are multiples of the patch",
                weight.shape
            ));
        }
        follower.spend(data.len())?;
        let weight = Matrix { rows: outputs, cols: 3 * patch * patch, data: data.to_vec() };
        let [rows, columns] = patch_dimensions(follower.image, patch);
        embed(follower, vec![vec![], whole(Axis::Channel, outputs), rows, columns], patch, weight)?
    };
    match inputs.get(2) {
        None => Ok(y),
        Some(_) => {
            let bias = inputs.constant(2)?;
            if bias.shape != [outputs] {
                return Err(format!("a bias of shape {:?}; expected [{outputs}]", bias.shape));
            }
            let shape = std::iter::once(outputs).chain(kernel.iter().map(|_| 1)).collect();
            arithmetic::shifted(follower, &y, &Constant { shape, data: bias.data.clone() }, 1.0)
        }
    }
}

/// `ReduceMean` over every patch.
pub(super) fn mean(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axes: Vec<i64> = match (inputs.get(1), attributes::ints(node, "axes")) {
        (Some(_), _) => inputs.constant(1)?.integers()?.to_vec(),
        (None, Some(axes)) => axes.to_vec(),
        (None, None) => return Err("a mean over everything; expected one over the patches".into()),
    };
    let axes = axes.iter().map(|axis| attributes::axis(*axis, x.dimensions.len())).collect::<Follow<Vec<_>>>()?;
    over_patches(follower, x, &axes, attributes::int(node, "keepdims", 1) != 0)
}

/// `GlobalAveragePool`, which averages over all dimensions after the second.
pub(super) fn global_average(follower: &mut Follower, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axes: Vec<usize> = (2..x.dimensions.len()).collect();
    over_patches(follower, x, &axes, true)
}

fn over_patches(follower: &mut Follower, x: &Activation, axes: &[usize], keep: bool) -> Follow<Activation> {
    let reduced: Dimension = axes.iter().filter_map(|axis| x.dimensions.get(*axis)).flatten().copied().collect();
    if x.channels == 0 || follower.patch_order(&reduced).is_none() {
        return Err(format!("a mean over dimensions {axes:?}; expected one over all patches"));
    }
    let mut y = follower.step(Expr::Mean { x: x.id }, x);
    y.dimensions = x
        .dimensions
        .iter()
        .enumerate()
        .filter(|(axis, _)| keep || !axes.contains(axis))
        .map(|(axis, dimension)| if axes.contains(&axis) { Vec::new() } else { dimension.clone() })
        .collect();
    Ok(y)
}

/// The weight of a linear layer as it lies in memory.
struct Weight<'a> {
    data: &'a [f32],
    outputs: usize,
    inputs: usize,
    /// `[inputs, outputs]` rather than `[outputs, inputs]`.
    inputs_first: bool,
}

impl<'a> Weight<'a> {
    /// A matrix, which may have leading dimensions of length 1.
    fn matrix(constant: &'a Constant, inputs_first: bool) -> Follow<Self> {
        let (rows, cols) = match constant.shape.as_slice() {
            [ones @ .., rows, cols] if ones.iter().all(|length| *length == 1) => (*rows, *cols),
            shape => return Err(format!("a weight of shape {shape:?}; expected a matrix")),
        };
        let (inputs, outputs) = if inputs_first { (rows, cols) } else { (cols, rows) };
        Ok(Self { data: constant.floats()?, outputs, inputs, inputs_first })
    }

    /// `[outputs, inputs]`, with input `i` of the weight in column `order[i]`.
    fn arranged(&self, order: &[usize]) -> Matrix {
        let mut matrix = Matrix::zeros(self.outputs, self.inputs);
        let (output_step, input_step) = if self.inputs_first { (1, self.outputs) } else { (self.inputs, 1) };
        for output in 0..self.outputs {
            let row = matrix.row_mut(output);
            for (input, column) in order.iter().enumerate() {
                let value = self.data.get(output * output_step + input * input_step);
                if let (Some(place), Some(value)) = (row.get_mut(*column), value) {
                    *place = *value;
                }
            }
        }
        matrix
    }
}

/// Contracts dimension `axis` of `x` with `weight`: a linear layer over channels, over patches, or of a patch's pixels.
fn linear(follower: &mut Follower, x: &Activation, axis: usize, weight: &Weight) -> Follow<Activation> {
    let dimension = x.dimensions.get(axis).ok_or("too few dimensions")?;
    let inputs = length(dimension);
    if inputs != weight.inputs || weight.outputs == 0 {
        let (found, outputs) = (weight.inputs, weight.outputs);
        return Err(format!("a weight from {found} to {outputs} numbers over a dimension of {inputs}"));
    }
    follower.spend(weight.data.len())?;
    let replaced = |with: Dimension| {
        let mut dimensions = x.dimensions.clone();
        if let Some(place) = dimensions.get_mut(axis) {
            *place = with;
        }
        dimensions
    };
    if x.channels == 0 {
        let edge =
            |wanted: Axis| dimension.iter().find(|atom| atom.axis == wanted && atom.stride == 1).map_or(1, |a| a.size);
        let patch = edge(Axis::Row).max(edge(Axis::Column));
        let order = positions(dimension, 3 * patch * patch, |axis| match axis {
            Axis::Colour => Some((1, patch * patch)),
            Axis::Row => Some((1, patch)),
            Axis::Column => Some((1, 1)),
            Axis::Channel => None,
        });
        let order = order.ok_or("a weight over part of the picture; expected one over the pixels of a patch")?;
        let dimensions = replaced(whole(Axis::Channel, weight.outputs));
        return embed(follower, dimensions, patch, weight.arranged(&order));
    }
    if let Some(order) = follower.channel_order(dimension, x.channels) {
        let id = follower.exprs.add(Expr::Channels { x: x.id, weight: weight.arranged(&order) }, follower.at);
        let dimensions = replaced(whole(Axis::Channel, weight.outputs));
        return Ok(Activation { id, dimensions, channels: weight.outputs });
    }
    let order = follower.patch_order(dimension).ok_or("a weight over neither all channels nor all patches")?;
    if weight.outputs != weight.inputs {
        let (inputs, outputs) = (weight.inputs, weight.outputs);
        return Err(format!("a layer from {inputs} patches to {outputs} (as in MLP-Mixer); expected as many patches"));
    }
    let by_column = weight.arranged(&order);
    let mut arranged = Matrix::zeros(by_column.rows, by_column.cols);
    for (position, patch) in order.iter().enumerate() {
        arranged.row_mut(*patch).copy_from_slice(by_column.row(position));
    }
    Ok(follower.step(Expr::Mix { x: x.id, weight: arranged }, x))
}

/// The patch embedding itself.
fn embed(follower: &mut Follower, dimensions: Vec<Dimension>, patch: usize, weight: Matrix) -> Follow<Activation> {
    if follower.patch != 0 {
        return Err("a second patch embedding; expected one".into());
    }
    follower.patch = patch;
    follower.spend(follower.patches())?;
    let rest: Dimension = dimensions.iter().flatten().filter(|atom| atom.axis != Axis::Channel).copied().collect();
    if follower.patch_order(&rest).is_none() {
        return Err("a patch embedding that does not cover the picture with whole patches".into());
    }
    let channels = weight.rows;
    follower.channels = channels;
    let id = follower.exprs.add(Expr::Stem { weight }, follower.at);
    Ok(Activation { id, dimensions, channels })
}
