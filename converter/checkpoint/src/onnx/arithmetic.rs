//! Addition and multiplication: Affs, LayerScale, biases, residual sums and spelled-out GELUs.

use super::constant::Constant;
use super::expr::{Expr, Spread};
use super::layout::{Dimension, length};
use super::state::{Activation, Follow, Follower, Inputs, Value};

/// `Add`, `Sub`, `Mul`, `Div` or `Neg` where at least one operand depends on the picture.
pub(super) fn apply(follower: &mut Follower, operator: &str, inputs: &Inputs) -> Follow<Activation> {
    if operator == "Neg" {
        let x = inputs.activation(0)?;
        return Ok(scaled(follower, x, -1.0));
    }
    match (inputs.get(0), inputs.get(1)) {
        (Some(Value::Activation(a)), Some(Value::Activation(b))) => of_two(follower, operator, a, b),
        (Some(Value::Activation(x)), Some(Value::Constant(c))) => match operator {
            "Add" => shifted(follower, x, c, 1.0),
            "Sub" => shifted(follower, x, c, -1.0),
            "Mul" => multiplied(follower, x, c, |c| c),
            _ => multiplied(follower, x, c, f32::recip),
        },
        (Some(Value::Constant(c)), Some(Value::Activation(x))) => match operator {
            "Add" => shifted(follower, x, c, 1.0),
            "Sub" => {
                let negated = scaled(follower, x, -1.0);
                shifted(follower, &negated, c, 1.0)
            }
            "Mul" => multiplied(follower, x, c, |c| c),
            _ => Err("a division by what depends on the picture (a normalisation?); a ResMLP has none".into()),
        },
        _ => Err("an operand is missing".into()),
    }
}

/// `factor · x`.
pub(super) fn scaled(follower: &mut Follower, x: &Activation, factor: f32) -> Activation {
    if factor == 1.0 {
        return x.clone();
    }
    follower.step(Expr::Scale { x: x.id, by: Spread::All(factor) }, x)
}

/// `x + factor · constant`.
pub(super) fn shifted(follower: &mut Follower, x: &Activation, constant: &Constant, factor: f32) -> Follow<Activation> {
    let (x, by) = operands(follower, x, constant, |c| factor * c)?;
    if is_all(&by, 0.0) {
        return Ok(x);
    }
    Ok(follower.step(Expr::Shift { x: x.id, by }, &x))
}

/// `x · f(constant)`.
fn multiplied(
    follower: &mut Follower,
    x: &Activation,
    constant: &Constant,
    f: impl Fn(f32) -> f32,
) -> Follow<Activation> {
    let (x, by) = operands(follower, x, constant, f)?;
    if is_all(&by, 1.0) {
        return Ok(x);
    }
    Ok(follower.step(Expr::Scale { x: x.id, by }, &x))
}

/// `x` with as many dimensions as the result has, and `f` of the constant.
fn operands(
    follower: &mut Follower,
    x: &Activation,
    constant: &Constant,
    f: impl Fn(f32) -> f32,
) -> Follow<(Activation, Spread)> {
    if x.channels == 0 {
        return Err("arithmetic on the picture's pixels; expected the patch embedding first (export without \
                    normalisation and name it with --mean and --std)"
            .into());
    }
    let mut x = x.clone();
    let missing = constant.shape.len().saturating_sub(x.dimensions.len());
    x.dimensions.splice(0..0, std::iter::repeat_n(Vec::new(), missing));
    follower.spend(constant.data.len())?;
    let by = match spread(follower, &x, constant)? {
        Spread::All(value) => Spread::All(f(value)),
        Spread::Channels(values) => Spread::Channels(values.into_iter().map(f).collect()),
        Spread::Patches(values) => Spread::Patches(values.into_iter().map(f).collect()),
    };
    Ok((x, by))
}

fn is_all(spread: &Spread, value: f32) -> bool {
    match spread {
        Spread::All(found) => *found == value,
        Spread::Channels(found) | Spread::Patches(found) => found.iter().all(|found| *found == value),
    }
}

/// A residual sum, or the product that ends a spelled-out GELU.
fn of_two(follower: &mut Follower, operator: &str, a: &Activation, b: &Activation) -> Follow<Activation> {
    let rank = a.dimensions.len().max(b.dimensions.len());
    let padded = |x: &Activation| {
        let mut dimensions = x.dimensions.clone();
        dimensions.splice(0..0, std::iter::repeat_n(Vec::new(), rank - x.dimensions.len()));
        dimensions
    };
    if padded(a) != padded(b) || a.channels != b.channels {
        return Err(
            "two activations that are laid out differently; expected a residual sum over like dimensions".into()
        );
    }
    let like = Activation { dimensions: padded(a), ..a.clone() };
    match operator {
        "Add" => {
            follower.spend(4 * a.channels)?; // a residual sum may bring an Aff and a LayerScale
            Ok(follower.step(Expr::Sum { a: a.id, b: b.id }, &like))
        }
        "Mul" => {
            let (argument, factor) = follower
                .exprs
                .gelu(a.id, b.id)
                .ok_or("a product of two activations; expected x · (1 + erf(x / √2)), the exact GELU")?;
            let gelu = follower.step(Expr::Gelu { x: argument }, &like);
            Ok(scaled(follower, &gelu, factor))
        }
        _ => Err("two activations; expected a sum".into()),
    }
}

/// The constant along `dimensions`, which must vary along nothing, channels only, or patches only.
fn spread(follower: &Follower, x: &Activation, constant: &Constant) -> Follow<Spread> {
    let data = constant.floats()?;
    let rank = x.dimensions.len();
    let padding =
        rank.checked_sub(constant.shape.len()).ok_or("a constant with more dimensions than the activation")?;
    let mut varying = Dimension::new();
    for (dimension, found) in x.dimensions.iter().skip(padding).zip(&constant.shape) {
        match (length(dimension), *found) {
            (_, 1) => {}
            (wanted, found) if wanted == found => varying.extend(dimension),
            (wanted, found) => return Err(format!("a constant of length {found} along a dimension of {wanted}")),
        }
    }
    if let ([value], true) = (data, varying.is_empty()) {
        return Ok(Spread::All(*value));
    }
    let arranged = |order: Vec<usize>| {
        let mut values = vec![0.0; order.len()];
        for (position, index) in order.into_iter().enumerate() {
            if let (Some(place), Some(value)) = (values.get_mut(index), data.get(position)) {
                *place = *value;
            }
        }
        values
    };
    if let Some(order) = follower.channel_order(&varying, x.channels) {
        return Ok(Spread::Channels(arranged(order)));
    }
    let order = follower.patch_order(&varying);
    let order = order.ok_or("a constant over patches and channels (as a position embedding); a ResMLP has none")?;
    Ok(Spread::Patches(arranged(order)))
}
