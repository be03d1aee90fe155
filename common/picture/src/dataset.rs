//! Finds, samples and loads folders of pictures, always in the same order.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::{Error, Picture, Preprocess, Result};

/// Endings of the names of picture files. Files of a kind that cannot be decoded are reported as skipped.
const EXTENSIONS: [&str; 18] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "bmp", "ppm", "pgm", "pbm", "tif", "tiff", "webp", "gif", "heic", "heif",
    "avif", "jp2", "jxl",
];

/// One picture of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file.
    pub path: PathBuf,
    /// Index of the picture's class in [`Dataset::classes`]; `None` for a picture outside the class folders.
    pub class: Option<usize>,
}

/// The pictures of a folder, in the order of their paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The folder.
    pub folder: PathBuf,
    /// Names of the folder's subfolders, sorted and without hidden ones.
    pub classes: Vec<String>,
    /// The pictures in the folder.
    pub items: Vec<Item>,
}

/// A picture ready for the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The file.
    pub path: PathBuf,
    /// Index of the picture's class.
    pub class: Option<usize>,
    /// `[height, width, 3]`.
    pub pixels: Vec<u8>,
}

/// The result of loading pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// The pictures that could be read, in the order of the items.
    pub samples: Vec<Sample>,
    /// The pictures that could not be read, with the reason.
    pub skipped: Vec<(PathBuf, String)>,
}

impl Dataset {
    /// Finds the pictures below `folder`, at any depth: a tree `folder/<class>/…`, a flat folder, or both.
    ///
    /// Links are followed. As links may form a loop, no folder is looked into twice for one class.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or has no picture.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let (files, folders) = list(folder)?;
        let root = real(folder)?;
        let mut items: Vec<Item> = files.into_iter().map(|path| Item { path, class: None }).collect();
        let mut classes = Vec::new();
        for subfolder in folders {
            let name = subfolder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut paths = Vec::new();
            collect(&subfolder, &mut HashSet::from([root.clone()]), &mut paths)?;
            items.extend(paths.into_iter().map(|path| Item { path, class: Some(classes.len()) }));
            classes.push(name);
        }
        if items.is_empty() {
            return Err(Error::file(folder, "no pictures in it, expected .jpg, .png or .bmp files"));
        }
        items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { folder: folder.to_path_buf(), classes, items })
    }

    /// Finds the pictures of a tree `folder/<class>/…`; a class's index is its place in alphabetical order.
    ///
    /// # Errors
    /// Fails if [`Dataset::open`] does, and if a picture lies outside the class folders.
    pub fn open_tree(folder: impl AsRef<Path>) -> Result<Self> {
        let dataset = Self::open(folder)?;
        match dataset.items.iter().find(|item| item.class.is_none()) {
            Some(item) => Err(Error::file(&item.path, "lies outside the class folders, expected DIR/<class>/picture")),
            None => Ok(dataset),
        }
    }

    /// Keeps at most `count` pictures, the same ones each time, taken evenly over the classes and evenly within each
    /// class.
    pub fn take_evenly(mut self, count: usize) -> Self {
        let mut by_class: BTreeMap<Option<usize>, Vec<Item>> = BTreeMap::new();
        for item in self.items {
            by_class.entry(item.class).or_default().push(item);
        }
        let sizes: Vec<usize> = by_class.values().map(Vec::len).collect();
        self.items = by_class
            .into_values()
            .zip(quotas(&sizes, count))
            .flat_map(|(items, quota)| (0..quota).map(move |i| items[i * items.len() / quota].clone()))
            .collect();
        self.items.sort_by(|a, b| a.path.cmp(&b.path));
        self
    }

    /// Loads every picture, as [`load`] does.
    ///
    /// # Errors
    /// Fails if [`load`] does, and if no picture can be read.
    pub fn load(&self, preprocess: &Preprocess, progress: &(dyn Fn() + Sync)) -> Result<Loaded> {
        let loaded = load(&self.items, preprocess, progress)?;
        match loaded.skipped.first() {
            Some((path, reason)) if loaded.samples.is_empty() => {
                let count = loaded.skipped.len();
                let message = format!("none of its {count} pictures can be read; {}: {reason}", path.display());
                Err(Error::file(&self.folder, message))
            }
            _ => Ok(loaded),
        }
    }
}

/// Decodes and prepares pictures on all of rayon's threads, and calls `progress` once for each picture.
///
/// All prepared pictures are held in memory; callers load a larger data set in chunks of its items. Pictures that
/// cannot be read are skipped and reported.
///
/// # Errors
/// Fails if [`Preprocess::validate`] does.
pub fn load(items: &[Item], preprocess: &Preprocess, progress: &(dyn Fn() + Sync)) -> Result<Loaded> {
    preprocess.validate()?;
    let results: Vec<std::result::Result<Sample, (PathBuf, String)>> = items
        .par_iter()
        .map(|item| {
            let result = read(item, preprocess).map_err(|reason| (item.path.clone(), reason));
            progress();
            result
        })
        .collect();
    let mut loaded = Loaded::default();
    for result in results {
        match result {
            Ok(sample) => loaded.samples.push(sample),
            Err(skipped) => loaded.skipped.push(skipped),
        }
    }
    Ok(loaded)
}

