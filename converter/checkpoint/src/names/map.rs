//! Reads a TOML file that maps a checkpoint's tensor names to timm's, for re-implementations that this reader does not
//! know.
//!
//! ```toml
//! linear = "in_out"        # linear layers are stored as [inputs, outputs]; "out_in" is PyTorch's way and the default
//! affine = "stream"        # Affs act on the residual stream itself; "branch" is the paper's way and the default
//! final_affine = false     # there is no Aff before the mean over patches; true is the default
//! first_block = 1          # number of the first block; 0 is the default
//! activation = "relu"      # gelu, gelu-tanh or relu, where --activation does not say it
//!
//! [names]                  # timm's name = the file's; {} is the number of the block
//! "stem.proj.weight" = "patch_embed.weight"
//! "blocks.{}.norm1.alpha" = "layers.{}.norm_1.scale"
//! ```

use super::choice::{answers, preference};
use super::reason::list_of_places;
use crate::error::{Error, Result};
use resmlp_network::{Activation, AffinePlacement};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Length in bytes of the longest map that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Largest number of other networks that are recognised; tensors of any further network count as unexpected.
const MOST_OTHERS: usize = 64;

/// Why a map of names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MapReason {
    /// The file is not TOML.
    #[error("not a map of names in TOML: {0}")]
    NotToml(String),
    /// The file is too long.
    #[error("longer than {} KiB; expected a map of names in TOML", MAX_FILE_BYTES >> 10)]
    Long,
    /// The file has an unknown key.
    #[error("unknown key '{0}'; expected linear, affine, final_affine, first_block, activation and [names]")]
    UnknownKey(String),
    /// A key has a value that is not allowed.
    #[error("{key} = {found}; expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value in the file.
        found: String,
        /// Values that the key may have.
        expected: &'static str,
    },
    /// The file has no table of names.
    #[error("no table [names]; expected lines such as \"stem.proj.weight\" = \"the file's name\"")]
    NoNames,
    /// The name on the left is not one of timm's.
    #[error("[names]: '{0}' is none of timm's names; expected one such as blocks.{{}}.norm1.alpha")]
    NotTimms(String),
    /// The map lacks one of timm's names that it needs.
    #[error("[names]: '{0}' is not given, and a ResMLP needs it")]
    NotGiven(&'static str),
    /// The name on the right does not have exactly the placeholders for a block's number that it needs.
    #[error(
        "[names]: '{name}' = '{found}'; expected {{}} {} on the right, for the number of the block",
        if *.is_block { "once" } else { "nowhere" }
    )]
    Braces {
        /// Timm's name.
        name: String,
        /// The name on the right.
        found: String,
        /// Whether the tensor belongs to a block.
        is_block: bool,
    },
    /// The map gives the same name for two of timm's names.
    #[error("[names]: '{0}' is given for two of timm's names")]
    Twice(String),
    /// The checkpoint has none of the names in the map.
    #[error("the checkpoint has no tensor '{0}' as the map of names says, with or without a prefix")]
    NoMatch(String),
    /// `--key` matches none of the places with weights.
    #[error("no weights under '{key}' (--key); {}", list_of_places(.available))]
    NoKey {
        /// The caller's key.
        key: String,
        /// The places that have weights.
        available: Vec<String>,
    },
}

/// Timm's names, and whether a map must give them.
const TIMM: [(&str, Need); 20] = [
    ("stem.proj.weight", Need::Always),
    ("stem.proj.bias", Need::Always),
    ("stem.norm.alpha", Need::Never),
    ("stem.norm.beta", Need::Never),
    ("blocks.{}.norm1.alpha", Need::Always),
    ("blocks.{}.norm1.beta", Need::Always),
    ("blocks.{}.linear_tokens.weight", Need::Always),
    ("blocks.{}.linear_tokens.bias", Need::Always),
    ("blocks.{}.ls1", Need::Always),
    ("blocks.{}.norm2.alpha", Need::Always),
    ("blocks.{}.norm2.beta", Need::Always),
    ("blocks.{}.mlp_channels.fc1.weight", Need::Always),
    ("blocks.{}.mlp_channels.fc1.bias", Need::Always),
    ("blocks.{}.mlp_channels.fc2.weight", Need::Always),
    ("blocks.{}.mlp_channels.fc2.bias", Need::Always),
    ("blocks.{}.ls2", Need::Always),
    ("norm.alpha", Need::FinalAffine),
    ("norm.beta", Need::FinalAffine),
    ("head.weight", Need::Never),
    ("head.bias", Need::Never),
];

