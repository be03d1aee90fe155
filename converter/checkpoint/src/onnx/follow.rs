//! Runs a graph on symbols, one node after another.

use super::attributes::{self, NO_SUCH_OPERATOR};
use super::expr::Expr;
use super::layout::{Axis, Dimension, length};
use super::proto::NodeProto;
use super::state::{Activation, Failure, Follow, Follower, Inputs, Value};
use super::{arithmetic, constant_ops, conv, einsum, linear, parts, pooling, shape_ops};
use resmlp_network::Activation as Function;
use std::rc::Rc;

/// Follows node `index`. If that fails, its outputs become [`Value::Failed`], so that only nodes that read them fail.
pub(super) fn node(follower: &mut Follower, index: usize, node: &NodeProto) {
    follower.at = index;
    let values = match inputs(follower, node) {
        Ok(inputs) => operator(follower, node, &inputs).unwrap_or_else(|message| {
            let failure = Rc::new(Failure { node: index, message });
            vec![Value::Failed(failure); node.output.len()]
        }),
        Err(failure) => vec![Value::Failed(failure); node.output.len()],
    };
    // An output without a value, such as the mask of Dropout, causes an error only if another node reads it.
    for (at, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        let value = values.get(at).cloned().unwrap_or_else(|| {
            let message = format!("its output '{name}', which a ResMLP does not use");
            Value::Failed(Rc::new(Failure { node: index, message }))
        });
        follower.values.insert(name.clone(), value);
    }
}

/// Numbers that the copy of one operand's description counts as: about as many bytes as the layout of a tensor takes.
const OPERAND: usize = 64;

/// Returns the operands of `node`, or the reason why one of them could not be followed.
///
/// The operands are charged to the budget, because a node may name one value very often.
fn inputs(follower: &mut Follower, node: &NodeProto) -> Result<Inputs, Rc<Failure>> {
    let charged = follower.spend(node.input.len().saturating_mul(OPERAND));
    charged.map_err(|message| Rc::new(Failure { node: follower.at, message }))?;
    let value = |name: &String| match follower.values.get(name) {
        _ if name.is_empty() => Ok(None),
        Some(Value::Failed(failure)) => Err(failure.clone()),
        Some(value) => Ok(Some(value.clone())),
        None => {
            let message = format!("its input '{name}' was never computed");
            Err(Rc::new(Failure { node: follower.at, message }))
        }
    };
    node.input.iter().map(value).collect::<Result<_, _>>().map(Inputs)
}

