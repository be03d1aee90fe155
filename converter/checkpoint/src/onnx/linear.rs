//! Follows linear layers, over whichever axis the exporter's operator contracts.

use super::arithmetic::{self, with_rank};
use super::attributes;
use super::constant::Constant;
use super::expr::Expr;
use super::layout::{Axis, Dimension, length, positions, whole};
use super::proto::NodeProto;
use super::state::{Activation, Follow, Follower, Inputs, Value};
use resmlp_network::Matrix;

/// Follows `MatMul`, or `FusedMatMul`, which may transpose its operands and scale its result.
pub(super) fn matmul(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    if attributes::flag(node, "transBatchA") || attributes::flag(node, "transBatchB") {
        return Err("operands whose batches are transposed; a ResMLP has none".into());
    }
    let transposes = [attributes::flag(node, "transA"), attributes::flag(node, "transB")];
    let product = multiplied(follower, inputs, transposes)?;
    follower.scaled(&product, f64::from(attributes::float(node, "alpha", 1.0)))
}

/// Follows `Gemm`, which computes `alpha · A · B + beta · C`. The weight may be A or B.
pub(super) fn gemm(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    for value in inputs.0.iter().take(2).flatten() {
        let rank = match value {
            Value::Activation(x) => x.dimensions.len(),
            Value::Constant(c) => c.shape.len(),
            _ => 2,
        };
        if rank != 2 {
            return Err(format!("{rank} dimensions; expected 2"));
        }
    }
    let transposes = [attributes::flag(node, "transA"), attributes::flag(node, "transB")];
    let product = multiplied(follower, inputs, transposes)?;
    let product = follower.scaled(&product, f64::from(attributes::float(node, "alpha", 1.0)))?;
    match inputs.get(2) {
        None => Ok(product),
        Some(Value::Constant(bias)) if bias.shape.len() <= 2 => {
            arithmetic::shifted(follower, &product, bias, f64::from(attributes::float(node, "beta", 1.0)))
        }
        Some(_) => Err("a bias that depends on the picture or has more than 2 dimensions; expected a constant".into()),
    }
}

/// Returns the product of two matrices, one of which is a weight. Either may be transposed first.
fn multiplied(follower: &mut Follower, inputs: &Inputs, [trans_a, trans_b]: [bool; 2]) -> Follow<Activation> {
    match (inputs.get(0), inputs.get(1)) {
        (Some(Value::Activation(x)), Some(Value::Constant(weight))) => {
            let x = with_rank(&oriented(x, trans_a)?, weight.shape.len());
            let last = x.dimensions.len().checked_sub(1).ok_or("a scalar; expected at least one dimension")?;
            linear(follower, &x, last, &Weight::matrix(weight, !trans_b)?)
        }
        (Some(Value::Constant(weight)), Some(Value::Activation(x))) => {
            let contracted = x.dimensions.len().checked_sub(2).ok_or("a vector; expected at least two dimensions")?;
            let missing = weight.shape.len().saturating_sub(x.dimensions.len());
            let x = with_rank(&oriented(x, trans_b)?, weight.shape.len());
            linear(follower, &x, contracted + missing, &Weight::matrix(weight, trans_a)?)
        }
        (Some(Value::Activation(_)), Some(Value::Activation(_))) => {
            Err("a product of two activations (as in attention); expected a weight".into())
        }
        _ => Err("an operand that is missing, or part of an activation; expected an activation and a weight".into()),
    }
}

/// Returns `x`, with its last two dimensions swapped if `transposed`.
fn oriented(x: &Activation, transposed: bool) -> Follow<Activation> {
    let rank = x.dimensions.len();
    if !transposed {
        return Ok(x.clone());
    }
    let row = rank.checked_sub(2).ok_or("a vector; expected at least two dimensions")?;
    let mut x = x.clone();
    x.dimensions.swap(row, row + 1);
    Ok(x)
}

/// The weight of a linear layer, as the file stores it.
pub(super) struct Weight<'a> {
    pub data: &'a [f32],
    pub outputs: usize,
    pub inputs: usize,
    /// Whether the data is `[inputs, outputs]` rather than `[outputs, inputs]`.
    pub inputs_first: bool,
}

impl<'a> Weight<'a> {
    /// Reads a matrix, which may have leading dimensions of length 1.
    pub fn matrix(constant: &'a Constant, inputs_first: bool) -> Follow<Self> {
        let (rows, cols) = match constant.shape.as_slice() {
            [ones @ .., rows, cols] if ones.iter().all(|length| *length == 1) => (*rows, *cols),
            shape => return Err(format!("a weight of shape {shape:?}; expected a matrix")),
        };
        let (inputs, outputs) = if inputs_first { (rows, cols) } else { (cols, rows) };
        Ok(Self { data: constant.floats()?, outputs, inputs, inputs_first })
    }

    /// Returns the weight as `[outputs, inputs]`, with its input `i` in column `order[i]`.
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

/// Contracts dimension `axis` of `x` with `weight`. The result is a linear layer over channels or over patches, or the
/// patch embedding.
pub(super) fn linear(follower: &mut Follower, x: &Activation, axis: usize, weight: &Weight) -> Follow<Activation> {
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
            Axis::Channel | Axis::Batch => None,
        });
        let order = order.ok_or("a weight over part of the picture; expected one over the pixels of a patch")?;
        let dimensions = replaced(whole(Axis::Channel, weight.outputs));
        return embed(follower, x, dimensions, patch, weight.arranged(&order));
    }
    if let Some(order) = follower.channel_order(dimension, x.channels) {
        let id = follower.exprs.add(Expr::Channels { x: x.id, weight: weight.arranged(&order) }, follower.at);
        let dimensions = replaced(whole(Axis::Channel, weight.outputs));
        return Ok(Activation { id, dimensions, channels: weight.outputs, integers: false });
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

/// Adds the patch embedding of the pixels `x`.
pub(super) fn embed(
    follower: &mut Follower,
    x: &Activation,
    dimensions: Vec<Dimension>,
    patch: usize,
    weight: Matrix,
) -> Follow<Activation> {
    if follower.patch != 0 {
        return Err("a second patch embedding; expected one".into());
    }
    follower.patch = patch;
    follower.spend(follower.patches())?;
    let is_patch_axis = |axis| !matches!(axis, Axis::Channel | Axis::Batch);
    let rest: Dimension = dimensions.iter().flatten().filter(|atom| is_patch_axis(atom.axis)).copied().collect();
    if follower.patch_order(&rest).is_none() {
        return Err("a patch embedding that does not cover the picture with whole patches".into());
    }
    follower.pixels = follower.pixel_arithmetic(x.id)?;
    let channels = weight.rows;
    follower.channels = channels;
    let id = follower.exprs.add(Expr::Stem { weight }, follower.at);
    Ok(Activation { id, dimensions, channels, integers: false })
}
