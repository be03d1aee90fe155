//! A `.tar` file of a folder with a folder for each class.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex};

use super::entry::Entry;
use super::folder::{HELD_OUT, TRAINING, is_divided};
use super::{Found, Options, Parts};
use crate::error::{DataError, Result};

/// Endings of the names of picture files that can be decoded.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "jpe", "jfif", "png", "bmp"];

/// Length of a block of an archive, in bytes.
const BLOCK: u64 = 512;

/// A picture file in the archive.
struct Member {
    /// The names of the folders that contain the file, and its own.
    path: Vec<String>,
    start: u64,
    length: u64,
}

/// Finds the picture files of an archive. Folders that contain everything are ignored, so that a `.tar` of
/// `DIR/<class>/…` and one of `<class>/…` are the same.
pub fn find(path: &Path, options: &Options) -> Result<Parts> {
    let file = resmlp_files::open(path).map_err(|error| DataError::io(path, error))?;
    let mut members = list(&file).map_err(|error| {
        DataError::format(
            path,
            format!("cannot be read as a tar archive ({error}); expected a whole one without compression"),
        )
    })?;
    if members.is_empty() {
        return Err(DataError::format(path, "no picture files in it, expected .jpg, .png or .bmp files"));
    }
    members.sort_by(|a, b| a.path.cmp(&b.path));
    let mut depth = 0;
    while shares_folder(&members, depth) {
        depth += 1;
    }
    let part = |members: Vec<Member>, depth: usize| found(path, members, depth, &file, options);
    let folders = members.iter().filter(|member| member.path.len() >= depth + 2).map(|member| &*member.path[depth]);
    let divided = is_divided(folders) && members.iter().all(|member| member.path.len() >= depth + 3);
    if !divided {
        return Ok(Parts { training: part(members, depth)?, held_out: None });
    }
    let (training, others): (Vec<_>, Vec<_>) = members.into_iter().partition(|member| member.path[depth] == TRAINING);
    let chosen = HELD_OUT.iter().find(|&&name| others.iter().any(|member| member.path[depth] == name));
    let held_out = chosen.map(|&name| others.into_iter().filter(|member| member.path[depth] == name).collect());
    let held_out = held_out.map(|members| part(members, depth + 1)).transpose()?;
    Ok(Parts { training: part(training, depth + 1)?, held_out })
}

/// Lists the picture files of an archive without reading them.
///
/// # Errors
/// Fails if the archive is damaged or cut off. A download that was interrupted between two files would otherwise be a
/// smaller data set.
fn list(file: &File) -> std::io::Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut end = 0;
    for entry in tar::Archive::new(file).entries_with_seek()? {
        let entry = entry?;
        let last = entry.raw_file_position().saturating_add(entry.size());
        end = last.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        let path = entry.path()?;
        let path: Vec<String> = path
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        if entry.header().entry_type().is_file() && is_picture(&path) {
            members.push(Member { path, start: entry.raw_file_position(), length: entry.size() });
        }
    }
    // An archive ends with blocks of zeros.
    if file.metadata()?.len() < end.saturating_add(BLOCK) {
        return Err(std::io::Error::other("it is cut off, because the mark of its end is missing"));
    }
    Ok(members)
}

/// Tells whether a path has the ending of a picture file and is not hidden.
fn is_picture(path: &[String]) -> bool {
    let ending = path.last().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) && !path.iter().any(|name| name.starts_with('.'))
}

/// Tells whether all files are in the same folder at `depth`, and the classes still lie below it.
fn shares_folder(members: &[Member], depth: usize) -> bool {
    let first = members[0].path.get(depth);
    members.iter().all(|member| member.path.len() >= depth + 3 && member.path.get(depth) == first)
}

/// Makes the entries of one part, whose classes are the folders at `depth`.
fn found(path: &Path, members: Vec<Member>, depth: usize, file: &File, options: &Options) -> Result<Found> {
    if let Some(member) = members.iter().find(|member| member.path.len() < depth + 2) {
        let message = format!(
            "{} lies outside the class folders, expected <class>/picture.jpg; put it into the folder of its class",
            member.path.join("/")
        );
        return Err(DataError::format(path, message));
    }
    let classes: BTreeSet<&String> = members.iter().map(|member| &member.path[depth]).collect();
    let classes: Vec<String> = classes.into_iter().cloned().collect();
    let archive = Arc::new(Mutex::new(file.try_clone().map_err(|error| DataError::io(path, error))?));
    let entry = |member: Member| {
        let label = classes.binary_search(&member.path[depth]).unwrap_or_default() as u32;
        let name = format!("{}:{}", path.display(), member.path.join("/"));
        (label, Entry::archived(name, archive.clone(), member.start, member.length, options.limits))
    };
    let pictures = members.into_iter().map(entry).collect();
    Ok(Found { classes, pictures })
}
