//! Reads checkpoints that are split into several files, which an index lists.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::checkpoint::Format;
use crate::error::{Error, Result};
use crate::names::Vocabulary;
use crate::pth::Wanted;
use crate::tensors::{StateDict, Tensors, Unreadable};

/// End of the names of indices, as in `model.safetensors.index.json`.
const ENDING: &str = ".index.json";
/// Length in bytes of the longest index that is read.
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// Number of files of the largest checkpoint that is read.
const MAX_SHARDS: usize = 1000;

/// Why an index of shards cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ShardReason {
    /// The file is too long.
    #[error("longer than {} MiB; expected an index of shards", MAX_INDEX_BYTES >> 20)]
    Long,
    /// The file is not such an index.
    #[error(
        "expected an index of shards: JSON with an object 'weight_map' from the names of tensors to those of files"
    )]
    NotAnIndex,
    /// The index names something else than a file in its own folder.
    #[error("it names the shard '{0}'; expected up to {MAX_SHARDS} files in the folder of the index")]
    Elsewhere(String),
    /// A tensor is in two shards.
    #[error("a second tensor of this name; another shard of the checkpoint has one too")]
    Twice,
    /// A tensor of the index is in no shard.
    #[error("missing from the shards, although the index names it")]
    Missing,
}

/// Returns whether `path` is named like an index of shards.
pub(crate) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING))
}

/// Reads all shards that the index at `path` lists. Returns their format, their length in bytes and their tensors.
///
/// # Errors
/// Returns an error if the index or a shard cannot be read, if a shard lies outside the folder of the index, if two
/// shards have a tensor of the same name, or if a tensor of the index is in no shard.
pub(crate) fn read(path: &Path, vocabulary: &Vocabulary) -> Result<(Format, u64, StateDict)> {
    let fail = |reason: ShardReason| Error::file(path, reason);
    let bytes = crate::read_small(path, MAX_INDEX_BYTES)?.ok_or_else(|| fail(ShardReason::Long))?;
    let json: Value = serde_json::from_slice(&bytes).map_err(|_| fail(ShardReason::NotAnIndex))?;
    let map = json["weight_map"].as_object().ok_or_else(|| fail(ShardReason::NotAnIndex))?;
    let files: Option<BTreeSet<&str>> = map.values().map(Value::as_str).collect();
    let files = files.filter(|files| !files.is_empty()).ok_or_else(|| fail(ShardReason::NotAnIndex))?;
    let is_inside = |file: &str| !file.starts_with('.') && !file.contains(['/', '\\', ':', '\0']);
    if let Some(elsewhere) = files.iter().enumerate().find(|(at, file)| *at >= MAX_SHARDS || !is_inside(file)) {
        return Err(fail(ShardReason::Elsewhere(elsewhere.1.chars().take(80).collect())));
    }
    let mut all =
        StateDict { tensors: Tensors::new(), unreadable: Unreadable::new(), notes: vec![], key_is_used: false };
    let (mut format, mut length) = (Format::Safetensors, 0);
    for file in files {
        let shard = path.with_file_name(file);
        let (of_shard, bytes) = crate::open(&shard)?;
        let wanted = Wanted { vocabulary, key: None };
        let StateDict { tensors, unreadable, .. } = crate::state_dict(&shard, of_shard, &bytes, wanted)?;
        for name in tensors.keys().chain(unreadable.keys()) {
            if all.tensors.contains_key(name) || all.unreadable.contains_key(name) {
                return Err(Error::tensor(&shard, name, ShardReason::Twice));
            }
        }
        all.tensors.extend(tensors);
        all.unreadable.extend(unreadable);
        (format, length) = (of_shard, length + bytes.len() as u64);
    }
    let is_there = |name: &String| all.tensors.contains_key(name) || all.unreadable.contains_key(name);
    match map.keys().find(|name| !is_there(name)) {
        Some(missing) => Err(Error::tensor(path, missing, ShardReason::Missing)),
        None => Ok((format, length, all)),
    }
}
