//! Finds the network's weights among everything that a training script saved.

use super::limits::{ENTRY_COST, NAME_LIMIT};
use super::pickle::Machine;
use super::reason::PthReason;
use super::rebuild::class_name;
use super::value::{Obstacle, Ref, Value, View};
use crate::error::Reason;
use crate::names::{self, NamesReason, Vocabulary};
use crate::tensors::{Unread, Unreadable};
use std::collections::{BTreeMap, VecDeque};

/// The dictionary that was chosen.
pub(super) struct Selection<'m> {
    /// Views by name. If two have the same name, the later one counts, as in Python.
    pub tensors: BTreeMap<&'m str, &'m View>,
    /// Values in the dictionary that cannot be read as tensors.
    pub unreadable: Unreadable,
    /// Notes about the choice.
    pub notes: Vec<String>,
    /// Whether the caller's key matched a dictionary, which decided the choice.
    pub key_is_used: bool,
}

/// Largest number of dictionaries with a ResMLP's names that a file may have.
const MOST_CANDIDATES: usize = 256;

/// The dictionaries and networks found in a file.
#[derive(Default)]
struct Found {
    /// Dictionaries with a ResMLP's names.
    candidates: Vec<Candidate>,
    /// The largest dictionary of other tensors.
    other: Option<Candidate>,
    /// Place and class of the first whole network.
    network: Option<(u32, Ref)>,
}

struct Candidate {
    place: u32,
    dict: Ref,
    /// Number of readable tensors whose names end in `weight` or `bias`. The tensors of an optimiser's state have other
    /// names.
    weights: usize,
    /// Number of readable tensors.
    tensors: usize,
    /// Number of tensors with a ResMLP's names.
    recognised: usize,
}

impl Candidate {
    /// Returns the numbers by which dictionaries are compared in size: weights and biases first, then all tensors.
    fn size(&self) -> (usize, usize) {
        (self.weights, self.tensors)
    }
}

/// Chooses the dictionary under `root` that holds the most tensors with a ResMLP's names.
///
/// Among equals, an average of the weights comes first, then a teacher (DINO), then the dictionary with more weights
/// and biases, then the one with more tensors, then the one found first. If `key` matches any of the dictionaries, the
/// choice is restricted to those that match it best.
///
/// # Errors
/// Returns an error if no dictionary holds tensors, if there are too many to compare, if what is chosen would take far
/// more memory than the file, if the file holds a whole network
/// in place of its weights, or if `key` matches neither a dictionary nor a prefix of names in the chosen one.
pub(super) fn select<'m>(
    machine: &'m Machine,
    root: Ref,
    vocabulary: &Vocabulary,
    key: Option<&str>,
) -> Result<Selection<'m>, Reason> {
    let mut places = Places::default();
    let Found { candidates, other, network } = find(machine, root, vocabulary, &mut places);
    if candidates.len() > MOST_CANDIDATES {
        return Err(PthReason::TooMany(MOST_CANDIDATES).into());
    }
    let mut candidates: Vec<_> = candidates.into_iter().chain(other).map(|c| (places.path(c.place), c)).collect();
    let answer = |path: &String| key.and_then(|key| names::answers(path, key));
    let best_answer = candidates.iter().filter(|(_, c)| c.recognised > 0).filter_map(|(path, _)| answer(path)).max();
    let key_is_used = best_answer.is_some();
    let rank = |(path, c): &(String, Candidate)| (c.recognised, names::preference(path), c.weights, c.tensors);
    let among = |(_, (path, _)): &(usize, &(String, Candidate))| !key_is_used || answer(path) == best_answer;
    let best = candidates.iter().enumerate().rev().filter(among).max_by_key(|(_, candidate)| rank(candidate));
    let best = best.map(|(index, _)| index).map(|index| candidates.remove(index));
    let Some((path, best)) = best.filter(|(_, best)| best.recognised > 0 || network.is_none()) else {
        return Err(no_candidate(machine, root, network, &places).into());
    };
    let others: Vec<_> = candidates.into_iter().filter(|(_, c)| c.recognised > 0).map(|(path, _)| path).collect();
    if let Some(key) = key.filter(|_| !key_is_used && !others.is_empty() && answer(&path).is_none()) {
        // The key may still be a prefix of names in this dictionary, which only the names can tell.
        let has_prefix = |name: &str| names::answers(name, key).is_some();
        if !entries(machine, best.dict).any(|(name, _)| has_prefix(name)) {
            let available = std::iter::once(path).chain(others).collect();
            return Err(NamesReason::NoKey { key: key.into(), available }.into());
        }
    }
    let mut notes = Vec::new();
    if !others.is_empty() {
        notes.push(names::choice(&path, &others));
    } else if !path.is_empty() {
        notes.push(format!("weights taken from '{path}'"));
    }
    let (tensors, unreadable) = contents(machine, best.dict)?;
    Ok(Selection { tensors, unreadable, notes, key_is_used })
}

