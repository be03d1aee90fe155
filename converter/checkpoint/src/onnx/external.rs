//! External data of ONNX tensors: files beside the model, and nothing outside its folder.

use super::proto::StringStringEntryProto;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// The files beside a model.
pub(super) struct External {
    folder: PathBuf,
    lengths: HashMap<PathBuf, u64>,
}

impl External {
    /// Files in the folder of the model at `model`.
    pub fn beside(model: &Path) -> Self {
        let folder = match model.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        Self { folder: folder.to_path_buf(), lengths: HashMap::new() }
    }

    /// Bytes of all files that were read so far.
    pub fn total(&self) -> u64 {
        self.lengths.values().fold(0, |total, length| total.saturating_add(*length))
    }

    /// The `length` bytes that `entries` (location, offset, length) point to.
    pub fn read(&mut self, entries: &[StringStringEntryProto], length: usize) -> Result<Vec<u8>, String> {
        let entry = |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let location = entry("location").ok_or("external data without a location")?;
        let number =
            |text: &str| text.parse::<u64>().map_err(|_| format!("external data at '{text}'; expected a number"));
        let offset = entry("offset").map_or(Ok(0), number)?;
        let stated = entry("length").map_or(Ok(length as u64), number)?;
        if stated != length as u64 {
            return Err(format!("{stated} bytes of external data; expected {length}"));
        }
        let (file_path, mut file, file_length) = self.open(location)?;
        if offset.checked_add(stated).is_none_or(|end| end > file_length) {
            return Err(format!("bytes {offset} to {offset} + {stated} of '{location}', which has {file_length}"));
        }
        self.lengths.insert(file_path, file_length);
        let fail = |e: std::io::Error| format!("'{location}': {e}");
        file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        let mut bytes = Vec::new();
        file.take(stated).read_to_end(&mut bytes).map_err(fail)?;
        Ok(bytes)
    }

    /// Opens the file at `location`, which must lie in the model's folder, links followed, and have no other name elsewhere.
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
        // Looked at before it is opened: to open a pipe would wait for who writes to it.
        let metadata = path.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(format!("external data in '{location}', which is not a file"));
        }
        if names(&metadata) > 1 {
            return Err(format!(
                "external data in '{location}', which has a second name (a hard link) that may be outside of the model's \
                 folder; expected a plain copy"
            ));
        }
        let file = File::open(&path).map_err(fail)?;
        Ok((path, file, metadata.len()))
    }

    /// Checks that `location` could be read, without reading it.
    pub fn check(&self, entries: &[StringStringEntryProto]) -> Result<(), String> {
        let location = entries.iter().find(|entry| entry.key == "location").map(|entry| entry.value.as_str());
        self.open(location.ok_or("external data without a location")?).map(|_| ())
    }
}

/// How many names a file has.
#[cfg(unix)]
fn names(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

/// Elsewhere the standard library does not say.
#[cfg(not(unix))]
fn names(_: &std::fs::Metadata) -> u64 {
    1
}
