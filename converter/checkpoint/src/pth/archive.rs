//! Reads zip archives in memory whose entries are stored without compression, as checkpoints need them.
//!
//! The format is described in PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3. The end record is looked for only in the
//! last 64 KiB, the directory is read once, and the checked entries together are at most as long as the file. The work
//! is therefore linear in the file's length for any file.

use super::reason::PthReason;
use std::collections::BTreeMap;

/// The directory of an archive.
pub(super) struct Archive<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<&'a str, Entry>,
    /// Bytes of entries that may still be checked. The file's length is enough for an archive without overlaps.
    unchecked: usize,
}

/// What the directory states about an entry.
#[derive(Clone, Copy)]
struct Entry {
    /// Offset of the entry's local header in the file.
    header: u64,
    /// Length of the entry's data in bytes.
    length: u64,
    checksum: u32,
    /// Whether the data are neither compressed nor encrypted.
    is_plain: bool,
}

const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_LENGTH: usize = 20;
const END_64: &[u8] = b"PK\x06\x06";
const IN_DIRECTORY: &[u8] = b"PK\x01\x02";
const IN_DIRECTORY_LENGTH: usize = 46;
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_LENGTH: usize = 30;
/// Length in bytes of the longest comment behind the end record.
const MAX_COMMENT: usize = u16::MAX as usize;
/// Value of a 32-bit field whose actual value stands in the zip64 extra field.
const ELSEWHERE: u64 = u32::MAX as u64;

type Parse<T> = std::result::Result<T, PthReason>;

impl<'a> Archive<'a> {
    /// Reads the directory of the archive `bytes`.
    pub fn open(bytes: &'a [u8]) -> Parse<Self> {
        let [mut at, count] = directory(bytes)?;
        let mut entries = BTreeMap::new();
        // Every entry takes at least 46 bytes of the file, so a count that is too large fails at the file's end.
        for _ in 0..count {
            let (name, entry, next) = directory_entry(bytes, at)?;
            if entries.insert(name, entry).is_some() {
                return Err(PthReason::Zip("two entries have the same name"));
            }
            at = next;
        }
        Ok(Self { bytes, entries, unchecked: bytes.len() })
    }

    /// Returns the names of all entries.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.keys().copied()
    }

    /// Returns whether there is an entry `name`.
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// Returns the bytes of the entry `name` without copying them, after verifying their checksum.
    pub fn entry(&mut self, name: &str) -> Parse<&'a [u8]> {
        let fail = |problem| PthReason::Entry { name: name.into(), problem };
        let entry = *self.entries.get(name).ok_or_else(|| fail("missing from the archive"))?;
        if !entry.is_plain {
            return Err(fail("compressed or encrypted; torch.save stores its entries as they are"));
        }
        let outside = || fail("lies outside the file; is the file complete?");
        let header = usize::try_from(entry.header).map_err(|_| outside())?;
        let local = self.bytes.get(header..).and_then(|rest| rest.get(..LOCAL_LENGTH)).ok_or_else(outside)?;
        if !local.starts_with(LOCAL) {
            return Err(fail("damaged: no entry begins where the directory says"));
        }
        let start = header + LOCAL_LENGTH + usize::from(u16_at(local, 26)) + usize::from(u16_at(local, 28));
        let length = usize::try_from(entry.length).map_err(|_| outside())?;
        let end = start.checked_add(length).ok_or_else(outside)?;
        let bytes = self.bytes.get(start..end).ok_or_else(outside)?;
        self.unchecked = self.unchecked.checked_sub(length).ok_or_else(|| fail("overlaps with other entries"))?;
        if crc32fast::hash(bytes) != entry.checksum {
            return Err(fail("damaged: its checksum is not that of the directory (invalid checksum)"));
        }
        Ok(bytes)
    }
}

/// Returns the offset of the directory and its number of entries.
fn directory(bytes: &[u8]) -> Parse<[u64; 2]> {
    let incomplete = PthReason::Zip("it has no end record; is the file complete?");
    let last = bytes.len().checked_sub(END_LENGTH).ok_or(PthReason::Zip("it is too short"))?;
    let is_end = |at: &usize| {
        bytes[*at..].starts_with(END) && usize::from(u16_at(&bytes[*at..], 20)) == bytes.len() - at - END_LENGTH
    };
    let end = (last.saturating_sub(MAX_COMMENT)..=last).rev().find(is_end).ok_or(incomplete)?;
    let record = &bytes[end..];
    let locator = end.checked_sub(LOCATOR_LENGTH).map(|at| &bytes[at..end]).filter(|bytes| bytes.starts_with(LOCATOR));
    if let Some(locator) = locator {
        let at = usize::try_from(u64_at(locator, 8)).ok();
        let record = at.and_then(|at| bytes.get(at..)).filter(|bytes| bytes.starts_with(END_64) && bytes.len() >= 56);
        let record = record.ok_or(PthReason::Zip("its zip64 end record is not where it should be"))?;
        return Ok([u64_at(record, 48), u64_at(record, 32)]);
    }
    Ok([u64::from(u32_at(record, 16)), u64::from(u16_at(record, 10))])
}

/// Reads the directory's entry at `at` and returns its name, the entry, and the offset of the next one.
fn directory_entry(bytes: &[u8], at: u64) -> Parse<(&str, Entry, u64)> {
    let damaged = || PthReason::Zip("its directory ends too early");
    let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).ok_or_else(damaged)?;
    let (fixed, rest) = rest.split_at_checked(IN_DIRECTORY_LENGTH).ok_or_else(damaged)?;
    if !fixed.starts_with(IN_DIRECTORY) {
        return Err(PthReason::Zip("its directory is not where it should be"));
    }
    let [name_length, extra_length, comment_length] = [28, 30, 32].map(|at| usize::from(u16_at(fixed, at)));
    let (name, rest) = rest.split_at_checked(name_length).ok_or_else(damaged)?;
    let (extra, _) = rest.split_at_checked(extra_length).ok_or_else(damaged)?;
    let name = std::str::from_utf8(name).map_err(|_| PthReason::Zip("the name of an entry is not UTF-8"))?;
    let mut wide = zip64(extra);
    let mut number = |at: usize| match u64::from(u32_at(fixed, at)) {
        ELSEWHERE => {
            let (number, rest) = wide.split_first_chunk::<8>()?;
            wide = rest;
            Some(u64::from_le_bytes(*number))
        }
        number => Some(number),
    };
    // The zip64 field holds the numbers in this order.
    let (length, stored, header) = (number(24), number(20), number(42));
    let (Some(length), Some(stored), Some(header)) = (length, stored, header) else {
        return Err(PthReason::Zip("its directory has an entry without a length"));
    };
    let is_encrypted = u16_at(fixed, 8) & 1 == 1;
    let is_plain = u16_at(fixed, 10) == 0 && stored == length && !is_encrypted;
    let entry = Entry { header, length, checksum: u32_at(fixed, 16), is_plain };
    Ok((name, entry, at + (IN_DIRECTORY_LENGTH + name_length + extra_length + comment_length) as u64))
}

/// Returns the contents of the zip64 field among an entry's extra fields.
fn zip64(mut extra: &[u8]) -> &[u8] {
    while let Some((head, rest)) = extra.split_first_chunk::<4>() {
        let length = usize::from(u16_at(head, 2)).min(rest.len());
        if u16_at(head, 0) == 1 {
            return &rest[..length];
        }
        extra = &rest[length..];
    }
    &[]
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
