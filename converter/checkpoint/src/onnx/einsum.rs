//! Follows `Einsum` as far as a ResMLP needs it: linear layers, scales along one axis, sums over patches, and
//! transpositions.

use super::arithmetic;
use super::attributes;
use super::constant::Constant;
use super::linear::{Weight, linear};
use super::pooling::over_patches;
use super::proto::NodeProto;
use super::shape_ops::transposed;
use super::state::{Activation, Follow, Follower, Inputs, Value};

/// Follows `Einsum` of an activation alone, or of an activation and a constant.
pub(super) fn einsum(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let equation: String = attributes::text(node, "equation").chars().filter(|c| !c.is_whitespace()).collect();
    let fail = || format!("the equation '{equation}'; expected a linear layer, a scale or a mean over patches");
    let (operands, result) = equation.split_once("->").ok_or_else(fail)?;
    let operands: Vec<&str> = operands.split(',').collect();
    match (operands.as_slice(), inputs.get(0), inputs.get(1)) {
        ([x], Some(Value::Activation(value)), None) => {
            let (x, result) = without_ellipsis(x, result, value.dimensions.len()).ok_or_else(fail)?;
            reduced(follower, value, &x, &result).and_then(|y| y.ok_or_else(fail))
        }
        ([x, c], Some(Value::Activation(value)), Some(Value::Constant(constant)))
        | ([c, x], Some(Value::Constant(constant)), Some(Value::Activation(value))) => {
            let (x, result) = without_ellipsis(x, result, value.dimensions.len()).ok_or_else(fail)?;
            let c: Vec<char> = c.chars().collect();
            if !are_different_letters(&c) || c.len() != constant.shape.len() {
                return Err(fail());
            }
            contracted(follower, value, constant, &x, &c, &result).and_then(|y| y.ok_or_else(fail))
        }
        _ => Err(fail()),
    }
}

fn are_different_letters(letters: &[char]) -> bool {
    letters.iter().enumerate().all(|(at, letter)| letter.is_ascii_alphabetic() && !letters[..at].contains(letter))
}

/// Returns the letters of the activation and of the result. Digits, which no equation has, replace an ellipsis.
fn without_ellipsis(x: &str, result: &str, rank: usize) -> Option<(Vec<char>, Vec<char>)> {
    let letters = x.replace("...", "").len();
    let count = if x.contains("...") { rank.checked_sub(letters)? } else { 0 };
    let digits: String = "0123456789".get(..count)?.into();
    if x.matches("...").count() > 1 || result.matches("...").count() != x.matches("...").count() {
        return None;
    }
    let expand = |text: &str| text.replace("...", &digits).chars().collect::<Vec<_>>();
    let (x, result) = (expand(x), expand(result));
    let named =
        |list: &[char]| list.iter().enumerate().all(|(at, c)| c.is_ascii_alphanumeric() && !list[..at].contains(c));
    (named(&x) && named(&result) && x.len() == rank).then_some((x, result))
}

/// Returns the sum over the letters that the result lacks.
fn reduced(follower: &mut Follower, value: &Activation, x: &[char], result: &[char]) -> Follow<Option<Activation>> {
    if result.iter().any(|letter| !x.contains(letter)) {
        return Ok(None);
    }
    let axes: Vec<usize> = (0..x.len()).filter(|axis| !result.contains(&x[*axis])).collect();
    let left: Vec<char> = x.iter().copied().filter(|letter| result.contains(letter)).collect();
    let sum = match axes.as_slice() {
        [] => value.clone(),
        axes => {
            let mean = over_patches(follower, value, axes, false)?;
            follower.scaled(&mean, follower.patches() as f64)?
        }
    };
    arranged(&sum, &left, result)
}

/// Follows a linear layer over the one letter that the result lacks, or a product along letters that the result keeps.
fn contracted(
    follower: &mut Follower,
    value: &Activation,
    constant: &Constant,
    x: &[char],
    c: &[char],
    result: &[char],
) -> Follow<Option<Activation>> {
    let summed: Vec<char> = x.iter().copied().filter(|letter| !result.contains(letter)).collect();
    match (summed.as_slice(), c) {
        ([from], [first, second]) => {
            let (to, inputs_first) = match (first == from, second == from) {
                (true, false) => (*second, true),
                (false, true) => (*first, false),
                _ => return Ok(None),
            };
            let axis = x.iter().position(|letter| letter == from).unwrap_or(0);
            let outcome: Vec<char> = x.iter().map(|letter| if letter == from { to } else { *letter }).collect();
            if x.contains(&to) {
                return Ok(None);
            }
            let y = linear(follower, value, axis, &Weight::matrix(constant, inputs_first)?)?;
            arranged(&y, &outcome, result)
        }
        ([], [letter]) if x.contains(letter) => {
            let after = x.iter().rev().take_while(|other| *other != letter).count();
            let shape = std::iter::once(constant.shape[0]).chain(std::iter::repeat_n(1, after)).collect();
            let constant = Constant { shape, data: constant.data.clone() };
            let factors =
                Inputs(vec![Some(Value::Activation(value.clone())), Some(Value::Constant(std::rc::Rc::new(constant)))]);
            let y = arithmetic::binary(follower, "Mul", &factors)?;
            arranged(&y, x, result)
        }
        _ => Ok(None),
    }
}

/// Transposes `y`, whose dimensions are called `letters`, to the order `result`.
fn arranged(y: &Activation, letters: &[char], result: &[char]) -> Follow<Option<Activation>> {
    let order = result.iter().map(|letter| letters.iter().position(|other| other == letter));
    match order.collect::<Option<Vec<_>>>() {
        Some(order) if order.len() == letters.len() => {
            let order: Vec<i64> = order.into_iter().map(|axis| axis as i64).collect();
            transposed(y, &order).map(Some)
        }
        _ => Ok(None),
    }
}