/// Reads one picture. The error is the reason without the file's name, which is reported beside it.
fn read(item: &Item, preprocess: &Preprocess) -> std::result::Result<Sample, String> {
    let picture = Picture::open(&item.path).map_err(|error| match error {
        Error::Io { source, .. } => source.to_string(),
        Error::File { message, .. } => message,
        other => other.to_string(),
    })?;
    let pixels = preprocess.apply(&picture).map_err(|error| error.to_string())?;
    Ok(Sample { path: item.path.clone(), class: item.class, pixels })
}

/// Returns the pictures and the visible folders in `folder`, both sorted by name.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if hidden {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
        } else if is_picture_name(&path) {
            files.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

/// Adds the pictures in `folder` and below it to `paths`, without those in folders that `seen` names already.
fn collect(folder: &Path, seen: &mut HashSet<PathBuf>, paths: &mut Vec<PathBuf>) -> Result<()> {
    if !seen.insert(real(folder)?) {
        return Ok(());
    }
    let (files, folders) = list(folder)?;
    paths.extend(files);
    folders.iter().try_for_each(|subfolder| collect(subfolder, seen, paths))
}

/// Returns the canonical path of a folder, in which all links are resolved.
fn real(folder: &Path) -> Result<PathBuf> {
    folder.canonicalize().map_err(|e| Error::io(folder, e))
}

fn is_picture_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    EXTENSIONS.contains(&extension.as_str())
}

