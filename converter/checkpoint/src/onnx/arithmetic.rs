//! Follows arithmetic: Affs, LayerScale, biases, residual sums, spelled-out GELUs, and the normalisation of pixels.

use super::constant::{Constant, Data};
use super::expr::{Expr, Spread, product, sum, times};
use super::gelu::{self, Gated};
use super::graph::brief;
use super::layout::{Axis, Dimension, length, positions};
use super::state::{Activation, Follow, Follower, Inputs, PART, Value};
use resmlp_network::Activation as Function;

/// Follows `Add`, `Sub`, `Mul` or `Div` where at least one operand depends on the picture.
pub(super) fn binary(follower: &mut Follower, operator: &str, inputs: &Inputs) -> Follow<Activation> {
    match (inputs.get(0), inputs.get(1)) {
        (Some(Value::Activation(a)), Some(Value::Activation(b))) => match operator {
            "Add" => added(follower, a, b),
            "Sub" => {
                let negated = follower.scaled(b, -1.0)?;
                added(follower, a, &negated)
            }
            "Mul" => gated(follower, a, b),
            _ => Err(NORMALISATION.into()),
        },
        (Some(Value::Activation(x)), Some(Value::Constant(c))) => match operator {
            "Add" => shifted(follower, x, c, 1.0),
            "Sub" => shifted(follower, x, c, -1.0),
            "Mul" => multiplied(follower, x, c, |c| c),
            _ => multiplied(follower, x, c, f64::recip),
        },
        (Some(Value::Constant(c)), Some(Value::Activation(x))) => match operator {
            "Add" => shifted(follower, x, c, 1.0),
            "Sub" => {
                let negated = follower.scaled(x, -1.0)?;
                shifted(follower, &negated, c, 1.0)
            }
            "Mul" => multiplied(follower, x, c, |c| c),
            _ => Err(NORMALISATION.into()),
        },
        (Some(Value::Part(_)), _) | (_, Some(Value::Part(_))) => Err(PART.into()),
        _ => Err("an operand is missing".into()),
    }
}

const NORMALISATION: &str = "a division by what depends on the picture (a normalisation?); a ResMLP has none";

/// Follows `Sum` of any number of operands.
pub(super) fn sum_of_all(follower: &mut Follower, inputs: &Inputs) -> Follow<Activation> {
    let (first, rest) = inputs.0.split_first().ok_or("a sum of nothing")?;
    let mut total = first.clone();
    for next in rest {
        let pair = Inputs(vec![total, next.clone()]);
        total = Some(Value::Activation(binary(follower, "Add", &pair)?));
    }
    match total {
        Some(Value::Activation(total)) => Ok(total),
        _ => Err("a sum of constants and activations in an order that is not followed".into()),
    }
}

/// Follows `Pow` with the exponent 1, 2 or 3. Exporters spell the tanh approximation of GELU with such powers.
pub(super) fn power(follower: &mut Follower, inputs: &Inputs) -> Follow<Activation> {
    let x = with_rank(inputs.activation(0)?, inputs.constant(1)?.shape.len());
    let exponent = match &inputs.constant(1)?.data {
        Data::Float(data) => data.iter().map(|value| f64::from(*value)).collect::<Vec<_>>(),
        Data::Int(data) => data.iter().map(|value| *value as f64).collect(),
    };
    let by = match exponent.as_slice() {
        [1.0] => [0.0, 1.0, 0.0, 0.0],
        [2.0] => [0.0, 0.0, 1.0, 0.0],
        [3.0] => [0.0, 0.0, 0.0, 1.0],
        _ => return Err(format!("the power {}; a ResMLP has none", brief(&exponent))),
    };
    follower.polynomial(&x, by)
}

/// Follows `Max` of an activation and zeros, which is ReLU.
pub(super) fn maximum(follower: &mut Follower, inputs: &Inputs) -> Follow<Activation> {
    let (x, bound) = match inputs.0.as_slice() {
        [Some(Value::Activation(x)), Some(Value::Constant(c))] => (x, c),
        [Some(Value::Constant(c)), Some(Value::Activation(x))] => (x, c),
        _ => return Err("a maximum of activations; a ResMLP has none".into()),
    };
    match operand(follower, x, bound, |c| c)? {
        (x, Spread::All(0.0)) => Ok(follower.step(Expr::Activation { x: x.id, function: Function::Relu }, &x)),
        _ => Err("a maximum with other numbers than one zero; expected ReLU".into()),
    }
}

