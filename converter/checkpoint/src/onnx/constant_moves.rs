//! Rearranges the numbers of constants: transposes, slices, gathers, joins and repeats them.

use super::attributes;
use super::constant::{Constant, Data, check_rank};
use super::graph::brief;
use super::proto::NodeProto;
use super::shape_ops::permutation_of;
use super::slices::slices;
use super::state::{Follow, Follower, Inputs};
use crate::tensors::volume;

/// Returns the row-major strides of `shape`.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut step = 1usize;
    for (stride, length) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(*length);
    }
    strides
}

/// Returns, for each element of a tensor of `shape` in row-major order, its offset in memory with the given `strides`.
fn places<'a>(shape: &'a [usize], strides: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let count: usize = shape.iter().product();
    (0..count).map(move |position| {
        let mut rest = position;
        shape.iter().zip(strides).rev().fold(0, |place, (length, stride)| {
            let along = rest % length;
            rest /= length;
            place + along * stride
        })
    })
}

/// Returns the shape to which ONNX broadcasts two shapes.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Follow<Vec<usize>> {
    let rank = a.len().max(b.len());
    let padded = |x: &[usize]| [vec![1; rank - x.len()], x.to_vec()].concat();
    let pairs = padded(a).into_iter().zip(padded(b));
    let shape = pairs.map(|pair| match pair {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    });
    shape.collect::<Option<_>>().ok_or_else(|| format!("shapes {a:?} and {b:?}, which do not go together"))
}

/// Returns the numbers of `x`, repeated to fill `shape`.
pub(super) fn spread_over(x: &Constant, shape: &[usize]) -> Data {
    let own = [vec![1; shape.len().saturating_sub(x.shape.len())], x.shape.clone()].concat();
    let steps: Vec<usize> =
        strides(&own).iter().zip(&own).map(|(stride, length)| if *length == 1 { 0 } else { *stride }).collect();
    x.data.gather(places(shape, &steps))
}

/// Computes `Expand`.
pub(super) fn expand(follower: &mut Follower, x: &Constant, target: &[i64]) -> Follow<Constant> {
    check_rank(target.len())?;
    let target = target.iter().map(|length| usize::try_from(*length).ok()).collect::<Option<Vec<_>>>();
    let shape = broadcast(&x.shape, &target.ok_or("a negative length")?)?;
    follower.spend(volume(&shape).ok_or("a shape that overflows")?)?;
    Ok(Constant { data: spread_over(x, &shape), shape })
}

/// Computes `Transpose`.
pub(super) fn transpose(x: &Constant, node: &NodeProto) -> Follow<Constant> {
    let reversed: Vec<i64> = (0..x.shape.len() as i64).rev().collect();
    let order = permutation_of(attributes::ints(node, "perm").unwrap_or(&reversed), x.shape.len())?;
    let steps = strides(&x.shape);
    let pick = |from: &[usize]| -> Vec<usize> { order.iter().filter_map(|axis| from.get(*axis).copied()).collect() };
    let (shape, steps) = (pick(&x.shape), pick(&steps));
    let data = x.data.gather(places(&shape, &steps));
    Ok(Constant { shape, data })
}

/// Computes `Gather`.
pub(super) fn gather(follower: &mut Follower, x: &Constant, indices: &Constant, axis: i64) -> Follow<Constant> {
    let axis = attributes::axis(axis, x.shape.len())?;
    let (outer, rest) = x.shape.split_at(axis);
    let (length, inner) = rest.split_first().ok_or("a gather from a scalar")?;
    let shape = [outer, &indices.shape, inner].concat();
    check_rank(shape.len())?;
    follower.spend(volume(&shape).ok_or("a shape that overflows")?)?;
    if volume(&shape) == Some(0) {
        return Ok(Constant { data: x.data.gather(std::iter::empty()), shape });
    }
    let chosen =
        indices.integers()?.iter().map(|index| attributes::axis(*index, *length)).collect::<Follow<Vec<_>>>()?;
    let (outer, inner): (usize, usize) = (outer.iter().product(), inner.iter().product());
    let places = (0..outer).flat_map(|block| {
        chosen.iter().flat_map(move |index| (0..inner).map(move |at| (block * length + index) * inner + at))
    });
    Ok(Constant { data: x.data.gather(places), shape })
}

