//! Finds the network's weights among everything that a training script saved.

use super::pickle::{Machine, NAME_LIMIT};
use super::value::{Ref, Value, View};
use crate::names;
use crate::tensors::{Unreadable, wrong_type};
use std::collections::{HashSet, VecDeque};

/// A dictionary of tensors: the weights, or something like them.
pub(super) struct Selection {
    /// Names and views; later duplicates of a name win, as in Python.
    pub tensors: Vec<(String, View)>,
    /// What else lies beside them.
    pub unreadable: Unreadable,
    /// What was chosen, where there was a choice.
    pub notes: Vec<String>,
}

/// What there is to choose from.
#[derive(Default)]
struct Found {
    candidates: Vec<Candidate>,
    /// Path and class of the first whole network.
    network: Option<(String, String)>,
}

struct Candidate {
    path: String,
    tensors: Vec<(String, View)>,
    /// Number of tensors with a ResMLP's names.
    recognised: usize,
    /// Keys and values that are no tensors which can be read.
    others: Vec<(Ref, Ref)>,
    /// The first of those with a ResMLP's name, and its type.
    unreadable: Option<(String, String)>,
}

/// Chooses the dictionary under `root` that holds the most tensors with a ResMLP's names.
///
/// Between equals an average of the weights comes first, then a teacher (DINO), then what is found first.
pub(super) fn select(machine: &Machine, root: Ref) -> Result<Selection, String> {
    let Found { mut candidates, network } = find(machine, root);
    let rank = |c: &Candidate| (c.recognised, names::preference(&c.path), c.tensors.len());
    let best = (0..candidates.len()).rev().max_by_key(|index| candidates.get(*index).map(rank));
    let best = best.map(|index| candidates.remove(index));
    let Some(best) = best.filter(|best| best.recognised > 0 || network.is_none()) else {
        return Err(no_candidate(machine.value(root), network));
    };
    if let Some((name, kind)) = best.unreadable {
        return Err(format!("tensor '{name}': {}", wrong_type(&kind)));
    }
    let others: Vec<_> = candidates.into_iter().filter(|c| c.recognised > 0).map(|c| c.path).collect();
    let mut notes = Vec::new();
    if !others.is_empty() {
        notes.push(names::choice(&best.path, &others));
    } else if !best.path.is_empty() {
        notes.push(format!("weights taken from '{}'", best.path));
    }
    let unreadable = best.others.into_iter().filter_map(|(key, value)| other(machine, key, value)).collect();
    Ok(Selection { tensors: best.tensors, unreadable, notes })
}

/// Name and type of what stands where a tensor may be expected.
fn other(machine: &Machine, key: Ref, value: Ref) -> Option<(String, String)> {
    let (name, value) = (machine.text(key)?, machine.value(value));
    if let Some(layer) = name.strip_suffix("_packed_params._packed_params") {
        return Some((format!("{layer}weight"), "quantised, packed by torch.ao.quantization".into()));
    }
    let kind = match value {
        Value::Object(class) => format!("'{class}'"),
        value => unreadable(machine, value)?.to_string(),
    };
    Some((name.to_string(), kind))
}

/// The error for a `root` without weights by name, where it may be or hold a whole network.
fn no_candidate(root: &Value, network: Option<(String, String)>) -> String {
    let (subject, class) = match (root, &network) {
        (_, Some((path, class))) if !path.is_empty() => (format!("'{path}' is "), class),
        (_, Some((_, class))) | (Value::Object(class), None) => (String::new(), class),
        _ => return "no dictionary of tensors; expected a state_dict, alone or under a key such as 'model'".into(),
    };
    format!("{subject}a pickled object of class '{class}'; expected tensors by name: save model.state_dict() instead")
}

/// Every dictionary that can be reached from `root` and holds tensors, and the first whole network; breadth first.
fn find(machine: &Machine, root: Ref) -> Found {
    let mut seen = HashSet::from([root]);
    let mut queue = VecDeque::from([(root, String::new())]);
    let mut found = Found::default();
    while let Some((reference, path)) = queue.pop_front() {
        match machine.value(reference) {
            Value::Dict(entries) => {
                for (key, value) in entries {
                    if may_hold_tensors(machine.value(*value)) && path.len() < PATH_LIMIT && seen.insert(*value) {
                        let dot = if path.is_empty() { "" } else { "." };
                        let key = machine.text(*key).unwrap_or("?").chars().take(40).collect::<String>();
                        queue.push_back((*value, format!("{path}{dot}{key}")));
                    }
                }
                found.candidates.extend(candidate(machine, path, entries));
            }
            Value::Module(class) => {
                found.network.get_or_insert_with(|| (path, class.clone()));
            }
            _ => {
                for member in machine.members(reference).unwrap_or_default() {
                    if seen.insert(*member) {
                        queue.push_back((*member, path.clone()));
                    }
                }
            }
        }
    }
    found
}

const PATH_LIMIT: usize = 200;

fn may_hold_tensors(value: &Value) -> bool {
    matches!(value, Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Module(_))
}

/// The tensors among the `entries` of a dictionary, if there are any.
fn candidate(machine: &Machine, path: String, entries: &[(Ref, Ref)]) -> Option<Candidate> {
    let mut candidate = Candidate { path, tensors: Vec::new(), recognised: 0, others: Vec::new(), unreadable: None };
    for entry @ (key, value) in entries {
        let name = machine.text(*key).unwrap_or("?");
        if name.len() > NAME_LIMIT {
            continue; // no name of a tensor, and the memo could ask for many copies
        }
        let value = machine.value(*value);
        let kind = unreadable(machine, value);
        let is_recognised = (kind.is_some() || matches!(value, Value::Tensor(_))) && names::is_recognised(name);
        candidate.recognised += usize::from(is_recognised);
        match (value, kind) {
            (Value::Tensor(view), None) => candidate.tensors.push((name.to_string(), view.clone())),
            (_, Some(kind)) if is_recognised => {
                candidate.unreadable.get_or_insert_with(|| (name.to_string(), kind.to_string()));
            }
            _ => candidate.others.push(*entry),
        }
    }
    (!candidate.tensors.is_empty() || candidate.unreadable.is_some()).then_some(candidate)
}

/// The type of a tensor that cannot be read.
fn unreadable<'a>(machine: &'a Machine, value: &'a Value) -> Option<&'a str> {
    match value {
        Value::Tensor(view) => match machine.value(view.storage) {
            Value::Storage(storage) if storage.kind.float.is_none() => Some(storage.kind.name),
            _ => None,
        },
        Value::UnreadTensor(kind) => Some(kind),
        _ => None,
    }
}