fn operator(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Vec<Value>> {
    let is_after_logits = ["ArgMax", "Sigmoid", "TopK"].contains(&node.op_type.as_str());
    if is_after_logits && inputs.activation(0).is_ok_and(Activation::is_vector) {
        return Err("expected logits; export the network without this operator".into());
    }
    attributes::check(node)?;
    if let Some(constants) = constant_ops::evaluate(follower, node, inputs)? {
        return Ok(constants.into_iter().map(|constant| Value::Constant(Rc::new(constant))).collect());
    }
    match node.op_type.as_str() {
        "Split" => parts::split(node, inputs),
        "Concat" => Ok(vec![parts::concat(node, inputs)?]),
        "Slice" => Ok(vec![parts::slice(node, inputs)?]),
        _ => Ok(vec![Value::Activation(activation(follower, node, inputs)?)]),
    }
}

/// Operators that may be applied to pixels while these are integers.
const MOVERS: [&str; 10] =
    ["Cast", "CastLike", "Dropout", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// Follows an operator that has one result, which depends on the picture.
fn activation(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let are_integers = inputs.0.iter().flatten().any(|value| matches!(value, Value::Activation(x) if x.integers));
    if are_integers && !MOVERS.contains(&node.op_type.as_str()) {
        return Err("arithmetic on integers, which rounds and wraps; expected a cast to floats first".into());
    }
    let function =
        |follower: &mut Follower, x: &Activation, function| follower.step(Expr::Activation { x: x.id, function }, x);
    match node.op_type.as_str() {
        "Add" | "Sub" | "Mul" | "Div" => arithmetic::binary(follower, &node.op_type, inputs),
        "Sum" => arithmetic::sum_of_all(follower, inputs),
        "Pow" => arithmetic::power(follower, inputs),
        "Max" => arithmetic::maximum(follower, inputs),
        "Clip" => {
            let bound = |index: usize, name: &str, default: f32| match inputs.get(index) {
                Some(_) => match *inputs.constant(index)?.floats()? {
                    [bound] => Ok::<_, String>(bound),
                    _ => Err("a bound that is no single number".into()),
                },
                None => Ok(attributes::float(node, name, default)),
            };
            let bounds = [bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?];
            arithmetic::clip(follower, bounds, inputs.activation(0)?)
        }
        "Neg" => follower.scaled(inputs.activation(0)?, -1.0),
        "Conv" => conv::conv(follower, node, inputs),
        "MatMul" | "FusedMatMul" => linear::matmul(follower, node, inputs),
        "Gemm" => linear::gemm(follower, node, inputs),
        "Einsum" => einsum::einsum(follower, node, inputs),
        "ReduceMean" | "ReduceSum" => pooling::reduce(follower, node, inputs),
        "GlobalAveragePool" => pooling::global_average(follower, inputs),
        "AveragePool" => pooling::average(follower, node, inputs),
        "Erf" => {
            let x = inputs.activation(0)?;
            Ok(follower.step(Expr::Erf { x: x.id }, x))
        }
        "Tanh" => {
            let x = inputs.activation(0)?;
            Ok(follower.step(Expr::Tanh { x: x.id }, x))
        }
        "Sigmoid" => arithmetic::sigmoid(follower, inputs.activation(0)?),
        "Relu" => Ok(function(follower, inputs.activation(0)?, Function::Relu)),
        "Gelu" => match attributes::text(node, "approximate") {
            "" | "none" => Ok(function(follower, inputs.activation(0)?, Function::Gelu)),
            "tanh" => Ok(function(follower, inputs.activation(0)?, Function::GeluTanh)),
            other => Err(format!("GELU with the approximation '{other}'; expected 'none' or 'tanh'")),
        },
        "BiasGelu" | "FastGelu" => {
            let x = match inputs.get(1) {
                Some(_) => arithmetic::binary(follower, "Add", inputs)?,
                None => inputs.activation(0)?.clone(),
            };
            let kind = if node.op_type == "FastGelu" { Function::GeluTanh } else { Function::Gelu };
            Ok(function(follower, &x, kind))
        }
        "Softmax" | "LogSoftmax" => softmax(follower, node, inputs),
        "Identity" => inputs.activation(0).cloned(),
        "Dropout" => match inputs.get(2) {
            Some(_) if inputs.constant(2)?.integers()? != [0] => {
                Err("Dropout in training mode, which gives random logits; export the network after model.eval()".into())
            }
            _ => inputs.activation(0).cloned(),
        },
        "Cast" | "CastLike" => shape_ops::cast(node, inputs),
        "Transpose" => shape_ops::transpose(node, inputs.activation(0)?),
        "Reshape" => shape_ops::reshape_to(node, inputs),
        "Flatten" => shape_ops::flatten(node, inputs.activation(0)?),
        "Squeeze" | "Unsqueeze" => shape_ops::squeeze(node, inputs),
        "Expand" => parts::expand(inputs),
        "Gather" => parts::gather(follower, node, inputs),
        _ => Err(NO_SUCH_OPERATOR.into()),
    }
}

/// Follows `Softmax` or `LogSoftmax` over the classes. Before opset 13 both normalise over all dimensions from their
/// axis on.
fn softmax(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Activation> {
    let x = inputs.activation(0)?;
    if !x.is_vector() {
        return Err(NO_SUCH_OPERATOR.into());
    }
    let default = if follower.opset < 13 { 1 } else { -1 };
    let axis = attributes::axis(attributes::int(node, "axis", default), x.dimensions.len())?;
    let dimensions = match follower.opset < 13 {
        true => x.dimensions.get(axis..),
        false => x.dimensions.get(axis..=axis),
    };
    let over: Dimension = dimensions.into_iter().flatten().flatten().copied().collect();
    if length(&over) != x.channels || over.iter().any(|atom| atom.axis != Axis::Channel) {
        return Err(format!("an axis of {}; expected that of the {} classes", length(&over), x.channels));
    }
    let of = node.input.first().cloned().unwrap_or_default();
    Ok(follower.step(Expr::Softmax { x: x.id, of }, x))
}
