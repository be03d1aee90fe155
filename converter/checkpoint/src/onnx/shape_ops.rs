//! Operators that only move numbers about.

use super::attributes;
use super::constant::{check_rank, float_type};
use super::layout::{Dimension, reshape, shape};
use super::proto::DataType;
use super::proto::NodeProto;
use super::state::{Activation, Follow, Inputs};
use crate::tensors::volume;

/// Applies `node` to an activation; the error for an operator that has no place in a ResMLP comes from here too.
pub(super) fn apply(node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    match node.op_type.as_str() {
        "Identity" | "Dropout" | "CastLike" => inputs.activation(0).cloned(),
        "Cast" => cast(node, inputs.activation(0)?),
        "Transpose" => {
            let x = inputs.activation(0)?;
            let reversed: Vec<i64> = (0..x.dimensions.len() as i64).rev().collect();
            transposed(x, attributes::ints(node, "perm").unwrap_or(&reversed))
        }
        "Reshape" => {
            let x = inputs.activation(0)?;
            let copies_zeros = attributes::int(node, "allowzero", 0) == 0;
            let target = target_shape(&shape(&x.dimensions), inputs.constant(1)?.integers()?, copies_zeros)?;
            reshaped(x, &target)
        }
        "Flatten" => {
            let x = inputs.activation(0)?;
            let lengths = shape(&x.dimensions);
            let axis = match attributes::int(node, "axis", 1) {
                axis if axis == lengths.len() as i64 => lengths.len(),
                axis => attributes::axis(axis, lengths.len())?,
            };
            let (outer, inner) = lengths.split_at_checked(axis).ok_or("an axis out of range")?;
            reshaped(x, &[outer.iter().product(), inner.iter().product()])
        }
        "Squeeze" | "Unsqueeze" => {
            let x = inputs.activation(0)?;
            let axes = match inputs.get(1) {
                Some(_) => Some(inputs.constant(1)?.integers()?),
                None => attributes::ints(node, "axes"),
            };
            let lengths = match node.op_type.as_str() {
                "Squeeze" => squeezed(&shape(&x.dimensions), axes)?,
                _ => unsqueezed(&shape(&x.dimensions), axes.ok_or("no axes")?)?,
            };
            reshaped(x, &lengths)
        }
        "Expand" => {
            let x = inputs.activation(0)?;
            let target = inputs.constant(1)?.integers()?;
            let lengths = shape(&x.dimensions);
            let grows = target.len() > lengths.len()
                || target.iter().rev().zip(lengths.iter().rev()).any(|(to, from)| *to != 1 && *to != *from as i64);
            if grows { Err("an activation that is repeated; a ResMLP has none".into()) } else { Ok(x.clone()) }
        }
        "Gather" => only_element(node, inputs),
        "Slice" => whole_slice(inputs),
        "Softmax" | "LogSoftmax" | "Sigmoid" | "ArgMax" | "TopK" if inputs.activation(0)?.is_vector() => {
            Err("expected logits; export the network without this operator".into())
        }
        _ => Err("not a ResMLP: it has no such operator".into()),
    }
}

fn cast(node: &NodeProto, x: &Activation) -> Follow<Activation> {
    let to = DataType::try_from(attributes::int(node, "to", 0) as i32).unwrap_or(DataType::Undefined);
    match float_type(to) {
        Some(_) => Ok(x.clone()),
        None => Err(format!("a cast of an activation to {}; expected a floating-point type", to.as_str_name())),
    }
}

/// `x` with its dimensions in the order `permutation`.
pub(super) fn transposed(x: &Activation, permutation: &[i64]) -> Follow<Activation> {
    let order = permutation_of(permutation, x.dimensions.len())?;
    let dimensions = order.iter().filter_map(|axis| x.dimensions.get(*axis).cloned()).collect();
    Ok(Activation { dimensions, ..x.clone() })
}

/// A permutation of `rank` dimensions, checked.
pub(super) fn permutation_of(permutation: &[i64], rank: usize) -> Follow<Vec<usize>> {
    let order = permutation.iter().map(|axis| attributes::axis(*axis, rank)).collect::<Follow<Vec<_>>>()?;
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if sorted.into_iter().ne(0..rank) {
        return Err(format!("the permutation {permutation:?} of {rank} dimensions"));
    }
    Ok(order)
}

fn reshaped(x: &Activation, target: &[usize]) -> Follow<Activation> {
    Ok(Activation { dimensions: reshape(&x.dimensions, target)?, ..x.clone() })
}

/// The lengths that `Reshape` to `target` gives, where -1 stands for what is left and 0 for the length as it was.
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

/// `lengths` without those of `axes`, which must be 1; without any 1 where `axes` says nothing.
pub(super) fn squeezed(lengths: &[usize], axes: Option<&[i64]>) -> Follow<Vec<usize>> {
    let Some(axes) = axes else {
        return Ok(lengths.iter().copied().filter(|length| *length != 1).collect());
    };
    let axes = axes.iter().map(|axis| attributes::axis(*axis, lengths.len())).collect::<Follow<Vec<_>>>()?;
    if axes.iter().any(|axis| lengths.get(*axis) != Some(&1)) {
        return Err(format!("dimensions {axes:?} of {lengths:?} to leave out; expected lengths of 1"));
    }
    Ok(lengths.iter().enumerate().filter(|(axis, _)| !axes.contains(axis)).map(|(_, length)| *length).collect())
}

/// `lengths` with a 1 at each of `axes` of the result.
pub(super) fn unsqueezed(lengths: &[usize], axes: &[i64]) -> Follow<Vec<usize>> {
    let rank = lengths.len() + axes.len();
    check_rank(rank)?;
    let axes = axes.iter().map(|axis| attributes::axis(*axis, rank)).collect::<Follow<Vec<_>>>()?;
    let mut old = lengths.iter().copied();
    Ok((0..rank).map(|axis| if axes.contains(&axis) { 1 } else { old.next().unwrap_or(1) }).collect())
}

/// `Gather` of the one element of a dimension of length 1.
fn only_element(node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axis = attributes::axis(attributes::int(node, "axis", 0), x.dimensions.len())?;
    let indices = inputs.constant(1)?;
    let is_only = x.dimensions.get(axis).is_some_and(Dimension::is_empty) && matches!(indices.integers()?, [0 | -1]);
    if !is_only || indices.shape.len() > 1 {
        return Err("part of an activation (as a class token); a ResMLP takes none".into());
    }
    let mut y = x.clone();
    if indices.shape.is_empty() {
        y.dimensions.remove(axis);
    }
    Ok(y)
}

/// `Slice` of everything.
fn whole_slice(inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let starts = inputs.constant(1)?.integers()?;
    let ends = inputs.constant(2)?.integers()?;
    let lengths = shape(&x.dimensions);
    let axes = match inputs.get(3) {
        Some(_) => inputs.constant(3)?.integers()?.to_vec(),
        None => (0..starts.len() as i64).collect(),
    };
    for ((start, end), axis) in starts.iter().zip(ends).zip(axes) {
        let length = lengths.get(attributes::axis(axis, lengths.len())?).map_or(0, |length| *length as i64);
        if *start != 0 || *end < length {
            return Err("part of an activation (as a class token); a ResMLP takes none".into());
        }
    }
    Ok(x.clone())
}
