//! Finds the network's weights among everything that a training script saved.

use super::pickle::Machine;
use super::value::{Ref, Value, View};
use crate::names;
use std::collections::{HashSet, VecDeque};

/// A dictionary of tensors: the weights, or something like them.
pub(super) struct Selection {
    /// Names and views; later duplicates of a name win, as in Python.
    pub tensors: Vec<(String, View)>,
    /// What was chosen, where there was a choice.
    pub notes: Vec<String>,
}

struct Candidate {
    path: String,
    tensors: Vec<(String, View)>,
    recognised: usize,
}

/// Chooses the dictionary under `root` that holds the most tensors with a ResMLP's names.
///
/// Between equals an average of the weights comes first, then a teacher (DINO), then what is found first.
pub(super) fn select(machine: &Machine, root: Ref) -> Result<Selection, String> {
    let mut candidates = candidates(machine, root);
    let rank = |c: &Candidate| (c.recognised, c.tensors.len(), preference(&c.path));
    let Some(best) = (0..candidates.len()).rev().max_by_key(|index| candidates.get(*index).map(rank)) else {
        return Err(match machine.value(root) {
            Value::Object(class) => {
                format!(
                    "a pickled object of class '{class}'; expected tensors by name: save model.state_dict() instead"
                )
            }
            _ => "no dictionary of tensors; expected a state_dict, alone or under a key such as 'model'".into(),
        });
    };
    let best = candidates.swap_remove(best);
    let mut notes = Vec::new();
    let mut others: Vec<_> = candidates.iter().filter(|c| c.recognised > 0).map(|c| format!("'{}'", c.path)).collect();
    if !others.is_empty() {
        others.truncate(8);
        notes.push(format!("weights taken from '{}', not from {}", best.path, others.join(", ")));
    } else if !best.path.is_empty() {
        notes.push(format!("weights taken from '{}'", best.path));
    }
    Ok(Selection { tensors: best.tensors, notes })
}

/// Every dictionary that can be reached from `root` and holds tensors, breadth first.
fn candidates(machine: &Machine, root: Ref) -> Vec<Candidate> {
    let mut seen = HashSet::from([root]);
    let mut queue = VecDeque::from([(root, String::new())]);
    let mut found = Vec::new();
    while let Some((reference, path)) = queue.pop_front() {
        let Value::Dict(entries) = machine.value(reference) else {
            for member in machine.members(reference).unwrap_or_default() {
                if seen.insert(*member) {
                    queue.push_back((*member, path.clone()));
                }
            }
            continue;
        };
        let mut tensors = Vec::new();
        for (key, value) in entries {
            let name = machine.text(*key).unwrap_or("?");
            match machine.value(*value) {
                Value::Tensor(view) if is_float(machine, view) => tensors.push((name.to_string(), view.clone())),
                Value::Dict(_) | Value::List(_) | Value::Tuple(_) if path.len() < PATH_LIMIT && seen.insert(*value) => {
                    let dot = if path.is_empty() { "" } else { "." };
                    queue.push_back((*value, format!("{path}{dot}{}", name.chars().take(40).collect::<String>())));
                }
                _ => {}
            }
        }
        if !tensors.is_empty() {
            let recognised = tensors.iter().filter(|(name, _)| names::is_recognised(name)).count();
            found.push(Candidate { path, tensors, recognised });
        }
    }
    found
}

const PATH_LIMIT: usize = 200;

fn is_float(machine: &Machine, view: &View) -> bool {
    matches!(machine.value(view.storage), Value::Storage(storage) if storage.kind.float.is_some())
}

fn preference(path: &str) -> usize {
    match path {
        path if path.contains("ema") => 2,
        path if path.contains("teacher") => 1,
        _ => 0,
    }
}