/// Divides `count` among classes of the given sizes. The shares are equal, except that the other classes get what a
/// small class lacks.
fn quotas(sizes: &[usize], count: usize) -> Vec<usize> {
    let mut quotas = vec![0; sizes.len()];
    let mut left = count;
    loop {
        let open: Vec<usize> = (0..sizes.len()).filter(|&class| quotas[class] < sizes[class]).collect();
        if left == 0 || open.is_empty() {
            return quotas;
        }
        if left < open.len() {
            // The remainder goes to classes that are spread evenly over those that still have pictures.
            (0..left).for_each(|i| quotas[open[i * open.len() / left]] += 1);
            return quotas;
        }
        let share = left / open.len();
        for class in open {
            let more = share.min(sizes[class] - quotas[class]);
            quotas[class] += more;
            left -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Writes a picture of 2 × 1 pixels of one grey level.
    fn write_picture(path: &Path, grey: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_pixel(2, 1, image::Luma([grey])).save(path).unwrap();
    }

    fn preprocess() -> Preprocess {
        Preprocess { crop: 1.0, ..Preprocess::imagenet([1, 1]) }
    }

    #[test]
    fn a_tree_has_its_classes_in_alphabetical_order() {
        let folder = tempfile::tempdir().unwrap();
        for (name, grey) in [("dog/b.png", 4), ("dog/a.PNG", 3), ("cat/deep/z.bmp", 2), ("cat/x.png", 1)] {
            write_picture(&folder.path().join(name), grey);
        }
        fs::create_dir(folder.path().join("emu")).unwrap();
        write_picture(&folder.path().join(".hidden/x.png"), 9);
        fs::write(folder.path().join("dog/notes.txt"), "no picture").unwrap();
        let dataset = Dataset::open_tree(folder.path()).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog", "emu"]);
        let names: Vec<_> = dataset.items.iter().map(|i| i.path.strip_prefix(folder.path()).unwrap()).collect();
        assert_eq!(names, ["cat/deep/z.bmp", "cat/x.png", "dog/a.PNG", "dog/b.png"].map(Path::new));
        let classes: Vec<_> = dataset.items.iter().map(|i| i.class).collect();
        assert_eq!(classes, [Some(0), Some(0), Some(1), Some(1)]);

        let counter = AtomicUsize::new(0);
        let loaded = dataset
            .load(&preprocess(), &|| {
                counter.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap();
        assert_eq!(counter.into_inner(), 4);
        assert_eq!(
            loaded.samples.iter().map(|s| s.pixels.clone()).collect::<Vec<_>>(),
            [2, 1, 3, 4].map(|g| vec![g; 3])
        );
        assert!(loaded.skipped.is_empty());
    }

    #[test]
    fn unreadable_pictures_are_skipped_and_reported() {
        let folder = tempfile::tempdir().unwrap();
        write_picture(&folder.path().join("a.png"), 7);
        fs::write(folder.path().join("b.jpg"), "no picture").unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let loaded = dataset.load(&preprocess(), &|| ()).unwrap();
        assert_eq!(loaded.samples.len(), 1);
        assert_eq!(loaded.skipped.len(), 1);
        assert_eq!(loaded.skipped[0].0, folder.path().join("b.jpg"));
        assert!(loaded.skipped[0].1.starts_with("not a picture"), "{}", loaded.skipped[0].1);
        assert!(Dataset::open_tree(folder.path()).unwrap_err().to_string().contains("a.png: lies outside"));

        fs::remove_file(folder.path().join("a.png")).unwrap();
        let message = Dataset::open(folder.path()).unwrap().load(&preprocess(), &|| ()).unwrap_err().to_string();
        assert!(message.contains("none of its 1 pictures can be read"), "{message}");
        assert!(message.contains("b.jpg"), "{message}");
    }

    #[test]
    fn a_folder_without_pictures_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("cat")).unwrap();
        let message = Dataset::open(folder.path()).unwrap_err().to_string();
        assert!(
            message.starts_with(&folder.path().display().to_string()) && message.contains("no pictures"),
            "{message}"
        );
        let missing = folder.path().join("missing");
        assert!(Dataset::open(&missing).unwrap_err().to_string().starts_with(&missing.display().to_string()));
    }

    /// Returns the names and classes of the pictures in `folder`.
    fn found(folder: &Path) -> Vec<(String, Option<usize>)> {
        let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        Dataset::open(folder).unwrap().items.into_iter().map(|item| (name(&item.path), item.class)).collect()
    }

    #[cfg(unix)]
    #[test]
    fn loops_of_links_are_left_out_and_other_links_are_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_picture(&at("cat/a.png"), 1);
        write_picture(&at("dog/deep/b.png"), 1);
        symlink(folder.path(), at("cat/up")).unwrap();
        symlink(at("cat"), at("cat/itself")).unwrap();
        symlink(at("dog/deep"), at("dog/again")).unwrap();
        symlink(folder.path(), at("whole")).unwrap();
        let pictures = [("cat/a.png".into(), Some(0)), ("dog/again/b.png".into(), Some(1))];
        assert_eq!(found(folder.path()), pictures);
        // A picture that two classes share is listed in both.
        symlink(at("cat"), at("dog/cats")).unwrap();
        let of_both = [&pictures[..], &[("dog/cats/a.png".into(), Some(1))]].concat();
        assert_eq!(found(folder.path()), of_both);
    }

    #[cfg(unix)]
    #[test]
    fn entries_that_are_not_files_are_skipped_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        write_picture(&folder.path().join("a.png"), 7);
        // Opening a pipe would wait for ever.
        assert!(std::process::Command::new("mkfifo").arg(folder.path().join("b.jpg")).status().unwrap().success());
        std::os::unix::fs::symlink("nowhere", folder.path().join("c.jpg")).unwrap();
        let loaded = Dataset::open(folder.path()).unwrap().load(&preprocess(), &|| ()).unwrap();
        assert_eq!(loaded.samples.len(), 1);
        let reasons: Vec<_> = loaded.skipped.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(reasons.len(), 2);
        assert!(reasons[0].contains("not a regular file") && reasons[1].contains("No such file"), "{reasons:?}");
    }

    #[test]
    fn pictures_of_every_usual_name_are_read_or_reported() {
        let folder = tempfile::tempdir().unwrap();
        let jpeg = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/inputs/quality50_420.jpg");
        for name in ["a.jpe", "b.JFIF"] {
            fs::copy(&jpeg, folder.path().join(name)).unwrap();
        }
        for name in ["c.heic", "d.heif", "e.avif", "f.jp2", "g.jxl", "h.txt"] {
            fs::write(folder.path().join(name), "no picture that is read").unwrap();
        }
        let loaded = Dataset::open(folder.path()).unwrap().load(&preprocess(), &|| ()).unwrap();
        assert_eq!((loaded.samples.len(), loaded.skipped.len()), (2, 5), "{:?}", loaded.skipped);
    }

    #[test]
    fn few_pictures_come_evenly_from_all_classes() {
        assert_eq!(quotas(&[10, 10, 10], 6), [2, 2, 2]);
        assert_eq!(quotas(&[1, 10, 10], 9), [1, 4, 4]);
        assert_eq!(quotas(&[10, 10, 10, 10], 2), [1, 0, 1, 0]);
        assert_eq!(quotas(&[3, 2], 100), [3, 2]);
        assert_eq!(quotas(&[3, 2], 0), [0, 0]);
        assert_eq!(quotas(&[], 5), [0; 0]);

        let item = |name: &str, class| Item { path: name.into(), class };
        let items = (0..4).map(|i| item(&format!("a{i}"), Some(0))).chain([item("b0", Some(1)), item("c0", None)]);
        let dataset = Dataset { folder: "x".into(), classes: vec!["a".into(), "b".into()], items: items.collect() };
        let taken = dataset.clone().take_evenly(4).items;
        let names: Vec<_> = taken.iter().map(|i| i.path.to_str().unwrap()).collect();
        assert_eq!(names, ["a0", "a2", "b0", "c0"]);
        assert_eq!(dataset.clone().take_evenly(100), dataset);
    }
}
