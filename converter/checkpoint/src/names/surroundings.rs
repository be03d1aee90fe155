//! Tells what a tensor outside the network's own modules belongs to.

use super::dialects::Words;
use super::head_names::is_head;
use super::strangers::{projection_heads, stranger};
use std::collections::BTreeSet;

/// The place of the network in the dictionary, and what lies around it.
pub(super) struct Surroundings {
    /// Prefixes of the network's names and of its wrappers' names, from the inside out.
    places: Vec<String>,
    /// Prefixes of other networks' names.
    others: Vec<String>,
    words: &'static Words,
    /// Prefixes of the parts of DINO's projection heads.
    projections: BTreeSet<String>,
}

impl Surroundings {
    /// Describes what lies around the network behind `prefix`; `names` are all names in the dictionary.
    pub fn new<'a>(
        words: &'static Words,
        prefix: &str,
        others: &[String],
        names: impl Iterator<Item = &'a String>,
    ) -> Self {
        Self { places: places(prefix), others: others.to_vec(), words, projections: projection_heads(names) }
    }

    /// Returns the prefix of the network's names.
    pub fn prefix(&self) -> &str {
        self.places.first().map_or("", String::as_str)
    }

    /// Returns the prefixes of the network and of its wrappers, from the inside out.
    pub fn places(&self) -> &[String] {
        &self.places
    }

    /// Returns whether a tensor behind the prefix `place` may also belong to another network.
    pub fn is_shared(&self, place: &str) -> bool {
        place != self.prefix() && self.others.iter().any(|other| other.starts_with(place))
    }

    /// Returns a description of the tensor `name` if it is a known stranger.
    pub fn stranger(&self, name: &str) -> Option<&'static str> {
        stranger(name, &self.places, &self.projections)
    }

    /// Returns whether the tensor `name` belongs to another network in the same dictionary.
    pub fn is_elsewhere(&self, name: &str) -> bool {
        let own = self.prefix();
        self.others.iter().any(|other| {
            // If both prefixes fit the name, it belongs to the network with the longer one.
            if name.starts_with(own) && own.len() > other.len() {
                return false;
            }
            let scope = places(other).get(1).cloned().unwrap_or_default();
            let in_scope = !scope.is_empty() && !own.starts_with(&scope) && name.starts_with(&scope);
            let inside = match other.as_str() {
                "" => self.words.owns(name, 0) || is_head(name),
                other => name.starts_with(other),
            };
            inside || in_scope
        })
    }
}

/// Returns `prefix` and the prefixes around it: for `a.b.` these are `a.b.`, `a.` and the empty prefix.
fn places(prefix: &str) -> Vec<String> {
    let mut places = vec![prefix.to_string()];
    while let Some(place) = places.last().filter(|place| !place.is_empty()) {
        let outer =
            place.trim_end_matches('.').rsplit_once('.').map_or(String::new(), |(outer, _)| format!("{outer}."));
        places.push(outer);
    }
    places
}
