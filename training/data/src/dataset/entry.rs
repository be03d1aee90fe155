//! One picture of a data set: where its file is, and its pixels if they are in memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use resmlp_picture::{Fit, Limits, Picture, Preprocess};

use super::{Options, Skipped};
use crate::error::{DataError, Result};

/// Number of pictures that are decoded before their memory is counted.
const CHUNK: usize = 512;

/// Bytes of memory that a picture takes at most beside its pixels: its entry, its name, and its place in the list.
pub const OVERHEAD: u64 = 512;

/// A picture.
#[derive(Debug)]
pub struct Entry {
    /// The path, or the place in the file that holds the picture.
    pub name: String,
    origin: Origin,
    limits: Limits,
    memory: Memory,
}

/// Place of a picture's file.
#[derive(Debug)]
enum Origin {
    /// The picture has no file and is in memory.
    Memory,
    /// A file of its own.
    File(PathBuf),
    /// A part of an archive.
    Archive { archive: Arc<Mutex<File>>, start: u64, length: u64 },
}

/// The part of a picture that is in memory.
#[derive(Debug)]
enum Memory {
    Nothing,
    Original(Picture),
    Smaller(Picture),
}

impl Entry {
    /// Creates an entry for a picture that has no file.
    pub fn in_memory(name: String, picture: Picture) -> Self {
        Self { name, origin: Origin::Memory, limits: Limits::desktop(), memory: Memory::Original(picture) }
    }

    /// Creates an entry for a picture file.
    pub fn file(path: PathBuf, limits: Limits) -> Self {
        let name = path.display().to_string();
        Self { name, origin: Origin::File(path), limits, memory: Memory::Nothing }
    }

    /// Creates an entry for a picture file that is a part of an archive.
    pub fn archived(name: String, archive: Arc<Mutex<File>>, start: u64, length: u64, limits: Limits) -> Self {
        Self { name, origin: Origin::Archive { archive, start, length }, limits, memory: Memory::Nothing }
    }

    /// Tells whether the picture need not be decoded any more.
    pub fn is_in_memory(&self) -> bool {
        !matches!(self.memory, Memory::Nothing)
    }

    /// Tells whether the picture is in memory and has fewer than `side` rows or columns. Pictures that were shrunk were
    /// larger.
    pub fn is_smaller_than(&self, side: u32) -> bool {
        matches!(&self.memory, Memory::Original(picture) if picture.height().min(picture.width()) < side)
    }

    /// Returns the picture, possibly shrunk.
    pub fn picture(&self) -> Result<Cow<'_, Picture>> {
        match &self.memory {
            Memory::Nothing => self.read().map(Cow::Owned),
            Memory::Original(picture) | Memory::Smaller(picture) => Ok(Cow::Borrowed(picture)),
        }
    }

    /// Returns the picture as its file has it.
    pub fn original(&self) -> Result<Cow<'_, Picture>> {
        match &self.memory {
            Memory::Nothing | Memory::Smaller(_) => self.read().map(Cow::Owned),
            Memory::Original(picture) => Ok(Cow::Borrowed(picture)),
        }
    }

    fn read(&self) -> Result<Picture> {
        let outcome = match &self.origin {
            Origin::Memory => Err("the picture has no file".into()),
            Origin::File(path) => resmlp_files::read(path, self.limits.longest_file() + 1)
                .map_err(|error| error.to_string())
                .and_then(|bytes| Picture::decode_within(&bytes, &self.limits)),
            Origin::Archive { archive, start, length } => read_part(archive, *start, *length, &self.limits)
                .and_then(|bytes| Picture::decode_within(&bytes, &self.limits)),
        };
        outcome.map_err(|reason| DataError::Picture { name: self.name.clone(), reason })
    }

    /// Decodes the picture into memory and shrinks it.
    fn load(&mut self, shorter_side: Option<u32>) -> std::result::Result<(), Skipped> {
        if self.is_in_memory() {
            return Ok(());
        }
        let picture = self.read().map_err(|error| match error {
            DataError::Picture { name, reason } => Skipped { name, reason },
            other => Skipped { name: self.name.clone(), reason: other.to_string() },
        })?;
        self.memory = match shorter_side.and_then(|side| shrink(&picture, side)) {
            Some(smaller) => Memory::Smaller(smaller),
            None => Memory::Original(picture),
        };
        Ok(())
    }

    /// Returns the bytes of memory that the picture takes.
    fn bytes(&self) -> u64 {
        OVERHEAD
            + match &self.memory {
                Memory::Nothing => 0,
                Memory::Original(picture) | Memory::Smaller(picture) => picture.rgb().len() as u64,
            }
    }
}

/// Decodes pictures on all cores until they take as much memory as the options allow; the rest stays in the files.
pub fn decode(mut entries: Vec<Entry>, options: &Options) -> Vec<std::result::Result<Entry, Skipped>> {
    let mut left = options.memory;
    let mut outcomes = Vec::with_capacity(entries.len());
    while left > 0 && !entries.is_empty() {
        let rest = entries.split_off(entries.len().min(CHUNK));
        let chunk = std::mem::replace(&mut entries, rest);
        let decoded = chunk.into_par_iter().map(|mut entry| entry.load(options.shorter_side).map(|()| entry));
        outcomes.par_extend(decoded);
        let last = outcomes.len().saturating_sub(CHUNK);
        let bytes: u64 = outcomes[last..].iter().flatten().map(Entry::bytes).sum();
        left = left.saturating_sub(bytes);
    }
    outcomes.extend(entries.into_iter().map(Ok));
    outcomes
}

fn read_part(archive: &Mutex<File>, start: u64, length: u64, limits: &Limits) -> std::result::Result<Vec<u8>, String> {
    if length > limits.longest_file() {
        return Err(format!("found {length} bytes, expected a picture of at most {}", limits.longest_file()));
    }
    let mut bytes = Vec::new();
    // A panic while the lock was held cannot have left the file in a state that the seek does not mend.
    let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
    archive.seek(SeekFrom::Start(start)).map_err(|error| error.to_string())?;
    (&mut *archive).take(length).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if (bytes.len() as u64) < length {
        return Err(format!("the archive ends after {} of the picture's {length} bytes", bytes.len()));
    }
    Ok(bytes)
}

/// Returns the picture with a shorter side of `side` pixels, or `None` if it is not larger than that.
fn shrink(picture: &Picture, side: u32) -> Option<Picture> {
    let [height, width] = [picture.height(), picture.width()];
    let shorter = height.min(width);
    if side == 0 || shorter <= side {
        return None;
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(side)).div_ceil(u64::from(shorter)) as usize;
    let image = [height, width].map(scaled);
    let preprocess = Preprocess { fit: Fit::Squash, crop: 1.0, ..Preprocess::imagenet(image) };
    // A picture too long for a resize stays as it is.
    let pixels = preprocess.apply(picture).ok()?;
    Picture::from_rgb(image[0] as u32, image[1] as u32, pixels)
}