/// Returns the tensors of a dictionary, and why its other values cannot be read as tensors.
///
/// What is kept of every entry is charged to what is left of the machine's budget, because one value with long names
/// or many dimensions may stand under any number of keys.
fn contents<'m>(machine: &'m Machine, dict: Ref) -> Result<(BTreeMap<&'m str, &'m View>, Unreadable), PthReason> {
    let (mut tensors, mut unreadable) = (BTreeMap::new(), Unreadable::new());
    let mut left = machine.budget;
    let mut charge = |name: &str, bytes: usize| {
        left = left.checked_sub(ENTRY_COST + name.len() + bytes).ok_or(PthReason::Unfolds)?;
        Ok::<(), PthReason>(())
    };
    for (name, value) in entries(machine, dict) {
        match (machine.value(value), obstacle(machine, name, value)) {
            (Value::Tensor(view), None) => {
                charge(name, size_of_val(view.shape.as_slice()))?;
                unreadable.remove(name);
                tensors.insert(name, &**view);
            }
            (_, Some((name, unread))) => {
                charge(&name, unread.memory())?;
                tensors.remove(name.as_str());
                unreadable.insert(name, unread);
            }
            _ => {}
        }
    }
    Ok((tensors, unreadable))
}

/// Returns the entries of a dictionary whose names have at most [`NAME_LIMIT`] bytes.
fn entries<'m>(machine: &'m Machine, dict: Ref) -> impl Iterator<Item = (&'m str, Ref)> {
    let entries = match machine.value(dict) {
        Value::Dict(entries) => entries.as_slice(),
        _ => &[],
    };
    let named = entries.iter().map(|(key, value)| (machine.text(*key).unwrap_or("?"), *value));
    named.filter(|(name, _)| name.len() <= NAME_LIMIT)
}

/// Returns why the value `name` cannot be read as a tensor, with the name under which the error is reported.
///
/// That name is `name` itself or, for a packed layer, the name of the layer's weights. The function returns `None` for
/// a readable tensor and for plain data.
fn obstacle(machine: &Machine, name: &str, value: Ref) -> Option<(String, Unread)> {
    if let Some(layer) = name.strip_suffix("_packed_params._packed_params") {
        let kind = "quantised, packed by torch.ao.quantization".into();
        return Some((format!("{layer}weight"), Unread::Type(kind)));
    }
    let unread = match machine.value(value) {
        Value::Object(class) => Unread::Object(class_name(machine, *class)),
        Value::EmptyArray => Unread::Object("numpy.ndarray".into()),
        Value::UnreadTensor(obstacle) => match &**obstacle {
            Obstacle::Kind(kind) => Unread::Type(kind.to_string()),
            Obstacle::Class(class) => Unread::Type(class_name(machine, *class)),
            Obstacle::Shard(found, whole) => Unread::Shard { found: found.clone(), whole: whole.clone() },
        },
        Value::Tensor(view) => match machine.value(view.storage) {
            Value::Storage(storage) if storage.kind.float.is_none() => Unread::Type(storage.kind.name.into()),
            _ => return None,
        },
        _ => return None,
    };
    Some((name.to_string(), unread))
}

/// Returns whether `value` is a tensor of floating-point numbers whose place in the file is known.
fn is_readable(machine: &Machine, value: Ref) -> bool {
    let Value::Tensor(view) = machine.value(value) else { return false };
    !matches!(machine.value(view.storage), Value::Storage(storage) if storage.kind.float.is_none())
}

/// Returns the reason for refusing a file without named weights, which may hold a whole network or another object.
fn no_candidate(machine: &Machine, root: Ref, network: Option<(u32, Ref)>, places: &Places) -> PthReason {
    match (machine.value(root), network) {
        (_, Some((place, class))) => PthReason::Object { place: places.path(place), class: class_name(machine, class) },
        (Value::Object(class), None) => PthReason::Object { place: String::new(), class: class_name(machine, *class) },
        _ => PthReason::NoStateDict,
    }
}