/// When a map must give a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Always,
    /// Only for a network with a final Aff, which is the default.
    FinalAffine,
    Never,
}

/// Largest number of digits in a block's number.
const MOST_DIGITS: usize = 5;

/// A map from the tensor names of a checkpoint to timm's.
#[derive(Clone, Debug)]
pub(crate) struct NameMap {
    patterns: Vec<Pattern>,
    first_block: usize,
    pub is_in_out: bool,
    pub placement: AffinePlacement,
    pub has_final_affine: bool,
    pub activation: Option<Activation>,
}

/// One of timm's names with the file's name for it.
///
/// The file's name is `before`, followed for tensors of a block by the block's number and `after`.
#[derive(Clone, Debug)]
struct Pattern {
    timm: &'static str,
    before: String,
    after: Option<String>,
}

impl Pattern {
    /// Returns the prefix of `name` and timm's name for it, or `None` if `name` does not fit the pattern.
    fn parse<'a>(&self, name: &'a str, first_block: usize) -> Option<(&'a str, String)> {
        let (rest, timm) = match &self.after {
            None => (name, self.timm.to_string()),
            Some(after) => {
                let rest = name.strip_suffix(after.as_str())?;
                let digits = rest.bytes().rev().take(MOST_DIGITS).take_while(u8::is_ascii_digit).count();
                let number = rest.len() - digits;
                // The name before the number may itself end with a digit, so every way to split is tried.
                let (cut, index) = (number..rest.len()).find_map(|at| {
                    let index = rest[at..].parse::<usize>().ok()?.checked_sub(first_block)?;
                    let is_plain = rest[at..].len() == 1 || !rest[at..].starts_with('0');
                    (is_plain && rest[..at].ends_with(self.before.as_str())).then_some((at, index))
                })?;
                (&rest[..cut], self.timm.replace("{}", &index.to_string()))
            }
        };
        let prefix = rest.strip_suffix(self.before.as_str())?;
        (prefix.is_empty() || prefix.ends_with('.')).then_some((prefix, timm))
    }
}