/// Returns the part of `x` that has the positions `range` along `axis`.
fn stretch(x: &Constant, axis: usize, range: std::ops::Range<usize>) -> Constant {
    let (outer, rest) = x.shape.split_at(axis);
    let (length, inner) = rest.split_first().unwrap_or((&1, &[]));
    let (blocks, step): (usize, usize) = (outer.iter().product(), inner.iter().product());
    let shape = [outer, &[range.len()], inner].concat();
    let blocks = if range.is_empty() || x.data.len() == 0 { 0 } else { blocks };
    let places =
        (0..blocks).flat_map(|block| (block * length + range.start) * step..(block * length + range.end) * step);
    Constant { data: x.data.gather(places), shape }
}

/// Computes `Slice` with step 1.
pub(super) fn slice(x: &Constant, node: &NodeProto, inputs: &Inputs) -> Follow<Constant> {
    let slices = slices(node, inputs, &x.shape, "a slice with steps; expected step 1")?;
    Ok(slices.into_iter().fold(x.clone(), |x, (axis, range)| stretch(&x, axis, range)))
}

/// Computes `Split`.
pub(super) fn split(node: &NodeProto, inputs: &Inputs) -> Follow<Vec<Constant>> {
    let x = inputs.constant(0)?;
    let axis = attributes::axis(attributes::int(node, "axis", 0), x.shape.len())?;
    let (whole, count) = (*x.shape.get(axis).unwrap_or(&0), node.output.len());
    let lengths = match inputs.get(1) {
        Some(_) => Some(inputs.constant(1)?.integers()?),
        None => attributes::ints(node, "split"),
    };
    let lengths = match lengths {
        Some(lengths) => lengths.iter().map(|length| usize::try_from(*length).unwrap_or(usize::MAX)).collect(),
        None => {
            let each = whole.div_ceil(count.max(1));
            (0..count).map(|at| each.min(whole.saturating_sub(at * each))).collect::<Vec<_>>()
        }
    };
    let total = lengths.iter().try_fold(0usize, |total, length| total.checked_add(*length));
    if lengths.len() != count || total != Some(whole) {
        return Err(format!("a split of {whole} into {} for {count} outputs", brief(&lengths)));
    }
    let mut start = 0;
    let parts = lengths.into_iter().map(|length| {
        start += length;
        stretch(x, axis, start - length..start)
    });
    Ok(parts.collect())
}

/// Computes `Concat`.
pub(super) fn concat(follower: &mut Follower, inputs: &Inputs, axis: i64) -> Follow<Constant> {
    let parts = (0..inputs.0.len()).map(|index| inputs.constant(index)).collect::<Follow<Vec<_>>>()?;
    let first = parts.first().ok_or("a concatenation of nothing")?;
    let axis = attributes::axis(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    let mut total = 0usize;
    for part in &parts {
        let mut other = part.shape.clone();
        let (Some(length), Some(own)) = (other.get_mut(axis), shape.get(axis)) else {
            return Err("a concatenation of different ranks".into());
        };
        total = total.saturating_add(std::mem::replace(length, *own));
        if other != shape {
            return Err(format!("a concatenation of shapes {:?} and {:?}", first.shape, part.shape));
        }
        follower.spend(part.data.len())?;
    }
    if let Some(length) = shape.get_mut(axis) {
        *length = total;
    }
    let is_empty = parts.iter().all(|part| part.data.len() == 0);
    let blocks: usize = if is_empty { 0 } else { shape.get(..axis).unwrap_or_default().iter().product() };
    follower.spend(blocks.saturating_mul(parts.len()))?;
    let stretch_of = |part: &Constant| part.data.len().checked_div(blocks).unwrap_or(0);
    let data = if parts.iter().all(|part| matches!(part.data, Data::Float(_))) {
        let mut joined = Vec::new();
        for block in 0..blocks {
            for part in &parts {
                let length = stretch_of(part);
                joined.extend_from_slice(part.floats()?.get(block * length..(block + 1) * length).unwrap_or_default());
            }
        }
        Data::Float(joined)
    } else {
        let mut joined = Vec::new();
        for block in 0..blocks {
            for part in &parts {
                let length = stretch_of(part);
                let integers = part.integers()?;
                joined.extend_from_slice(integers.get(block * length..(block + 1) * length).unwrap_or_default());
            }
        }
        Data::Int(joined)
    };
    Ok(Constant { shape, data })
}