/// Follows `Clip`, which is ReLU if only negative numbers are clipped, and the identity if none are, or if pixels of 8
/// bits never reach the bounds.
pub(super) fn clip(follower: &mut Follower, bounds: [f32; 2], x: &Activation) -> Follow<Activation> {
    match bounds {
        [low, high] if low <= f32::MIN && high >= f32::MAX => Ok(x.clone()),
        bounds if x.channels == 0 && follower.input.integers && keeps_pixels(follower, bounds, x) => Ok(x.clone()),
        [0.0, high] if high >= f32::MAX => Ok(follower.step(Expr::Activation { x: x.id, function: Function::Relu }, x)),
        [low, high] => Err(format!("a clip to {low} … {high}; expected ReLU, a clip to 0 and above")),
    }
}

/// Returns whether a clip to `bounds` changes no pixel, whatever its 8 bits are.
fn keeps_pixels(follower: &Follower, [low, high]: [f32; 2], x: &Activation) -> bool {
    let Ok(colours) = follower.pixel_arithmetic(x.id) else { return false };
    let ends = colours.iter().flat_map(|[scale, shift]| [*shift, 255.0 * scale + shift]);
    // A graph that divides by 255 may come out a little over 1.
    let rounding = 1e-5 * colours.iter().fold(0f64, |most, [scale, _]| most.max(255.0 * scale.abs()));
    ends.into_iter().all(|end| end >= f64::from(low) - rounding && end <= f64::from(high) + rounding)
}

/// Follows `Sigmoid` as `(1 + tanh(x / 2)) / 2`, because some exporters spell the tanh approximation of GELU with it.
pub(super) fn sigmoid(follower: &mut Follower, x: &Activation) -> Follow<Activation> {
    let half = follower.scaled(x, 0.5)?;
    let tanh = follower.step(Expr::Tanh { x: half.id }, &half);
    follower.polynomial(&tanh, [0.5, 0.5, 0.0, 0.0])
}

/// Returns `x + factor · constant`.
pub(super) fn shifted(follower: &mut Follower, x: &Activation, constant: &Constant, factor: f64) -> Follow<Activation> {
    let (x, by) = operand(follower, x, constant, |c| factor * c)?;
    follower.shifted(&x, by)
}

/// Returns `x · f(constant)`.
fn multiplied(
    follower: &mut Follower,
    x: &Activation,
    constant: &Constant,
    f: impl Fn(f64) -> f64,
) -> Follow<Activation> {
    let (x, by) = operand(follower, x, constant, f)?;
    follower.multiplied(&x, by)
}

/// Returns `x` with as many dimensions as the result of the operator has, and `f` of the constant.
fn operand(
    follower: &mut Follower,
    x: &Activation,
    constant: &Constant,
    f: impl Fn(f64) -> f64,
) -> Follow<(Activation, Spread)> {
    let x = with_rank(x, constant.shape.len());
    follower.spend(constant.data.len())?;
    let by = match spread(follower, &x, constant)? {
        Spread::All(value) => Spread::All(f(value)),
        Spread::Channels(values) => Spread::Channels(values.into_iter().map(f).collect()),
        Spread::Patches(values) => Spread::Patches(values.into_iter().map(f).collect()),
    };
    let is_finite = match &by {
        Spread::All(value) => value.is_finite(),
        Spread::Channels(values) | Spread::Patches(values) => values.iter().all(|value| value.is_finite()),
    };
    if is_finite { Ok((x, by)) } else { Err("a constant that is not finite, or a division by zero".into()) }
}

/// Returns `x` with leading dimensions of length 1 added, so that it has at least `rank` dimensions.
pub(super) fn with_rank(x: &Activation, rank: usize) -> Activation {
    let mut x = x.clone();
    let missing = rank.saturating_sub(x.dimensions.len());
    x.dimensions.splice(0..0, std::iter::repeat_n(Vec::new(), missing));
    x
}

