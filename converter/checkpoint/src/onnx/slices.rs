//! Reads the bounds of `Slice`, which constants and activations share.

use std::ops::Range;

use super::attributes;
use super::proto::NodeProto;
use super::state::{Follow, Inputs};

/// Returns the axes of a `Slice` with step 1 and what it takes of each. `lengths` is the shape of its input.
///
/// Before opset 10 the bounds are attributes. A bound may count from the end, and is limited to the axis.
///
/// # Errors
/// Returns `stepped` where a step is not 1, and says what is wrong with the bounds where they fit no slice.
pub(super) fn slices(
    node: &NodeProto,
    inputs: &Inputs,
    lengths: &[usize],
    stepped: &'static str,
) -> Follow<Vec<(usize, Range<usize>)>> {
    let list = |index: usize, name: &str| match inputs.get(index) {
        Some(_) => inputs.constant(index)?.integers().map(|list| Some(list.to_vec())),
        None => Ok(attributes::ints(node, name).map(<[i64]>::to_vec)),
    };
    let (starts, ends) = (list(1, "starts")?.ok_or("no starts")?, list(2, "ends")?.ok_or("no ends")?);
    let axes = list(3, "axes")?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4, "")?.unwrap_or_else(|| vec![1; starts.len()]);
    if starts.len() != ends.len() || starts.len() != axes.len() || starts.len() != steps.len() {
        return Err("starts, ends, axes and steps of different lengths".into());
    }
    if steps.iter().any(|step| *step != 1) {
        return Err(stepped.into());
    }
    let axes = attributes::axes(&axes, lengths.len())?.into_iter();
    let slices = axes.zip(starts.iter().zip(&ends)).map(|(axis, (&start, &end))| {
        let length = lengths.get(axis).copied().unwrap_or(0) as i64;
        let at = |index: i64| if index < 0 { index.saturating_add(length) } else { index }.clamp(0, length) as usize;
        (axis, at(start)..at(end).max(at(start)))
    });
    Ok(slices.collect())
}
