//! Computes the constant parts of a graph: shapes, and weights that the graph transposes or casts before their use.

use super::attributes::{self, NO_SUCH_OPERATOR, attribute};
use super::constant::{Constant, Data, check_rank, float_type};
use super::constant_moves as moves;
use super::proto::{DataType, NodeProto};
use super::shape_ops::{squeezed, target_shape, unsqueezed};
use super::state::{Follow, Follower, Inputs, Value};
use crate::tensors::volume;
use half::{bf16, f16};

/// Computes the outputs of `node`, or returns `None` if they depend on the picture's pixels.
pub(super) fn evaluate(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Option<Vec<Constant>>> {
    match (node.op_type.as_str(), inputs.get(0)) {
        ("Constant", _) => return Ok(Some(vec![literal(follower, node)?])),
        ("Shape" | "Size", Some(value)) => {
            let lengths = match value {
                Value::Constant(constant) => constant.shape.clone(),
                Value::Activation(activation) => activation.shape(),
                _ => return Ok(None),
            };
            if node.op_type == "Size" {
                let size = volume(&lengths).and_then(|size| i64::try_from(size).ok()).ok_or("a size that overflows")?;
                return Ok(Some(vec![Constant::scalar(Data::Int(vec![size]))]));
            }
            let rank = lengths.len() as i64;
            let at = |index: i64| if index < 0 { index.saturating_add(rank) } else { index }.clamp(0, rank) as usize;
            let (start, end) = (at(attributes::int(node, "start", 0)), at(attributes::int(node, "end", rank)));
            let lengths = lengths.get(start..end).unwrap_or_default();
            return Ok(Some(vec![Constant::ints(lengths.iter().map(|length| *length as i64).collect())]));
        }
        _ => {}
    }
    if !inputs.0.iter().flatten().all(|value| matches!(value, Value::Constant(_))) {
        return Ok(None);
    }
    let constants = match node.op_type.as_str() {
        "Split" => moves::split(node, inputs)?,
        _ => vec![of_constants(follower, node, inputs)?],
    };
    for constant in &constants {
        follower.spend(constant.data.len())?;
    }
    Ok(Some(constants))
}

/// Reads `Constant`, in any of its spellings.
fn literal(follower: &mut Follower, node: &NodeProto) -> Follow<Constant> {
    let [attribute] = node.attribute.as_slice() else {
        return Err(format!("{} attributes; expected one, the constant", node.attribute.len()));
    };
    if let Some(tensor) = &attribute.t {
        return follower.constant(tensor);
    }
    let data = match attribute.name.as_str() {
        "value_float" => return Ok(Constant::scalar(Data::Float(vec![attribute.f]))),
        "value_int" => return Ok(Constant::scalar(Data::Int(vec![attribute.i]))),
        "value_floats" => Data::Float(attribute.floats.clone()),
        "value_ints" => Data::Int(attribute.ints.clone()),
        _ => return Err("a constant that is neither float nor integer".into()),
    };
    follower.spend(data.len())?;
    Ok(Constant { shape: vec![data.len()], data })
}

fn of_constants(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Constant> {
    let x = inputs.constant(0)?;
    let with_shape = |shape| Ok(Constant { shape, data: x.data.clone() });
    let integers = |index: usize, name: &str| match (inputs.get(index), attributes::ints(node, name)) {
        (Some(_), None) => Ok(Some(inputs.constant(index)?.integers()?)),
        (None, stated) => Ok::<_, String>(stated),
        (Some(_), Some(_)) => Err("axes as an input and as an attribute; expected one of them".into()),
    };
    match node.op_type.as_str() {
        "Identity" => Ok((**x).clone()),
        "Cast" => {
            let to = DataType::try_from(attributes::int(node, "to", 0) as i32).unwrap_or(DataType::Undefined);
            follower.rounded_to(to);
            cast(x, to)
        }
        "CastLike" => cast(
            x,
            match inputs.constant(1)?.data {
                Data::Float(_) => DataType::Float,
                Data::Int(_) => DataType::Int64,
            },
        ),
        "Reshape" => {
            let copies_zeros = !attributes::flag(node, "allowzero");
            with_shape(target_shape(&x.shape, inputs.constant(1)?.integers()?, copies_zeros)?)
        }
        "Flatten" => {
            let axis = match attributes::int(node, "axis", 1) {
                axis if axis == x.shape.len() as i64 => x.shape.len(),
                axis => attributes::axis(axis, x.shape.len())?,
            };
            let (outer, inner) = x.shape.split_at_checked(axis).ok_or("an axis out of range")?;
            with_shape(vec![outer.iter().product(), inner.iter().product()])
        }
        "Squeeze" => with_shape(squeezed(&x.shape, integers(1, "axes")?)?),
        "Unsqueeze" => with_shape(unsqueezed(&x.shape, integers(1, "axes")?.ok_or("no axes")?)?),
        "Transpose" => moves::transpose(x, node),
        "Gather" => moves::gather(follower, x, inputs.constant(1)?, attributes::int(node, "axis", 0)),
        "Slice" => moves::slice(x, node, inputs),
        "Concat" => moves::concat(follower, inputs, attributes::int(node, "axis", 0)),
        "Expand" => moves::expand(follower, x, inputs.constant(1)?.integers()?),
        "ConstantOfShape" => of_shape(follower, node, x.integers()?),
        "Range" => range(follower, inputs),
        "Where" => choose(follower, inputs),
        "ReduceProd" => product_of_all(x, integers(1, "axes")?, attributes::int(node, "keepdims", 1) != 0),
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Equal" | "Max" | "Min" if inputs.0.len() == 2 => {
            binary(follower, &node.op_type, x, inputs.constant(1)?)
        }
        "Neg" => binary(follower, "Mul", x, &Constant::scalar(like(x, -1))),
        "Abs" | "Floor" if matches!(x.data, Data::Int(_)) => match (&x.data, node.op_type.as_str()) {
            (Data::Int(data), "Abs") => {
                let data = data.iter().map(|value| value.checked_abs()).collect::<Option<_>>();
                Ok(Constant { shape: x.shape.clone(), data: Data::Int(data.ok_or("integers that overflow")?) })
            }
            _ => Err("the floor of integers".into()),
        },
        "Sqrt" | "Reciprocal" | "Abs" | "Floor" => {
            let f = match node.op_type.as_str() {
                "Sqrt" => f32::sqrt,
                "Reciprocal" => f32::recip,
                "Abs" => f32::abs,
                _ => f32::floor,
            };
            Ok(Constant { shape: x.shape.clone(), data: Data::Float(x.floats()?.iter().map(|v| f(*v)).collect()) })
        }
        _ => Err(NO_SUCH_OPERATOR.into()),
    }
}

fn like(x: &Constant, value: i64) -> Data {
    match x.data {
        Data::Float(_) => Data::Float(vec![value as f32]),
        Data::Int(_) => Data::Int(vec![value]),
    }
}

/// Computes `Cast`, with the rounding and truncation of the new type. An integer that does not fit it is an error.
fn cast(x: &Constant, to: DataType) -> Follow<Constant> {
    let rounded = |value: f32| match to {
        DataType::Float16 => f16::from_f32(value).to_f32(),
        DataType::Bfloat16 => bf16::from_f32(value).to_f32(),
        _ => value,
    };
    let limits = match to {
        DataType::Uint8 => 0..=255,
        DataType::Int32 => i64::from(i32::MIN)..=i64::from(i32::MAX),
        _ => i64::MIN..=i64::MAX,
    };
    let to_integer = |value: i64| match limits.contains(&value) {
        true => Ok(value),
        false => Err(format!("a cast of {value} to {}, in which it has no place", to.as_str_name())),
    };
    let data = match (&x.data, to) {
        (Data::Int(data), DataType::Bool) => Data::Int(data.iter().map(|value| i64::from(*value != 0)).collect()),
        (Data::Float(data), DataType::Bool) => Data::Int(data.iter().map(|value| i64::from(*value != 0.0)).collect()),
        (Data::Int(data), to) if float_type(to).is_some() => {
            Data::Float(data.iter().map(|value| rounded(*value as f32)).collect())
        }
        (Data::Float(data), to) if float_type(to).is_some() => {
            Data::Float(data.iter().map(|value| rounded(*value)).collect())
        }
        (Data::Int(data), DataType::Uint8 | DataType::Int32 | DataType::Int64) => {
            Data::Int(data.iter().map(|value| to_integer(*value)).collect::<Result<_, _>>()?)
        }
        (Data::Float(data), DataType::Uint8 | DataType::Int32 | DataType::Int64) => {
            Data::Int(data.iter().map(|value| to_integer(*value as i64)).collect::<Result<_, _>>()?)
        }
        _ => return Err(format!("a cast to {}", to.as_str_name())),
    };
    Ok(Constant { shape: x.shape.clone(), data })
}

/// Computes `ConstantOfShape`: a tensor filled with one number, which is the float 0 if the node gives none.
fn of_shape(follower: &mut Follower, node: &NodeProto, lengths: &[i64]) -> Follow<Constant> {
    let value = match attribute(node, "value").and_then(|attribute| attribute.t.as_ref()) {
        Some(tensor) => follower.constant(tensor)?,
        None => Constant::scalar(Data::Float(vec![0.0])),
    };
    if value.data.len() != 1 {
        return Err(format!("{} numbers to fill a tensor with; expected one", value.data.len()));
    }
    check_rank(lengths.len())?;
    let shape = lengths.iter().map(|length| usize::try_from(*length).ok()).collect::<Option<Vec<_>>>();
    let shape = shape.ok_or_else(|| format!("the shape {lengths:?}"))?;
    let count = volume(&shape).ok_or("a shape that overflows")?;
    follower.spend(count)?;
    Ok(Constant { shape, data: value.data.gather(std::iter::repeat_n(0, count)) })
}

/// Computes `Range` of integers.
fn range(follower: &mut Follower, inputs: &Inputs) -> Follow<Constant> {
    let number = |index: usize| match inputs.constant(index)?.integers()? {
        [number] => Ok(*number),
        numbers => Err(format!("{} numbers; expected one", numbers.len())),
    };
    let (start, limit, step) = (number(0)?, number(1)?, number(2)?);
    let span = limit.checked_sub(start).ok_or("integers that overflow")?;
    let count = match step {
        0 => return Err("a range with step 0".into()),
        step => (span / step).saturating_add(i64::from(span % step != 0)).max(0),
    };
    let count = if (span > 0) == (step > 0) { count } else { 0 };
    follower.spend(usize::try_from(count).unwrap_or(usize::MAX))?;
    Ok(Constant::ints((0..count).map(|at| start + at * step).collect()))
}

/// Computes `Where`.
fn choose(follower: &mut Follower, inputs: &Inputs) -> Follow<Constant> {
    let (condition, yes, no) = (inputs.constant(0)?, inputs.constant(1)?, inputs.constant(2)?);
    let shape = moves::broadcast(&moves::broadcast(&condition.shape, &yes.shape)?, &no.shape)?;
    let count = volume(&shape).ok_or("a shape that overflows")?;
    follower.spend(count.saturating_mul(3))?;
    let spread = |x: &Constant| moves::spread_over(x, &shape);
    let (condition, yes, no) = (spread(condition), spread(yes), spread(no));
    let condition = match condition {
        Data::Int(data) => data,
        Data::Float(_) => return Err("a condition of floats; expected booleans".into()),
    };
    let data = match (yes, no) {
        (Data::Int(yes), Data::Int(no)) => {
            let pairs = yes.into_iter().zip(no);
            Data::Int(condition.iter().zip(pairs).map(|(c, (y, n))| if *c != 0 { y } else { n }).collect())
        }
        (Data::Float(yes), Data::Float(no)) => {
            let pairs = yes.into_iter().zip(no);
            Data::Float(condition.iter().zip(pairs).map(|(c, (y, n))| if *c != 0 { y } else { n }).collect())
        }
        _ => return Err("a float and an integer; expected operands of one type".into()),
    };
    Ok(Constant { shape, data })
}

/// Computes `ReduceProd` of a vector of integers, which occurs where a graph computes shapes.
fn product_of_all(x: &Constant, axes: Option<&[i64]>, keep: bool) -> Follow<Constant> {
    let ([_], None | Some([0 | -1])) = (x.shape.as_slice(), axes) else {
        return Err(format!("a product over shape {:?}; expected one over a vector", x.shape));
    };
    let product = x.integers()?.iter().try_fold(1i64, |product, value| product.checked_mul(*value));
    let data = Data::Int(vec![product.ok_or("integers that overflow")?]);
    Ok(Constant { shape: if keep { vec![1] } else { Vec::new() }, data })
}

/// Computes elementwise arithmetic with broadcasting.
fn binary(follower: &mut Follower, operator: &str, a: &Constant, b: &Constant) -> Follow<Constant> {
    let shape = moves::broadcast(&a.shape, &b.shape)?;
    follower.spend(volume(&shape).ok_or("a shape that overflows")?)?;
    let data = match (moves::spread_over(a, &shape), moves::spread_over(b, &shape)) {
        (Data::Float(a), Data::Float(b)) if operator == "Equal" => {
            Data::Int(a.into_iter().zip(b).map(|(a, b)| i64::from(a == b)).collect())
        }
        (Data::Float(a), Data::Float(b)) => {
            let f = match operator {
                "Add" => |(a, b)| a + b,
                "Sub" => |(a, b)| a - b,
                "Mul" => |(a, b)| a * b,
                "Div" => |(a, b): (f32, f32)| a / b,
                "Pow" => |(a, b): (f32, f32)| a.powf(b),
                "Max" => |(a, b): (f32, f32)| a.max(b),
                _ => |(a, b): (f32, f32)| a.min(b),
            };
            Data::Float(a.into_iter().zip(b).map(f).collect())
        }
        (Data::Int(a), Data::Int(b)) => {
            let f = match operator {
                "Add" => |(a, b): (i64, i64)| a.checked_add(b),
                "Sub" => |(a, b): (i64, i64)| a.checked_sub(b),
                "Mul" => |(a, b): (i64, i64)| a.checked_mul(b),
                "Div" => |(a, b): (i64, i64)| a.checked_div(b),
                "Max" => |(a, b): (i64, i64)| Some(a.max(b)),
                "Min" => |(a, b): (i64, i64)| Some(a.min(b)),
                "Equal" => |(a, b): (i64, i64)| Some(i64::from(a == b)),
                _ => return Err("a power of integers".into()),
            };
            Data::Int(a.into_iter().zip(b).map(f).collect::<Option<_>>().ok_or("integers that overflow")?)
        }
        _ => return Err("a float and an integer; expected operands of one type".into()),
    };
    Ok(Constant { shape, data })
}
