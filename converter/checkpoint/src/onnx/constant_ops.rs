//! Computes the constant parts of a graph: shapes, and weights that the exporter left to be transposed or cast.

use super::attributes::{self, attribute};
use super::constant::{Constant, Data, float_type};
use super::layout;
use super::proto::DataType;
use super::proto::NodeProto;
use super::shape_ops::{permutation_of, squeezed, target_shape, unsqueezed};
use super::state::{Follow, Follower, Inputs, Value};
use crate::tensors::volume;

/// The value of `node` if it does not depend on the picture's pixels.
pub(super) fn evaluate(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Option<Constant>> {
    match (node.op_type.as_str(), inputs.get(0)) {
        ("Constant", _) => return literal(follower, node).map(Some),
        ("Shape", Some(value)) => {
            let lengths = match value {
                Value::Constant(constant) => constant.shape.clone(),
                Value::Activation(activation) => layout::shape(&activation.dimensions),
            };
            let rank = lengths.len() as i64;
            let at = |index: i64| if index < 0 { index.saturating_add(rank) } else { index }.clamp(0, rank) as usize;
            let (start, end) = (at(attributes::int(node, "start", 0)), at(attributes::int(node, "end", rank)));
            let lengths = lengths.get(start..end).unwrap_or_default();
            return Ok(Some(Constant::ints(lengths.iter().map(|length| *length as i64).collect())));
        }
        ("Size", _) => return Err("not a ResMLP: it has no such operator".into()),
        _ => {}
    }
    if inputs.0.iter().flatten().any(|value| matches!(value, Value::Activation(_))) {
        return Ok(None);
    }
    let constant = of_constants(follower, node, inputs)?;
    follower.spend(constant.data.len())?;
    Ok(Some(constant))
}

/// `Constant`, in any of its spellings.
fn literal(follower: &mut Follower, node: &NodeProto) -> Follow<Constant> {
    if let Some(tensor) = attribute(node, "value").and_then(|attribute| attribute.t.as_ref()) {
        return follower.constant(tensor);
    }
    let scalar = |data| Ok(Constant { shape: Vec::new(), data });
    if let Some(attribute) = attribute(node, "value_float") {
        return scalar(Data::Float(vec![attribute.f]));
    }
    if let Some(attribute) = attribute(node, "value_int") {
        return scalar(Data::Int(vec![attribute.i]));
    }
    if let Some(attribute) = attribute(node, "value_floats") {
        return Ok(Constant { shape: vec![attribute.floats.len()], data: Data::Float(attribute.floats.clone()) });
    }
    match attribute(node, "value_ints") {
        Some(attribute) => Ok(Constant::ints(attribute.ints.clone())),
        None => Err("a constant that is neither float nor integer".into()),
    }
}

fn of_constants(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Constant> {
    let x = inputs.constant(0)?;
    let with_shape = |shape| Ok(Constant { shape, data: x.data.clone() });
    let integers = |index: usize, name: &str| match inputs.get(index) {
        Some(_) => Ok(Some(inputs.constant(index)?.integers()?)),
        None => Ok::<_, String>(attributes::ints(node, name)),
    };
    match node.op_type.as_str() {
        "Identity" => Ok((**x).clone()),
        "Cast" => {
            let to = DataType::try_from(attributes::int(node, "to", 0) as i32).unwrap_or(DataType::Undefined);
            Ok(cast(x, float_type(to).is_some()))
        }
        "CastLike" => Ok(cast(x, matches!(inputs.constant(1)?.data, Data::Float(_)))),
        "Reshape" => {
            let copies_zeros = attributes::int(node, "allowzero", 0) == 0;
            with_shape(target_shape(&x.shape, inputs.constant(1)?.integers()?, copies_zeros)?)
        }
        "Squeeze" => with_shape(squeezed(&x.shape, integers(1, "axes")?)?),
        "Unsqueeze" => with_shape(unsqueezed(&x.shape, integers(1, "axes")?.ok_or("no axes")?)?),
        "Transpose" => transpose(x, node),
        "Gather" => gather(follower, x, inputs.constant(1)?, attributes::int(node, "axis", 0)),
        "Slice" => slice(x, inputs),
        "Concat" => concat(follower, inputs, attributes::int(node, "axis", 0)),
        "Add" | "Sub" | "Mul" | "Div" => binary(follower, &node.op_type, x, inputs.constant(1)?),
        "Neg" => binary(follower, "Mul", x, &Constant { shape: vec![], data: like(x, -1) }),
        "Sqrt" | "Reciprocal" => {
            let f = if node.op_type == "Sqrt" { f32::sqrt } else { f32::recip };
            Ok(Constant { shape: x.shape.clone(), data: Data::Float(x.floats()?.iter().map(|v| f(*v)).collect()) })
        }
        _ => Err("not a ResMLP: it has no such operator".into()),
    }
}

fn like(x: &Constant, value: i64) -> Data {
    match x.data {
        Data::Float(_) => Data::Float(vec![value as f32]),
        Data::Int(_) => Data::Int(vec![value]),
    }
}

fn cast(x: &Constant, to_float: bool) -> Constant {
    let data = match (&x.data, to_float) {
        (Data::Int(data), true) => Data::Float(data.iter().map(|value| *value as f32).collect()),
        (Data::Float(data), false) => Data::Int(data.iter().map(|value| *value as i64).collect()),
        (data, _) => data.clone(),
    };
    Constant { shape: x.shape.clone(), data }
}

/// Row-major strides of `shape`.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut step = 1usize;
    for (stride, length) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.saturating_mul(*length);
    }
    strides
}