impl NameMap {
    /// Reads the map in the file `path`.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or is not a map of names.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = crate::read_small(path, MAX_FILE_BYTES)?.ok_or_else(|| Error::file(path, MapReason::Long))?;
        let text = String::from_utf8_lossy(&bytes);
        Self::parse(&text).map_err(|reason| Error::file(path, reason))
    }

    fn parse(text: &str) -> std::result::Result<Self, MapReason> {
        let table: toml::Table =
            text.parse().map_err(|e: toml::de::Error| MapReason::NotToml(e.to_string().trim().replace('\n', " ")))?;
        let known = ["linear", "affine", "final_affine", "first_block", "activation", "names"];
        if let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(MapReason::UnknownKey(key.clone()));
        }
        let value = |key: &'static str, expected| {
            let found = table.get(key).map_or(String::new(), describe);
            MapReason::Value { key, found, expected }
        };
        let is_in_out = match table.get("linear").map(toml::Value::as_str) {
            None | Some(Some("out_in")) => false,
            Some(Some("in_out")) => true,
            Some(_) => return Err(value("linear", "\"in_out\" or \"out_in\"")),
        };
        let placement = match table.get("affine").map(toml::Value::as_str) {
            None | Some(Some("branch")) => AffinePlacement::Branch,
            Some(Some("stream")) => AffinePlacement::Stream,
            Some(_) => return Err(value("affine", "\"branch\" or \"stream\"")),
        };
        let has_final_affine = match table.get("final_affine") {
            None => true,
            Some(found) => found.as_bool().ok_or_else(|| value("final_affine", "true or false"))?,
        };
        let first_block = match table.get("first_block") {
            None => 0,
            Some(found) => {
                let number = found.as_integer().and_then(|number| u16::try_from(number).ok());
                usize::from(number.ok_or_else(|| value("first_block", "a number such as 0 or 1"))?)
            }
        };
        let activation = match table.get("activation") {
            None => None,
            Some(found) => {
                let named = Activation::ALL.into_iter().find(|activation| found.as_str() == Some(activation.name()));
                Some(named.ok_or_else(|| value("activation", "\"gelu\", \"gelu-tanh\" or \"relu\""))?)
            }
        };
        let names = table.get("names").and_then(toml::Value::as_table).ok_or(MapReason::NoNames)?;
        let patterns = patterns(names, has_final_affine)?;
        Ok(Self { patterns, first_block, is_in_out, placement, has_final_affine, activation })
    }

    /// Returns whether `name`, behind any prefix, may be the name of a tensor of the network.
    pub fn knows(&self, name: &str) -> bool {
        let name = super::wrappers::unwrapped(name);
        self.patterns.iter().any(|pattern| pattern.parse(&name, self.first_block).is_some())
    }

    /// Returns timm's name for the tensor `name`, if that begins with `prefix` and is in the map.
    pub fn timm(&self, name: &str, prefix: &str) -> Option<String> {
        let parsed = self
            .patterns
            .iter()
            .find_map(|pattern| pattern.parse(name, self.first_block).filter(|(p, _)| *p == prefix));
        parsed.map(|(_, timm)| timm)
    }

    /// Returns the prefix of the network's names and the prefixes of other networks in the file.
    ///
    /// The network's prefix is the one that the most names have. A `key` restricts the choice to the prefixes that
    /// match it best.
    ///
    /// # Errors
    /// Returns an error if no name fits the map, or if no prefix matches `key`.
    pub fn place<'a>(
        &self,
        names: impl Iterator<Item = &'a String>,
        key: Option<&str>,
    ) -> std::result::Result<(String, Vec<String>), MapReason> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for name in names {
            let prefixes: BTreeSet<_> = self
                .patterns
                .iter()
                .filter_map(|pattern| pattern.parse(name, self.first_block))
                .map(|(p, _)| p)
                .collect();
            for prefix in prefixes {
                *counts.entry(prefix.to_string()).or_default() += 1;
            }
        }
        let places: Vec<_> = counts.iter().filter(|(_, count)| **count >= 6).map(|(place, _)| place.clone()).collect();
        if let Some(key) = key {
            let Some(best) = places.iter().filter_map(|place| answers(place, key)).max() else {
                return Err(MapReason::NoKey { key: key.into(), available: places });
            };
            counts.retain(|place, _| answers(place, key) == Some(best));
        }
        let best = counts.iter().rev().max_by_key(|(place, count)| (**count, preference(place)));
        let first = || self.patterns.first().map_or(String::new(), |pattern| pattern.before.clone());
        let best = best.ok_or_else(|| MapReason::NoMatch(first()))?.0.clone();
        let others = places.into_iter().filter(|place| *place != best).take(MOST_OTHERS).collect();
        Ok((best, others))
    }
}

/// Formats a TOML value for a message.
fn describe(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{:?}", text.chars().take(40).collect::<String>()),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(flag) => flag.to_string(),
        other => format!("a value of type {}", other.type_str()),
    }
}

fn patterns(names: &toml::Table, has_final_affine: bool) -> std::result::Result<Vec<Pattern>, MapReason> {
    if let Some(name) = names.keys().find(|name| !TIMM.iter().any(|(timm, _)| timm == name)) {
        return Err(MapReason::NotTimms(name.clone()));
    }
    let mut patterns = Vec::new();
    let mut seen = BTreeSet::new();
    for (timm, need) in TIMM {
        let is_needed = need == Need::Always || need == Need::FinalAffine && has_final_affine;
        let is_wanted = need != Need::FinalAffine || has_final_affine;
        let Some(found) = names.get(timm).and_then(toml::Value::as_str).filter(|_| is_wanted) else {
            if is_needed {
                return Err(MapReason::NotGiven(timm));
            }
            continue;
        };
        let is_block = timm.contains("{}");
        if found.matches("{}").count() != usize::from(is_block) {
            return Err(MapReason::Braces { name: timm.into(), found: found.into(), is_block });
        }
        if !seen.insert(found) {
            return Err(MapReason::Twice(found.into()));
        }
        let (before, after) = match found.split_once("{}") {
            Some((before, after)) => (before, Some(after.to_string())),
            None => (found, None),
        };
        patterns.push(Pattern { timm, before: before.to_string(), after });
    }
    Ok(patterns)
}
