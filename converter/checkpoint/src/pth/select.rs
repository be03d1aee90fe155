//! Finds the network's weights among everything that a training script saved.

use super::limits::NAME_LIMIT;
use super::pickle::Machine;
use super::reason::PthReason;
use super::rebuild::class_name;
use super::value::{Obstacle, Ref, Value, View};
use crate::error::Reason;
use crate::names::{self, NamesReason, Vocabulary};
use crate::tensors::{Unread, Unreadable};
use std::collections::{BTreeMap, VecDeque};

/// A dictionary of tensors: the weights, or something like them.
pub(super) struct Selection<'m> {
    /// Views by name; of two with the same name the later one counts, as in Python.
    pub tensors: BTreeMap<&'m str, &'m View>,
    /// What else lies beside them.
    pub unreadable: Unreadable,
    /// What was chosen, where there was a choice.
    pub notes: Vec<String>,
    /// Whether the caller's key named this dictionary.
    pub key_is_used: bool,
}

/// Most dictionaries with a ResMLP's names that there may be.
const MOST_CANDIDATES: usize = 256;

/// What there is to choose from.
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
    /// Number of tensors that can be read and are called weights or biases, as those of an optimiser are not.
    weights: usize,
    /// Number of tensors that can be read.
    tensors: usize,
    /// Number of tensors with a ResMLP's names.
    recognised: usize,
}

impl Candidate {
    /// How large the dictionary is, weights and biases first.
    fn size(&self) -> (usize, usize) {
        (self.weights, self.tensors)
    }
}

/// Chooses the dictionary under `root` that holds the most tensors with a ResMLP's names.
///
/// Between equals an average of the weights comes first, then a teacher (DINO), then what is found first. Where `key`
/// names one or several of the dictionaries, the choice is among them.
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
    let (mut tensors, mut unreadable) = (BTreeMap::new(), Unreadable::new());
    for (name, value) in entries(machine, best.dict) {
        match (machine.value(value), obstacle(machine, name, value)) {
            (Value::Tensor(view), None) => {
                unreadable.remove(name);
                tensors.insert(name, &**view);
            }
            (_, Some((name, unread))) => {
                tensors.remove(name.as_str());
                unreadable.insert(name, unread);
            }
            _ => {}
        }
    }
    Ok(Selection { tensors, unreadable, notes, key_is_used })
}

/// The entries of a dictionary whose names are no longer than a tensor's.
fn entries<'m>(machine: &'m Machine, dict: Ref) -> impl Iterator<Item = (&'m str, Ref)> {
    let entries = match machine.value(dict) {
        Value::Dict(entries) => entries.as_slice(),
        _ => &[],
    };
    let named = entries.iter().map(|(key, value)| (machine.text(*key).unwrap_or("?"), *value));
    named.filter(|(name, _)| name.len() <= NAME_LIMIT)
}

/// Why the value called `name` cannot be read as a tensor; `None` if it can, or is plain data. A packed layer gets the
/// name of its weights.
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

/// The reason for a `root` without weights by name, where it may be or hold a whole network.
fn no_candidate(machine: &Machine, root: Ref, network: Option<(u32, Ref)>, places: &Places) -> PthReason {
    match (machine.value(root), network) {
        (_, Some((place, class))) => PthReason::Object { place: places.path(place), class: class_name(machine, class) },
        (Value::Object(class), None) => PthReason::Object { place: String::new(), class: class_name(machine, *class) },
        _ => PthReason::NoStateDict,
    }
}

/// Finds every dictionary that can be reached from `root` and holds tensors, and the first whole network; breadth
/// first.
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

/// Where values lie: each place knows the one around it, so that paths are only written out for messages.
#[derive(Default)]
struct Places<'m>(Vec<(u32, u32, &'m str)>);

impl<'m> Places<'m> {
    /// The file itself.
    const ROOT: u32 = u32::MAX;
    /// How deep a place may lie.
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

    /// The keys that lead to `place`, with dots between them.
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

/// Counts the tensors in a dictionary; `None` where there are none. `known` keeps whether the text behind a reference
/// is a ResMLP's name, so that a name is looked at once, however often it is used.
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
        let is_readable = obstacle(machine, "", *value).is_none();
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