/// Returns two activations with as many dimensions as their sum or product has, if they are laid out alike.
fn alike(a: &Activation, b: &Activation) -> Follow<(Activation, Activation)> {
    let (a, b) = (with_rank(a, b.dimensions.len()), with_rank(b, a.dimensions.len()));
    match a.dimensions == b.dimensions && a.channels == b.channels {
        true => Ok((a, b)),
        false => {
            Err("two activations that are laid out differently; expected a residual sum over like dimensions".into())
        }
    }
}

/// Returns `a + b`, which is a residual sum or a step of a spelled-out GELU.
fn added(follower: &mut Follower, a: &Activation, b: &Activation) -> Follow<Activation> {
    let (a, b) = alike(a, b)?;
    let ((root, of_a), (other, of_b)) = (follower.exprs.root(a.id), follower.exprs.root(b.id));
    if root == other {
        return follower.polynomial(&Activation { id: root, ..a }, sum(&of_a, &of_b));
    }
    follower.spend(4 * a.channels)?; // A residual sum may bring an Aff and a LayerScale.
    Ok(follower.step(Expr::Sum { a: a.id, b: b.id }, &a))
}

/// Returns `a · b`, which is the last product of a spelled-out GELU or an earlier step of one.
fn gated(follower: &mut Follower, a: &Activation, b: &Activation) -> Follow<Activation> {
    let (a, b) = alike(a, b)?;
    let ((root, of_a), (other, of_b)) = (follower.exprs.root(a.id), follower.exprs.root(b.id));
    if root == other {
        let by = product(&of_a, &of_b).ok_or("a polynomial of a high degree; a ResMLP has none")?;
        return follower.polynomial(&Activation { id: root, ..a }, by);
    }
    let found = gelu::gelu(&mut follower.exprs, a.id, b.id, follower.tolerance, follower.at);
    let Some(Gated { argument, function, factor }) = found else {
        return Err("a product of two activations; expected a GELU, x · (1 + erf(x / √2)) or its tanh \
                    approximation"
            .into());
    };
    let result = follower.step(Expr::Activation { x: argument, function }, &a);
    let by = times(&super::expr::IDENTITY, factor);
    follower.polynomial(&result, by)
}

/// Returns the constant in the network's terms: one value for all numbers, one a channel, or one a patch.
///
/// # Errors
/// Returns a sentence about any other constant, such as one that varies along channels and patches.
fn spread(follower: &Follower, x: &Activation, constant: &Constant) -> Follow<Spread> {
    let data = constant.floats()?;
    let padding = x
        .dimensions
        .len()
        .checked_sub(constant.shape.len())
        .ok_or("a constant with more dimensions than the activation")?;
    let mut varying = Dimension::new();
    for (dimension, found) in x.dimensions.iter().skip(padding).zip(&constant.shape) {
        match (length(dimension), *found) {
            (_, 1) => {}
            (wanted, found) if wanted == found => varying.extend(dimension),
            (wanted, found) => return Err(format!("a constant of length {found} along a dimension of {wanted}")),
        }
    }
    let Some(first) = data.first() else { return Err("a constant without numbers".into()) };
    if varying.is_empty() || data.iter().all(|value| value.to_bits() == first.to_bits()) {
        return Ok(Spread::All(f64::from(*first)));
    }
    let arranged = |order: Vec<usize>| {
        let mut values = vec![0.0; order.len()];
        for (index, value) in order.into_iter().zip(data) {
            if let Some(place) = values.get_mut(index) {
                *place = f64::from(*value);
            }
        }
        values
    };
    if x.channels == 0 {
        let order = positions(&varying, 3, |axis| (axis == Axis::Colour).then_some((1, 1)));
        let order = order.ok_or("arithmetic on the pixels that differs from place to place; expected one by colour")?;
        return Ok(Spread::Channels(arranged(order)));
    }
    if let Some(order) = follower.channel_order(&varying, x.channels) {
        return Ok(Spread::Channels(arranged(order)));
    }
    let order = follower.patch_order(&varying);
    let order = order.ok_or("a constant over patches and channels (as a position embedding); a ResMLP has none")?;
    Ok(Spread::Patches(arranged(order)))
}
