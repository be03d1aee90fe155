//! Mutates the entries of a zip archive, and writes the archive anew with right checksums and offsets.

use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::Mutator;

/// The most entries of an archive that is taken apart.
const MOST_ENTRIES: usize = 100;

/// Name and content of an entry.
type Entry = (String, Vec<u8>);

impl Mutator<'_> {
    /// Returns a changed archive, or `None` if the file cannot be taken apart.
    pub fn archive(&mut self, file: &[u8]) -> Option<Vec<u8>> {
        let mut entries = entries(file, self.most)?;
        let room = self.most.saturating_sub(file.len());
        let pickle = entries.iter().position(|(name, _)| name.ends_with("data.pkl")).unwrap_or(0);
        let at = if self.dice.one_in(3) { self.dice.below(entries.len()) } else { pickle };
        match self.dice.below(10) {
            0 => {
                let mut name = entries.get(at)?.0.clone().into_bytes();
                self.change(&mut name, room.min(1000));
                entries.get_mut(at)?.0 = String::from_utf8_lossy(&name).into_owned();
            }
            1 => drop(entries.remove(at)),
            2 => {
                let (name, bytes) = entries.get(at)?.clone();
                entries.push((format!("{name}{}", self.dice.below(3)), bytes));
            }
            _ => self.change(&mut entries.get_mut(at)?.1, room),
        }
        let mut file = written(&entries)?;
        if self.dice.one_in(8) {
            // The directory and the end record follow the last entry.
            let directory = file.windows(4).position(|window| window == b"PK\x01\x02")?;
            let mut end = file.split_off(directory);
            self.change(&mut end, room);
            file.append(&mut end);
        }
        Some(file)
    }
}

fn entries(file: &[u8], most: usize) -> Option<Vec<Entry>> {
    let mut archive = ZipArchive::new(Cursor::new(file)).ok()?;
    if archive.is_empty() || archive.len() > MOST_ENTRIES {
        return None;
    }
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).ok()?;
        let (name, mut bytes) = (entry.name().to_owned(), Vec::new());
        entry.take(most as u64).read_to_end(&mut bytes).ok()?;
        entries.push((name, bytes));
    }
    Some(entries)
}

fn written(entries: &[Entry]) -> Option<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        zip.start_file(name.as_str(), stored).ok()?;
        zip.write_all(bytes).ok()?;
    }
    Some(zip.finish().ok()?.into_inner())
}
