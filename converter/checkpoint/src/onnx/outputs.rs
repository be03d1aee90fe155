//! Chooses the logits among the outputs of a graph. If a Softmax follows them, the value before it is read.

use super::expr::{Expr, Exprs, Id};
use super::graph::short;
use super::reason::OnnxReason;
use super::state::{Failure, Follower, Value};
use std::rc::Rc;

/// An output that the reader could follow.
#[derive(Clone, Debug)]
pub(super) struct Output {
    /// Name of the graph's output.
    pub name: String,
    /// Name of the value that is read: the output itself, or the input of its Softmax.
    pub value: String,
    pub id: Id,
    kind: Kind,
}

/// The meaning of an output, judged by how it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A linear layer of the mean over patches.
    Logits,
    /// The mean over patches itself.
    Features,
    /// Neither logits nor features.
    Other,
}

impl Output {
    /// Returns whether a Softmax after the logits was left out.
    pub fn had_softmax(&self) -> bool {
        self.name != self.value
    }
}

/// A reason why no output can be read.
#[derive(Debug)]
pub(super) enum NoOutput {
    /// The reader cannot follow a node that the output needs.
    Failed(Rc<Failure>),
    /// The graph has no such output, several outputs look like the logits, or the output is something else.
    Other(OnnxReason),
}

/// Chooses the output among `names` that holds the logits, and returns it with notes about the choice.
pub(super) fn choose(follower: &Follower, names: &[&str]) -> Result<(Output, Vec<String>), NoOutput> {
    let found: Vec<Result<Output, NoOutput>> = names.iter().map(|name| output(follower, name)).collect();
    let of = |kind: Kind| found.iter().flatten().filter(move |output| output.kind == kind).collect::<Vec<_>>();
    let candidates = match (of(Kind::Logits), of(Kind::Features)) {
        (logits, features) if logits.is_empty() => features,
        (logits, _) => logits,
    };
    let Some(mut chosen) = candidates.first().copied() else {
        return match found.into_iter().next() {
            Some(Ok(first)) => Ok((first, Vec::new())),
            Some(Err(error)) => Err(error),
            None => Err(NoOutput::Other(OnnxReason::NoOutput)),
        };
    };
    if let Some(other) = candidates.iter().find(|other| other.id != chosen.id) {
        let names = (chosen.name.clone(), other.name.clone());
        return Err(NoOutput::Other(OnnxReason::TwoLogits(names.0, names.1)));
    }
    chosen = candidates.iter().find(|output| !output.had_softmax()).copied().unwrap_or(chosen);
    let mut notes = Vec::new();
    let others: Vec<_> = names.iter().filter(|name| **name != chosen.name).map(|name| format!("'{name}'")).collect();
    if !others.is_empty() {
        let what = if chosen.kind == Kind::Logits { "the logits" } else { "the mean over patches" };
        notes.push(format!(
            "the output '{}', {what}, is read; the graph's other outputs are {} (choose with --onnx-output)",
            chosen.name,
            others.join(", ")
        ));
    }
    if chosen.had_softmax() {
        notes.push(format!("the Softmax behind the logits '{}' is left out", chosen.value));
    }
    Ok((chosen.clone(), notes))
}

/// Finds out what the output called `name` holds.
fn output(follower: &Follower, name: &str) -> Result<Output, NoOutput> {
    let other = |problem: String| NoOutput::Other(OnnxReason::Output { name: short(name), problem });
    let activation = match follower.values.get(name) {
        Some(Value::Activation(activation)) => activation,
        Some(Value::Failed(failure)) => return Err(NoOutput::Failed(failure.clone())),
        Some(Value::Part(_)) => return Err(other("is part of an activation".into())),
        Some(Value::Constant(_)) | None => return Err(other("does not depend on the picture".into())),
    };
    let (id, value) = match follower.exprs.get(activation.id) {
        Expr::Softmax { x, of } => (*x, of.clone()),
        _ => (activation.id, name.to_string()),
    };
    let mut kind = kind(&follower.exprs, id);
    if !activation.is_vector() {
        if kind != Kind::Other || activation.channels > 0 {
            let shape = activation.shape();
            return Err(other(format!("has shape {shape:?}; expected one vector of logits")));
        }
        kind = Kind::Other;
    }
    Ok(Output { name: name.into(), value, id, kind })
}

fn kind(exprs: &Exprs, id: Id) -> Kind {
    let is_mean = |id: Id| matches!(exprs.get(exprs.chain(id).base), Expr::Mean { .. });
    match exprs.get(exprs.chain(id).base) {
        Expr::Channels { x, .. } if is_mean(*x) => Kind::Logits,
        Expr::Mean { .. } => Kind::Features,
        _ => Kind::Other,
    }
}
