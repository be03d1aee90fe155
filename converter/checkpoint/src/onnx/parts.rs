//! Follows operators that split and join activations, as long as nothing is left out in the end.

use super::arithmetic::with_rank;
use super::attributes;
use super::graph::brief;
use super::layout::{Axis, Dimension, length, reshape};
use super::proto::NodeProto;
use super::slices::slices;
use super::state::{Activation, Follow, Follower, Inputs, PART, Part, Value};

/// The message for colours in another order.
const COLOURS: &str = "the colours in another order, such as blue, green and red; expected red, green and blue: leave \
                       this node out, and reorder the colours of the patch embedding's weights instead";

/// Returns positions `start` to `end` of dimension `axis` of `whole`, or `whole` itself if these are all positions.
fn stretch(whole: &Activation, axis: usize, start: usize, end: usize) -> Value {
    match whole.dimensions.get(axis).map(|dimension| length(dimension)) {
        Some(length) if start == 0 && end == length => Value::Activation(whole.clone()),
        _ => Value::Part(Part { whole: whole.clone(), axis, start, length: end.saturating_sub(start) }),
    }
}

/// Follows `Split` of an activation, and returns one value for each output.
pub(super) fn split(node: &NodeProto, inputs: &Inputs) -> Follow<Vec<Value>> {
    let x = inputs.activation(0)?;
    let axis = attributes::axis(attributes::int(node, "axis", 0), x.dimensions.len())?;
    let whole = x.dimensions.get(axis).map_or(0, |dimension| length(dimension));
    let count = node.output.len();
    let stated = match (inputs.get(1), attributes::ints(node, "split")) {
        (Some(_), None) => Some(inputs.constant(1)?.integers()?.to_vec()),
        (None, stated) => stated.map(<[i64]>::to_vec),
        (Some(_), Some(_)) => return Err("lengths as an input and as an attribute; expected one of them".into()),
    };
    let lengths: Vec<usize> = match stated {
        Some(stated) => stated.iter().map(|length| usize::try_from(*length).unwrap_or(usize::MAX)).collect(),
        None => {
            let each = whole.div_ceil(count.max(1));
            (0..count).map(|at| each.min(whole.saturating_sub(at * each))).collect()
        }
    };
    let total = lengths.iter().try_fold(0usize, |total, length| total.checked_add(*length));
    if lengths.len() != count || total != Some(whole) {
        return Err(format!("a split of {whole} into {} for {count} outputs", brief(&lengths)));
    }
    if lengths.contains(&0) {
        // A few channels could otherwise become any number of parts, each of which takes time in every reader.
        return Err("an output without elements; expected at least one in each".into());
    }
    let mut start = 0;
    let parts = lengths.into_iter().map(|length| {
        let part = stretch(x, axis, start, start + length);
        start += length;
        part
    });
    Ok(parts.collect())
}

/// Follows `Concat` of the parts of one activation, which must be in their original order without gaps.
pub(super) fn concat(node: &NodeProto, inputs: &Inputs) -> Follow<Value> {
    if let [Some(Value::Activation(only))] = inputs.0.as_slice() {
        return Ok(Value::Activation(only.clone()));
    }
    let Some(Some(Value::Part(first))) = inputs.0.first() else { return Err(JOINED.into()) };
    let axis = attributes::axis(attributes::int(node, "axis", 0), first.whole.dimensions.len())?;
    let mut end = first.start;
    for part in &inputs.0 {
        match part {
            Some(Value::Part(part)) if part.whole.id == first.whole.id && part.axis == axis && part.start == end => {
                if part.whole.dimensions != first.whole.dimensions {
                    return Err(JOINED.into());
                }
                end += part.length;
            }
            _ => return Err(JOINED.into()),
        }
    }
    match stretch(&first.whole, axis, first.start, end) {
        Value::Activation(whole) => Ok(Value::Activation(whole)),
        _ => Err(PART.into()),
    }
}

const JOINED: &str = "activations side by side (as with a class token); expected the parts of one, in their order";

/// Follows `Slice` with step 1.
pub(super) fn slice(node: &NodeProto, inputs: &Inputs) -> Follow<Value> {
    let x = inputs.activation(0)?;
    let lengths = x.shape();
    let stepped = "every so many numbers of an activation, or its mirror image; a ResMLP takes none";
    let mut parts = slices(node, inputs, &lengths, stepped)?;
    parts.retain(|(axis, range)| range.start != 0 || Some(&range.end) != lengths.get(*axis));
    match parts.as_slice() {
        [] => Ok(Value::Activation(x.clone())),
        [(axis, range)] => Ok(stretch(x, *axis, range.start, range.end)),
        _ => Err(PART.into()),
    }
}

/// Follows `Gather` of everything in its original order, which is a reshape. Exporters write some views this way.
pub(super) fn gather(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let axis = attributes::axis(attributes::int(node, "axis", 0), x.dimensions.len())?;
    let indices = inputs.constant(1)?;
    let dimension = x.dimensions.get(axis).map_or(&[][..], Dimension::as_slice);
    let length = length(dimension);
    let list = indices.integers()?;
    follower.spend(list.len())?;
    let is_at = |(at, index): (usize, &i64)| at as i64 == if *index < 0 { index + length as i64 } else { *index };
    if list.len() != length || !list.iter().enumerate().all(is_at) {
        let is_of_colours = x.channels == 0 && dimension.iter().all(|atom| atom.axis == Axis::Colour);
        return Err(if is_of_colours { COLOURS.into() } else { PART.into() });
    }
    let gathered = reshape(&[dimension.to_vec()], &indices.shape)?;
    let mut y = x.clone();
    y.dimensions.splice(axis..=axis, gathered);
    super::constant::check_rank(y.dimensions.len())?;
    Ok(y)
}

/// Follows `Expand`, which must not repeat anything.
pub(super) fn expand(inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    let target = inputs.constant(1)?.integers()?;
    super::constant::check_rank(target.len())?;
    let x = with_rank(x, target.len());
    let lengths = x.shape();
    let grows = target.iter().rev().zip(lengths.iter().rev()).any(|(to, from)| *to != 1 && *to != *from as i64);
    if grows { Err("an activation that is repeated; a ResMLP has none".into()) } else { Ok(x) }
}
