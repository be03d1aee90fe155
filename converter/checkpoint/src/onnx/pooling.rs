//! Follows means and sums over all patches, by whichever operator the exporter chose.

use super::attributes;
use super::expr::Expr;
use super::layout::{Dimension, length};
use super::proto::NodeProto;
use super::state::{Activation, Follow, Follower, Inputs};

/// Follows `ReduceMean` or `ReduceSum` over every patch.
pub(super) fn reduce(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axes = match (inputs.get(1), attributes::ints(node, "axes")) {
        (Some(_), Some(_)) => return Err("axes as an input and as an attribute; expected one of them".into()),
        (Some(_), None) => inputs.constant(1)?.integers()?.to_vec(),
        (None, Some(axes)) => axes.to_vec(),
        (None, None) => Vec::new(),
    };
    if axes.is_empty() {
        return match attributes::flag(node, "noop_with_empty_axes") {
            true => Ok(x.clone()),
            false => Err("a mean over everything; expected one over the patches".into()),
        };
    }
    let axes = attributes::axes(&axes, x.dimensions.len())?;
    let mean = over_patches(follower, x, &axes, attributes::int(node, "keepdims", 1) != 0)?;
    match node.op_type.as_str() {
        "ReduceSum" => follower.scaled(&mean, follower.patches() as f64),
        _ => Ok(mean),
    }
}

/// Follows `GlobalAveragePool`, which averages over all dimensions after the second.
pub(super) fn global_average(follower: &mut Follower, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axes: Vec<usize> = (2..x.dimensions.len()).collect();
    over_patches(follower, x, &axes, true)
}

/// Follows `AveragePool`. Its window must be as large as its input, so that it has only one position.
pub(super) fn average(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axes: Vec<usize> = (2..x.dimensions.len()).collect();
    let all = |name: &str, value: i64| attributes::ints(node, name).is_none_or(|list| list.iter().all(|v| *v == value));
    let lengths: Vec<i64> = x.dimensions.iter().skip(2).map(|dimension| length(dimension) as i64).collect();
    let is_plain = all("pads", 0)
        && all("dilations", 1)
        && ["", "NOTSET", "VALID"].contains(&attributes::text(node, "auto_pad"))
        && attributes::ints(node, "kernel_shape") == Some(&lengths);
    if !is_plain {
        return Err(format!("a mean over part of {lengths:?}; expected one over all patches"));
    }
    over_patches(follower, x, &axes, true)
}

/// Returns the mean of `x` over its dimensions `axes`, which must hold every patch and nothing else.
pub(super) fn over_patches(follower: &mut Follower, x: &Activation, axes: &[usize], keep: bool) -> Follow<Activation> {
    let reduced: Dimension = axes.iter().filter_map(|axis| x.dimensions.get(*axis)).flatten().copied().collect();
    follower.spend(follower.patches())?;
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
