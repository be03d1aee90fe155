//! Tells what a name outside the network's own modules belongs to.

use super::dialects::Words;
use super::head_names::is_head;
use super::strangers::{projection_heads, stranger};
use std::collections::BTreeSet;

/// Where the network lies among everything in the dictionary.
pub(super) struct Surroundings {
    /// What stands before the network's names, then what stands before its wrappers' names, from the inside out.
    places: Vec<String>,
    /// What stands before the names of other networks.
    others: Vec<String>,
    words: &'static Words,
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

    /// What stands before the network's names.
    pub fn prefix(&self) -> &str {
        self.places.first().map_or("", String::as_str)
    }

    /// The prefix of the network and those of its wrappers.
    pub fn places(&self) -> &[String] {
        &self.places
    }

    /// Whether what stands at `place` may as well belong to another network.
    pub fn is_shared(&self, place: &str) -> bool {
        place != self.prefix() && self.others.iter().any(|other| other.starts_with(place))
    }

    /// Says what `name` is, if it is one of the known strangers.
    pub fn stranger(&self, name: &str) -> Option<&'static str> {
        stranger(name, &self.places, &self.projections)
    }

    /// Whether the tensor `name` belongs to another network in the same dictionary.
    pub fn is_elsewhere(&self, name: &str) -> bool {
        let own = self.prefix();
        self.others.iter().any(|other| {
            // A longer prefix is the closer one.
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

/// `a.b.`, `a.` and the empty prefix for `a.b.`.
fn places(prefix: &str) -> Vec<String> {
    let mut places = vec![prefix.to_string()];
    while let Some(place) = places.last().filter(|place| !place.is_empty()) {
        let outer =
            place.trim_end_matches('.').rsplit_once('.').map_or(String::new(), |(outer, _)| format!("{outer}."));
        places.push(outer);
    }
    places
}
