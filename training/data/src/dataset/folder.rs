//! Folders of pictures with a folder for each class (ImageFolder).

use std::path::{Path, PathBuf};

use resmlp_picture::dataset::Dataset as Tree;

use super::entry::Entry;
use super::{Found, Options, Parts};
use crate::error::{DataError, Result};

/// Name of the folder of the training part.
pub const TRAINING: &str = "train";

/// Names of the folder of the held-out part. If there are several, the first one in this list counts.
pub const HELD_OUT: [&str; 4] = ["val", "valid", "validation", "test"];

/// Finds the pictures of a folder: `DIR/<class>/…`, or `DIR/train/<class>/…` and `DIR/val/<class>/…`.
pub fn find(folder: &Path, options: &Options) -> Result<Parts> {
    let names = folders_in(folder)?;
    let training = folder.join(TRAINING);
    // A class may well be called `train`, but then it has no folders inside.
    let divided = is_divided(names.iter().map(String::as_str)) && !folders_in(&training)?.is_empty();
    if !divided {
        return Ok(Parts { training: tree(folder, options)?, held_out: None });
    }
    let held_out = HELD_OUT.iter().find(|&&name| names.iter().any(|found| found == name));
    let held_out = held_out.map(|name| tree(&folder.join(name), options)).transpose()?;
    Ok(Parts { training: tree(&training, options)?, held_out })
}

/// Tells whether the names are those of the training part and of held-out parts, and no others.
pub fn is_divided<'n>(mut names: impl Iterator<Item = &'n str> + Clone) -> bool {
    names.clone().any(|name| name == TRAINING) && names.all(|name| name == TRAINING || HELD_OUT.contains(&name))
}

/// Returns the names of the visible folders in a folder.
fn folders_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(|error| DataError::io(folder, error))? {
        let path = entry.map_err(|error| DataError::io(folder, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') && path.is_dir() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Finds the pictures of `folder/<class>/…`.
fn tree(folder: &Path, options: &Options) -> Result<Found> {
    let tree = Tree::open_tree(folder).map_err(|error| match error {
        resmlp_picture::Error::Io { path, source } => DataError::Io { path, source },
        resmlp_picture::Error::File { path, message } => DataError::Format { path, message },
        other => DataError::format(folder, other.to_string()),
    })?;
    let entry = |path: PathBuf, class: Option<usize>| Some((class? as u32, Entry::file(path, options.limits)));
    let pictures = tree.items.into_iter().filter_map(|item| entry(item.path, item.class)).collect();
    Ok(Found { classes: tree.classes, pictures })
}