/// For each element of a tensor of `shape`, row-major, its place where the dimensions have the given `strides`.
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

fn transpose(x: &Constant, node: &NodeProto) -> Follow<Constant> {
    let reversed: Vec<i64> = (0..x.shape.len() as i64).rev().collect();
    let order = permutation_of(attributes::ints(node, "perm").unwrap_or(&reversed), x.shape.len())?;
    let steps = strides(&x.shape);
    let pick = |from: &[usize]| -> Vec<usize> { order.iter().filter_map(|axis| from.get(*axis).copied()).collect() };
    let (shape, steps) = (pick(&x.shape), pick(&steps));
    let data = x.data.gather(places(&shape, &steps));
    Ok(Constant { shape, data })
}

/// `Gather` along a vector, which is all that shape computations need.
fn gather(follower: &mut Follower, x: &Constant, indices: &Constant, axis: i64) -> Follow<Constant> {
    let [length] = x.shape.as_slice() else {
        return Err(format!("a gather from shape {:?}; expected a vector", x.shape));
    };
    attributes::axis(axis, 1)?;
    follower.spend(indices.data.len())?;
    let places =
        indices.integers()?.iter().map(|index| attributes::axis(*index, *length)).collect::<Follow<Vec<_>>>()?;
    Ok(Constant { shape: indices.shape.clone(), data: x.data.gather(places.into_iter()) })
}

/// `Slice` of a vector with step 1.
fn slice(x: &Constant, inputs: &Inputs) -> Follow<Constant> {
    let one = |index: usize| match inputs.constant(index)?.integers()? {
        [value] => Ok(*value),
        values => Err(format!("{} axes to slice; expected one", values.len())),
    };
    let ([length], Ok(start), Ok(end)) = (x.shape.as_slice(), one(1), one(2)) else {
        return Err(format!("a slice of shape {:?}; expected a vector", x.shape));
    };
    if inputs.get(4).is_some() && one(4)? != 1 {
        return Err("a slice with steps; expected step 1".into());
    }
    let length = *length as i64;
    let at = |index: i64| if index < 0 { index.saturating_add(length) } else { index }.clamp(0, length) as usize;
    let range = at(start)..at(end).max(at(start));
    Ok(Constant { shape: vec![range.len()], data: x.data.gather(range) })
}

/// `Concat` of vectors.
fn concat(follower: &mut Follower, inputs: &Inputs, axis: i64) -> Follow<Constant> {
    attributes::axis(axis, 1)?;
    let mut joined = Vec::new();
    for index in 0..inputs.0.len() {
        let part = inputs.constant(index)?;
        if part.shape.len() != 1 {
            return Err(format!("a concatenation of shape {:?}; expected vectors of integers", part.shape));
        }
        follower.spend(part.data.len())?;
        joined.extend_from_slice(part.integers()?);
    }
    Ok(Constant::ints(joined))
}

/// Elementwise arithmetic with broadcasting.
fn binary(follower: &mut Follower, operator: &str, a: &Constant, b: &Constant) -> Follow<Constant> {
    let rank = a.shape.len().max(b.shape.len());
    let padded = |x: &Constant| [vec![1; rank - x.shape.len()], x.shape.clone()].concat();
    let (shape_a, shape_b) = (padded(a), padded(b));
    let mut shape = Vec::new();
    for (a, b) in shape_a.iter().zip(&shape_b) {
        match (*a, *b) {
            (a, b) if a == b || b == 1 => shape.push(a),
            (1, b) => shape.push(b),
            _ => return Err(format!("shapes {shape_a:?} and {shape_b:?}, which do not go together")),
        }
    }
    follower.spend(volume(&shape).ok_or("a shape that overflows")?)?;
    let broadcast = |own: &[usize]| -> Vec<usize> {
        strides(own).iter().zip(own).map(|(stride, length)| if *length == 1 { 0 } else { *stride }).collect()
    };
    let (strides_a, strides_b) = (broadcast(&shape_a), broadcast(&shape_b));
    let a = a.data.gather(places(&shape, &strides_a));
    let b = b.data.gather(places(&shape, &strides_b));
    let data = match (a, b) {
        (Data::Float(a), Data::Float(b)) => {
            let f = match operator {
                "Add" => |(a, b)| a + b,
                "Sub" => |(a, b)| a - b,
                "Mul" => |(a, b)| a * b,
                _ => |(a, b): (f32, f32)| a / b,
            };
            Data::Float(a.into_iter().zip(b).map(f).collect())
        }
        (Data::Int(a), Data::Int(b)) => {
            let f = match operator {
                "Add" => |(a, b): (i64, i64)| a.checked_add(b),
                "Sub" => |(a, b): (i64, i64)| a.checked_sub(b),
                "Mul" => |(a, b): (i64, i64)| a.checked_mul(b),
                _ => |(a, b): (i64, i64)| a.checked_div(b),
            };
            Data::Int(a.into_iter().zip(b).map(f).collect::<Option<_>>().ok_or("integers that overflow")?)
        }
        _ => return Err("a float and an integer; expected operands of one type".into()),
    };
    Ok(Constant { shape, data })
}
