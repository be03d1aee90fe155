//! `torch.save` since PyTorch 1.6: a zip archive of one pickle and one entry a storage, none compressed.

use super::pickle::Machine;
use super::value::Storage;
use super::views::state_dict;
use crate::error::{Error, Result};
use crate::tensors::StateDict;
use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// Every floating-point tensor of the state dict in the archive.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict> {
    let fail = |message: String| Error::file(path, message);
    let mut archive = Archive::open(bytes).map_err(fail)?;
    let pickle = archive.entry("data.pkl").map_err(fail)?;
    if archive.has("constants.pkl") {
        return Err(fail(
            "a TorchScript archive; expected a state_dict: save model.state_dict() with torch.save".into(),
        ));
    }
    if archive.has("byteorder") && archive.entry("byteorder").map_err(fail)? == b"big" {
        return Err(fail("a checkpoint with big-endian numbers; expected little-endian ones".into()));
    }
    let mut machine = Machine::new(pickle);
    let root = machine.pickle().map_err(|e| fail(format!("data.pkl: {e}")))?;
    let mut checked: HashMap<String, &[u8]> = HashMap::new();
    state_dict(path, bytes.len(), &machine, root, |storage| {
        if let Some(bytes) = checked.get(&storage.key) {
            return Ok(bytes);
        }
        let bytes = archive.storage(storage)?;
        checked.insert(storage.key.clone(), bytes);
        Ok(bytes)
    })
}

/// A zip archive in memory whose entries all lie in one folder, as torch writes them.
struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> std::result::Result<Self, String> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|e| format!("a damaged zip archive ({e}); expected what torch.save writes"))?;
        let folder = zip.file_names().find_map(|name| name.strip_suffix("data.pkl")).map(str::to_string);
        let folder = folder.ok_or("a zip archive without data.pkl; expected what torch.save writes")?;
        Ok(Self { bytes, zip, folder })
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.folder)).is_some()
    }

    /// The elements of `storage`.
    fn storage(&mut self, storage: &Storage) -> std::result::Result<&'a [u8], String> {
        let Storage { key, kind, elements } = storage;
        let bytes = self.entry(&format!("data/{key}"))?;
        if elements.checked_mul(kind.size) != Some(bytes.len()) {
            let (found, size) = (bytes.len(), kind.size);
            return Err(format!("storage '{key}' has {found} bytes; expected {elements} elements of {size} bytes"));
        }
        Ok(bytes)
    }

    /// The bytes of the entry `name` where they lie, checked against the archive's checksum.
    fn entry(&mut self, name: &str) -> std::result::Result<&'a [u8], String> {
        let mut entry =
            self.zip.by_name(&format!("{}{name}", self.folder)).map_err(|e| format!("zip entry '{name}': {e}"))?;
        if entry.compression() != CompressionMethod::Stored {
            return Err(format!("zip entry '{name}' is compressed; torch.save stores its entries as they are"));
        }
        let start = usize::try_from(entry.data_start().unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let length = usize::try_from(entry.size()).unwrap_or(usize::MAX);
        let bytes = start.checked_add(length).and_then(|end| self.bytes.get(start..end));
        let bytes = bytes.ok_or_else(|| format!("zip entry '{name}' lies outside the file; is the file complete?"))?;
        std::io::copy(&mut entry.by_ref().take(entry_limit(length)), &mut std::io::sink())
            .map_err(|e| format!("zip entry '{name}': {e}"))?;
        Ok(bytes)
    }
}

/// One byte more than the entry has, so that reading meets its end, where the checksum is compared.
fn entry_limit(length: usize) -> u64 {
    length as u64 + 1
}
