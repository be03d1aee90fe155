//! `torch.save` before PyTorch 1.6: five pickles (magic number, protocol, system, the data, storage keys), then the
//! storages in the order of their keys, each an `i64` count and raw little-endian elements.

use super::pickle::Machine;
use super::value::Storage;
use super::views::state_dict;
use crate::error::{Error, Result};
use crate::tensors::StateDict;
use std::collections::HashMap;
use std::path::Path;

/// The pickled magic number that every legacy file begins with.
pub(crate) const MAGIC: &[u8] = &[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Every floating-point tensor of the state dict in the file.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict> {
    let fail = |message: String| Error::file(path, format!("a damaged PyTorch file: {message}"));
    let mut machine = Machine::new(bytes);
    for _ in ["magic number", "protocol", "system"] {
        machine.pickle().map_err(fail)?;
    }
    let root = machine.pickle().map_err(fail)?;
    let keys = machine.pickle().map_err(fail)?;
    let known = machine.storages();
    let mut rest = machine.rest();
    let mut storages: HashMap<&str, &[u8]> = HashMap::new();
    for key in machine.members(keys).ok_or_else(|| fail("the storage keys are no list".into()))? {
        let key = machine.text(*key).ok_or_else(|| fail("a storage key that is no text".into()))?;
        let storage = known.get(key).ok_or_else(|| fail(format!("storage '{key}' belongs to no tensor")))?;
        storages.insert(key, raw(storage, &mut rest).map_err(fail)?);
    }
    state_dict(path, bytes.len(), &machine, root, |storage| {
        let stored = storages.get(storage.key.as_str()).copied();
        stored.ok_or_else(|| format!("its storage '{}' is not in the file", storage.key))
    })
}

/// Splits one storage off `rest`.
fn raw<'a>(storage: &Storage, rest: &mut &'a [u8]) -> std::result::Result<&'a [u8], String> {
    let ends = || format!("the file ends in storage '{}'; is it complete?", storage.key);
    let (count, data) = rest.split_first_chunk::<8>().ok_or_else(ends)?;
    let count = i64::from_le_bytes(*count);
    if usize::try_from(count).ok() != Some(storage.elements) {
        let (key, expected) = (&storage.key, storage.elements);
        return Err(format!("storage '{key}' has {count} elements in the file; expected {expected}"));
    }
    let length = storage.elements.checked_mul(storage.kind.size).ok_or_else(ends)?;
    let (bytes, after) = data.split_at_checked(length).ok_or_else(ends)?;
    *rest = after;
    Ok(bytes)
}
