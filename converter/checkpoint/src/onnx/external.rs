//! Reads the external data of ONNX tensors, from files in the model's folder alone.

use super::proto::{DataLocation, StringStringEntryProto, TensorProto};
use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The files beside a model.
pub(super) struct External {
    folder: PathBuf,
    lengths: HashMap<PathBuf, u64>,
    /// Number of bytes that were read so far.
    read: u64,
}

impl External {
    /// Creates a reader of the files in the folder of the model at `model`.
    pub fn beside(model: &Path) -> Self {
        let folder = match model.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Self { folder: folder.to_path_buf(), lengths: HashMap::new(), read: 0 }
    }

    /// Returns the size in bytes of all files that were read so far.
    pub fn total(&self) -> u64 {
        self.lengths.values().fold(0, |total, length| total.saturating_add(*length))
    }

    /// Reads the numbers of `tensor` into it, if they lie in a file beside the model.
    pub fn bring_in(&mut self, tensor: &mut TensorProto) -> Result<(), String> {
        if tensor.data_location != DataLocation::External as i32 {
            return Ok(());
        }
        tensor.raw_data = self.read(&tensor.external_data)?.into();
        tensor.external_data.clear();
        tensor.data_location = DataLocation::Default as i32;
        Ok(())
    }

    /// Reads the bytes that `entries` (location, offset, length) point to.
    fn read(&mut self, entries: &[StringStringEntryProto]) -> Result<Vec<u8>, String> {
        let entry = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let location = entry("location").ok_or("external data without a location")?;
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("external data at '{text}'; expected a number"));
        let offset = entry("offset").map_or(Ok(0), number)?;
        let (file_path, mut file, file_length) = self.open(location)?;
        let length = entry("length").map_or(Ok(file_length.saturating_sub(offset)), number)?;
        if offset.checked_add(length).is_none_or(|end| end > file_length) {
            return Err(format!("bytes {offset} to {offset} + {length} of '{location}', which has {file_length}"));
        }
        self.lengths.insert(file_path, file_length);
        self.read = self.read.saturating_add(length);
        // Several tensors may share a weight. The limit refuses a model whose many tensors all copy one part of a file.
        if self.read > self.total().saturating_mul(2).saturating_add(1 << 20) {
            return Err(format!("external data in '{location}' that is read many times over"));
        }
        let fail = |e: std::io::Error| format!("'{location}': {e}");
        file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes).map_err(fail)?;
        Ok(bytes)
    }

    /// Opens the file at `location`. The file must lie in the model's folder after links are followed, and must have no
    /// second name (hard link).
    fn open(&self, location: &str) -> Result<(PathBuf, File, u64), String> {
        let relative = Path::new(location);
        let is_plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_plain || location.is_empty() {
            return Err(format!("external data in '{location}'; expected a file in the model's folder"));
        }
        let fail = |e: std::io::Error| format!("external data in '{location}': {e}");
        let folder = self.folder.canonicalize().map_err(fail)?;
        let path = folder.join(relative).canonicalize().map_err(fail)?;
        if !path.starts_with(&folder) {
            return Err(format!("external data in '{location}', a link out of the model's folder"));
        }
        let file = resmlp_files::open(&path).map_err(|e| match e.kind() {
            ErrorKind::InvalidInput => format!("external data in '{location}', which is not a file"),
            _ => fail(e),
        })?;
        let metadata = file.metadata().map_err(fail)?;
        if names(&metadata) > 1 {
            return Err(format!(
                "external data in '{location}', which has a second name (a hard link) that may be outside of the model's \
                 folder; expected a plain copy"
            ));
        }
        Ok((path, file, metadata.len()))
    }
}

/// Returns the number of names (hard links) of a file.
#[cfg(unix)]
fn names(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// Returns 1, because the standard library counts a file's names on Unix alone.
#[cfg(not(unix))]
fn names(_: &std::fs::Metadata) -> u64 {
    1
}
