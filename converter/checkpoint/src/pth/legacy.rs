//! Reads what `torch.save` wrote before PyTorch 1.6.
//!
//! Such a file begins with five pickles: the magic number, the protocol, the system, the data and the storage keys. The
//! storages follow in the order of the keys, each as an `i64` count and raw little-endian elements.

use super::pickle::Machine;
use super::reason::{PickleReason, PthReason};
use super::value::{Place, Storage};
use super::views::{Wanted, state_dict};
use crate::error::{Error, Result};
use crate::tensors::StateDict;
use std::collections::HashMap;
use std::path::Path;

/// The pickled magic number that every legacy file begins with.
pub(crate) const MAGIC: &[u8] = &[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Reads every floating-point tensor of the state dict in the file.
pub(crate) fn read(path: &Path, bytes: &[u8], wanted: Wanted) -> Result<StateDict> {
    let fail = |reason: PthReason| Error::file(path, reason);
    let damaged = |reason: PickleReason| fail(reason.into());
    let mut machine = Machine::new(bytes, bytes.len());
    for _ in ["magic number", "protocol", "system"] {
        machine.pickle().map_err(damaged)?;
    }
    let root = machine.pickle().map_err(damaged)?;
    let keys = machine.pickle().map_err(damaged)?;
    let known = machine.storages();
    let mut rest = machine.rest();
    let mut storages: HashMap<&str, &[u8]> = HashMap::new();
    for key in machine.members(keys).ok_or_else(|| damaged(PickleReason::Shape("the storage keys are no list")))? {
        let key = machine.text(*key).ok_or_else(|| damaged(PickleReason::Shape("a storage key that is no text")))?;
        let storage =
            known.get(key).ok_or_else(|| damaged(PickleReason::Shape("a storage that belongs to no tensor")))?;
        storages.insert(key, raw(key, storage, &mut rest).map_err(fail)?);
    }
    state_dict(path, bytes.len(), &machine, root, wanted, |storage| match storage.place {
        Place::Key(key) => storages.get(key).copied().ok_or_else(|| PthReason::NoStorage(key.into())),
        Place::Inline(_) => Err(PthReason::Tensor("a storage without a key")),
    })
}

/// Takes the bytes of the storage `key` off the front of `rest`.
fn raw<'a>(key: &str, storage: &Storage, rest: &mut &'a [u8]) -> std::result::Result<&'a [u8], PthReason> {
    let wrong = |found: String| {
        let expected = format!("{} elements of {} bytes", storage.elements, storage.kind.size);
        PthReason::StorageLength { key: key.into(), found, expected }
    };
    let ends = || wrong("its end missing (the file ends in it; is it complete?)".into());
    let (count, data) = rest.split_first_chunk::<8>().ok_or_else(ends)?;
    let count = i64::from_le_bytes(*count);
    if usize::try_from(count).ok() != Some(storage.elements) {
        return Err(wrong(format!("{count} elements in the file")));
    }
    let length = storage.elements.checked_mul(storage.kind.size).ok_or_else(ends)?;
    let (bytes, after) = data.split_at_checked(length).ok_or_else(ends)?;
    *rest = after;
    Ok(bytes)
}
