//! Runs a graph on symbols, node after node.

use super::expr::Expr;
use super::proto::NodeProto;
use super::state::{Follow, Follower, Inputs, Value};
use super::{arithmetic, attributes, constant_ops, layers, shape_ops};
use std::rc::Rc;

/// Follows node `index`.
pub(super) fn node(follower: &mut Follower, index: usize, node: &NodeProto) -> Follow<()> {
    follower.at = index;
    let is_standard = node.domain.is_empty() || node.domain == "ai.onnx";
    if !is_standard {
        return Err(format!("an operator of the domain '{}'; expected ONNX's own", node.domain));
    }
    let inputs = node.input.iter().map(|name| match name.as_str() {
        "" => Ok(None),
        name => {
            follower.values.get(name).cloned().map(Some).ok_or_else(|| format!("input '{name}' was never computed"))
        }
    });
    let inputs = Inputs(inputs.collect::<Follow<_>>()?);
    let value = operator(follower, node, &inputs)?;
    let name = node.output.first().ok_or("a node without an output")?;
    follower.values.insert(name.clone(), value);
    Ok(())
}

fn operator(follower: &mut Follower, node: &NodeProto, inputs: &Inputs) -> Follow<Value> {
    if ["Quantize", "QLinear", "Dequantize", "Integer"].iter().any(|word| node.op_type.contains(word)) {
        return Err("a quantised graph; expected the one of floats that it was made from".into());
    }
    if let Some(constant) = constant_ops::evaluate(follower, node, inputs)? {
        return Ok(Value::Constant(Rc::new(constant)));
    }
    let activation = match node.op_type.as_str() {
        "Conv" => layers::conv(follower, node, inputs),
        "MatMul" => layers::matmul(follower, inputs),
        "Gemm" => layers::gemm(follower, node, inputs),
        "ReduceMean" => layers::mean(follower, node, inputs),
        "GlobalAveragePool" => layers::global_average(follower, inputs),
        "Add" | "Sub" | "Mul" | "Div" | "Neg" => arithmetic::apply(follower, &node.op_type, inputs),
        "Erf" => {
            let x = inputs.activation(0)?;
            Ok(follower.step(Expr::Erf { x: x.id }, x))
        }
        "Gelu" => match attributes::text(node, "approximate") {
            "" | "none" => {
                let x = inputs.activation(0)?;
                Ok(follower.step(Expr::Gelu { x: x.id }, x))
            }
            other => Err(format!("GELU with the approximation '{other}'; expected the exact one")),
        },
        _ => shape_ops::apply(node, inputs),
    };
    activation.map(Value::Activation)
}