/// Searches the containers under `root`, breadth first, for dictionaries of tensors and the first whole network.
fn find<'m>(machine: &'m Machine, root: Ref, vocabulary: &Vocabulary, places: &mut Places<'m>) -> Found {
    let mut seen = vec![false; machine.count()];
    let mut is_new = |value: Ref| seen.get_mut(value as usize).is_some_and(|seen| !std::mem::replace(seen, true));
    is_new(root);
    let mut known = vec![None; machine.count()];
    let mut queue = VecDeque::from([(root, Places::ROOT)]);
    let mut found = Found::default();
    while let Some((reference, place)) = queue.pop_front() {
        match machine.value(reference) {
            Value::Dict(entries) => {
                for (key, value) in entries {
                    if may_hold_tensors(machine.value(*value)) && places.has_room(place) && is_new(*value) {
                        queue.push_back((*value, places.inside(place, machine.text(*key).unwrap_or("?"))));
                    }
                }
                match candidate(machine, place, reference, vocabulary, &mut known) {
                    Some(candidate) if candidate.recognised > 0 && found.candidates.len() <= MOST_CANDIDATES => {
                        found.candidates.push(candidate);
                    }
                    Some(candidate) if found.other.as_ref().is_none_or(|other| other.size() < candidate.size()) => {
                        found.other = Some(candidate);
                    }
                    _ => {}
                }
            }
            Value::Module(class) => {
                found.network.get_or_insert((place, *class));
            }
            _ => {
                for member in machine.members(reference).unwrap_or_default() {
                    if may_hold_tensors(machine.value(*member)) && is_new(*member) {
                        queue.push_back((*member, place));
                    }
                }
            }
        }
    }
    found
}

/// The places of values in a file.
///
/// Each place refers to the one around it, so that a path is written out only for a message. An entry holds the place
/// around it, its depth and its key.
#[derive(Default)]
struct Places<'m>(Vec<(u32, u32, &'m str)>);

impl<'m> Places<'m> {
    /// Place of the file's root.
    const ROOT: u32 = u32::MAX;
    /// Largest depth of a place.
    const DEPTH: u32 = 16;

    fn depth(&self, place: u32) -> u32 {
        self.0.get(place as usize).map_or(0, |(_, depth, _)| *depth)
    }

    fn has_room(&self, place: u32) -> bool {
        self.depth(place) < Self::DEPTH
    }

    fn inside(&mut self, place: u32, key: &'m str) -> u32 {
        self.0.push((place, self.depth(place) + 1, key));
        self.0.len() as u32 - 1
    }

    /// Returns the keys that lead to `place`, joined with dots.
    fn path(&self, place: u32) -> String {
        let mut keys = Vec::new();
        let mut at = place;
        while let Some((around, _, key)) = self.0.get(at as usize) {
            keys.push(key.chars().take(40).collect::<String>());
            at = *around;
        }
        keys.reverse();
        keys.join(".")
    }
}

fn may_hold_tensors(value: &Value) -> bool {
    matches!(value, Value::Dict(_) | Value::List(_) | Value::Tuple(_) | Value::Module(_))
}

/// Counts the tensors in a dictionary; returns `None` if it has none.
///
/// `known` records for each reference whether its text is a ResMLP's name, so that a name is examined only once,
/// however many dictionaries use it.
fn candidate(
    machine: &Machine,
    place: u32,
    dict: Ref,
    vocabulary: &Vocabulary,
    known: &mut [Option<bool>],
) -> Option<Candidate> {
    let Value::Dict(entries) = machine.value(dict) else {
        return None;
    };
    let mut candidate = Candidate { place, dict, weights: 0, tensors: 0, recognised: 0 };
    let mut has_any = false;
    for (key, value) in entries {
        if !matches!(machine.value(*value), Value::Tensor(_) | Value::UnreadTensor(_)) {
            continue;
        }
        has_any = true;
        let is_readable = is_readable(machine, *value);
        let is_weight = machine.text(*key).is_some_and(|name| name.ends_with("weight") || name.ends_with("bias"));
        candidate.tensors += usize::from(is_readable);
        candidate.weights += usize::from(is_readable && is_weight);
        if let (Some(name), Some(known)) = (machine.text(*key), known.get_mut(*key as usize)) {
            let is_known = *known.get_or_insert_with(|| name.len() <= NAME_LIMIT && vocabulary.knows(name));
            candidate.recognised += usize::from(is_known);
        }
    }
    has_any.then_some(candidate)
}
