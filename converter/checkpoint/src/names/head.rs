//! Finds the classifier, which is one linear layer under any of the usual names, inside the network or beside it.

use super::head_names::{ROOTS, root};
use super::reason::NamesReason;
use super::reparametrise::PAIRS;
use super::surroundings::Surroundings;
use super::take::Taker;
use crate::error::Result;
use resmlp_network::Linear;
use std::collections::{BTreeMap, BTreeSet};

/// Description of a classifier that stands beside several networks.
const SHARED: &str = "a classifier that may belong to any of several networks in the file; --embedding leaves it out";

/// Returns the part of a name behind its last dot.
fn last_word(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Returns the layer that the tensor `name` belongs to, also if the tensor is only one half of a parameter.
fn layer(name: &str) -> String {
    let parameter = PAIRS.iter().find_map(|pair| pair.parameter_of(name)).unwrap_or_else(|| name.to_string());
    parameter.rsplit_once('.').map_or(String::new(), |(layer, _)| layer.to_string())
}

/// Takes the classifier out of the checkpoint, or returns `joined`, a classifier from another file.
///
/// `own` is the dialect's name for the classifier. The function returns `None` if the network is an embedding model,
/// and it adds a note for each classifier that it leaves out.
///
/// # Errors
/// Returns an error if there are several classifiers, if the classifier has several layers or the wrong shape, or if it
/// may belong to another network in the file.
pub(super) fn classifier(
    taker: &mut Taker,
    own: &str,
    dim: usize,
    around: &Surroundings,
    joined: Option<Linear>,
    is_embedding: bool,
    notes: &mut Vec<String>,
) -> Result<Option<Linear>> {
    let mut heads = heads(taker, own, around);
    if is_embedding {
        for (head, names) in std::mem::take(&mut heads) {
            notes.push(format!("classifier '{head}' left out (--embedding)"));
            taker.leave_out(&names);
        }
    }
    if let (Some(_), Some(names)) = (&joined, heads.values().next()) {
        return Err(taker.error(&names[0], NamesReason::HeadTwice));
    }
    if let Some(joined) = joined {
        return Ok(Some(joined));
    }
    let prefix = around.prefix();
    let mut found: Vec<_> = heads.into_iter().collect();
    // The dialect's own name comes first, so that a message calls the other one the second.
    found.sort_by_key(|(head, _)| *head != format!("{prefix}{}", root(own)));
    let mut found = found.into_iter();
    let Some((first, names)) = found.next() else {
        notes.push(format!("no classifier '{prefix}{own}.weight': the result is an embedding of {dim} numbers"));
        return Ok(None);
    };
    if let Some((_, names)) = found.next() {
        return Err(taker.error(&names[0], NamesReason::SecondHead { first }));
    }
    if around.is_shared(&first[..first.len() - last_word(&first).len()]) {
        return Err(taker.error(&names[0], NamesReason::Unexpected(Some(SHARED))));
    }
    let layers: BTreeSet<String> = names.iter().map(|name| layer(name)).collect();
    let mut layers = layers.into_iter();
    let layer = layers.next().unwrap_or_default();
    if let Some(second) = layers.next() {
        let called = names.iter().find(|name| name.starts_with(&second)).unwrap_or(&names[0]);
        let all = names.iter().map(|name| taker.file_name(name)).collect();
        return Err(taker.error(called, NamesReason::DeepHead(all)));
    }
    taker.set_prefix("");
    let linear = taker.linear(&layer, None, Some(dim));
    taker.set_prefix(prefix);
    Ok(Some(linear?))
}

/// Returns whether `module` follows the network in an `nn.Sequential`: behind the same `place`, the network's prefix
/// ends in a number, and `module` is the next number.
fn is_next(place: &str, module: &str, prefix: &str) -> bool {
    let number = prefix.strip_prefix(place).and_then(|own| own.strip_suffix('.')?.parse::<usize>().ok());
    number.is_some_and(|number| module.parse() == Ok(number + 1))
}

/// Returns the full names of the tensors of every classifier that has not been taken, by the classifier's full name.
fn heads(taker: &Taker, own: &str, around: &Surroundings) -> BTreeMap<String, Vec<String>> {
    let mut heads: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in taker.names().filter(|name| !around.is_elsewhere(name) && around.stranger(name).is_none()) {
        let place = around.places().iter().find_map(|place| {
            let rest = name.strip_prefix(place.as_str())?;
            let (first, _) = rest.split_once('.')?;
            let is_own = *place == around.prefix() && first == root(own);
            (is_own || ROOTS.contains(&first) || is_next(place, first, around.prefix()))
                .then(|| format!("{place}{first}"))
        });
        if let Some(place) = place {
            heads.entry(place).or_default().push(name.clone());
        }
    }
    heads
}
