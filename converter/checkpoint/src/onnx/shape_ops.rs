//! Follows operators that only rearrange or cast numbers.

use super::attributes;
use super::constant::{Data, check_rank, float_type};
use super::graph::brief;
use super::layout::reshape;
use super::proto::{DataType, NodeProto};
use super::state::{Activation, Follow, Inputs, Value};
use crate::tensors::volume;

/// Follows `Cast` and `CastLike`. Anything may become floats; only integers may become integers.
pub(super) fn cast(node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let (is_float, name) = match inputs.get(1) {
        Some(Value::Constant(like)) => (matches!(like.data, Data::Float(_)), "the type of its second input"),
        Some(Value::Activation(like)) => (!like.integers, "the type of its second input"),
        Some(_) => return Err("a second input that is part of an activation".into()),
        None => {
            let to = DataType::try_from(attributes::int(node, "to", 0) as i32).unwrap_or(DataType::Undefined);
            let is_wide = matches!(to, DataType::Uint8 | DataType::Int32 | DataType::Int64);
            if !is_wide && float_type(to).is_none() {
                return Err(format!("a cast to {}; expected a floating-point type", to.as_str_name()));
            }
            (float_type(to).is_some(), to.as_str_name())
        }
    };
    match (is_float, x.integers) {
        (true, _) => Ok(Activation { integers: false, ..x.clone() }),
        (false, true) => Ok(x.clone()),
        (false, false) => Err(format!("a cast of an activation to {name}; expected a floating-point type")),
    }
}

/// Follows `Transpose`.
pub(super) fn transpose(node: &NodeProto, x: &Activation) -> Follow<Activation> {
    let reversed: Vec<i64> = (0..x.dimensions.len() as i64).rev().collect();
    transposed(x, attributes::ints(node, "perm").unwrap_or(&reversed))
}

/// Follows `Reshape`.
pub(super) fn reshape_to(node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let copies_zeros = !attributes::flag(node, "allowzero");
    let target = target_shape(&x.shape(), inputs.constant(1)?.integers()?, copies_zeros)?;
    reshaped(x, &target)
}

/// Follows `Flatten`.
pub(super) fn flatten(node: &NodeProto, x: &Activation) -> Follow<Activation> {
    let lengths = x.shape();
    let axis = match attributes::int(node, "axis", 1) {
        axis if axis == lengths.len() as i64 => lengths.len(),
        axis => attributes::axis(axis, lengths.len())?,
    };
    let (outer, inner) = lengths.split_at_checked(axis).ok_or("an axis out of range")?;
    reshaped(x, &[outer.iter().product(), inner.iter().product()])
}

/// Follows `Squeeze` and `Unsqueeze`. Before opset 13 their axes are an attribute.
pub(super) fn squeeze(node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axes = match (inputs.get(1), attributes::ints(node, "axes")) {
        (Some(_), Some(_)) => return Err("axes as an input and as an attribute; expected one of them".into()),
        (Some(_), None) => Some(inputs.constant(1)?.integers()?),
        (None, axes) => axes,
    };
    let lengths = match node.op_type.as_str() {
        "Squeeze" => squeezed(&x.shape(), axes)?,
        _ => unsqueezed(&x.shape(), axes.ok_or("no axes")?)?,
    };
    reshaped(x, &lengths)
}

/// Returns `x` with its dimensions in the order `permutation`.
pub(super) fn transposed(x: &Activation, permutation: &[i64]) -> Follow<Activation> {
    let order = permutation_of(permutation, x.dimensions.len())?;
    let dimensions = order.iter().filter_map(|axis| x.dimensions.get(*axis).cloned()).collect();
    Ok(Activation { dimensions, ..x.clone() })
}

/// Checks that `permutation` is one of `rank` dimensions, and returns it as indices.
pub(super) fn permutation_of(permutation: &[i64], rank: usize) -> Follow<Vec<usize>> {
    match attributes::axes(permutation, rank) {
        Ok(order) if order.len() == rank => Ok(order),
        _ => Err(format!("the permutation {} of {rank} dimensions", brief(permutation))),
    }
}

fn reshaped(x: &Activation, target: &[usize]) -> Follow<Activation> {
    Ok(Activation { dimensions: reshape(&x.dimensions, target)?, ..x.clone() })
}

/// Returns the lengths of the result of `Reshape` to `target`. In `target`, -1 stands for the length that is left over,
/// and 0, if `copies_zeros`, for the old length of the dimension.
pub(super) fn target_shape(lengths: &[usize], target: &[i64], copies_zeros: bool) -> Follow<Vec<usize>> {
    check_rank(target.len())?;
    let fail = || format!("a reshape from {lengths:?} to {target:?}");
    let total = volume(lengths).ok_or_else(fail)?;
    let mut known = Vec::new();
    for (axis, length) in target.iter().enumerate() {
        known.push(match length {
            -1 => None,
            0 if copies_zeros => Some(*lengths.get(axis).ok_or_else(fail)?),
            length => Some(usize::try_from(*length).map_err(|_| fail())?),
        });
    }
    let product = known.iter().flatten().try_fold(1usize, |product, length| product.checked_mul(*length));
    let product = product.ok_or_else(fail)?;
    let left = total.checked_div(product).unwrap_or(0);
    let result: Vec<usize> = known.iter().map(|length| length.unwrap_or(left)).collect();
    let open = known.iter().filter(|length| length.is_none()).count();
    if open > 1 || volume(&result) != Some(total) {
        return Err(fail());
    }
    Ok(result)
}

/// Returns `lengths` without those at `axes`, which must be 1. If `axes` is `None`, every length of 1 is removed.
pub(super) fn squeezed(lengths: &[usize], axes: Option<&[i64]>) -> Follow<Vec<usize>> {
    let Some(axes) = axes else {
        return Ok(lengths.iter().copied().filter(|length| *length != 1).collect());
    };
    let axes = attributes::axes(axes, lengths.len())?;
    if axes.iter().any(|axis| lengths.get(*axis) != Some(&1)) {
        return Err(format!("dimensions {axes:?} of {lengths:?} to leave out; expected lengths of 1"));
    }
    Ok(lengths.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, length)| *length).collect())
}

/// Returns `lengths` with a 1 inserted at each of `axes`, which count dimensions of the result.
pub(super) fn unsqueezed(lengths: &[usize], axes: &[i64]) -> Follow<Vec<usize>> {
    let rank = lengths.len() + axes.len();
    check_rank(rank)?;
    let axes = attributes::axes(axes, rank)?;
    let mut old = lengths.iter().copied();
    Ok((0..rank).map(|axis| if axes.contains(&axis) { 1 } else { old.next().unwrap_or(1) }).collect())
}
