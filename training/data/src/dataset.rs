//! Labelled pictures: where they are found, which class each one belongs to, and which ones cannot be read.

mod entry;
mod folder;
mod idx;
mod sheet;
mod split;
mod tar;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use resmlp_picture::{Limits, Picture};

use crate::error::{DataError, Result};
use entry::Entry;

/// Options for opening a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of memory that decoded pictures may take. If a data set needs more, its pictures are decoded each time
    /// they are used.
    pub memory: u64,
    /// Shorter side, in pixels, to which larger pictures are shrunk when the data set is opened, so that large
    /// photographs fit into memory. [`Dataset::original`] still gives the picture as it is.
    pub shorter_side: Option<u32>,
    /// Limits of what decoding one picture may cost.
    pub limits: Limits,
}

impl Default for Options {
    /// Returns 2 GiB of memory, no shrinking, and the limits of a desktop computer.
    fn default() -> Self {
        Self { memory: 2 << 30, shorter_side: None, limits: Limits::desktop() }
    }
}

/// A picture that cannot be read and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Name of the picture.
    pub name: String,
    /// What was found and what was expected.
    pub reason: String,
}

/// Labelled pictures.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where the data set was found, for messages.
    path: PathBuf,
    class_names: Vec<String>,
    samples: Vec<Sample>,
    skipped: Vec<Skipped>,
    warnings: Vec<String>,
}

/// A picture and its class.
#[derive(Clone, Debug)]
struct Sample {
    label: u32,
    entry: Arc<Entry>,
}

/// The pictures of one part of a data set, before they are decoded: each with the name of its class.
#[derive(Debug, Default)]
struct Found {
    /// Names of the classes in the order of their labels, also of those that have no picture.
    classes: Vec<String>,
    pictures: Vec<(u32, Entry)>,
}

/// The training part of a data set and, if it has one of its own, the held-out part.
struct Parts {
    training: Found,
    held_out: Option<Found>,
}

impl Dataset {
    /// Opens a data set. If it has a training part and a held-out part, this is the training part.
    ///
    /// The path may lead to
    ///
    /// * a folder with a folder for each class, `DIR/<class>/*.jpg`, or with the folders `train` and `val` (also
    ///   `valid`, `validation`, `test`) that hold these (ImageFolder);
    /// * a `.tar` file of such a folder;
    /// * a folder with IDX files, as MNIST and Fashion-MNIST have them: `train-images-idx3-ubyte` and
    ///   `train-labels-idx1-ubyte`, for the held-out part the same with `t10k`, each also with `.gz`; or one of the
    ///   files of pictures;
    /// * a sheet, which is one PNG with all pictures in rows, and the `.json` file beside it that describes it, as
    ///   `demo/digits/README.md` explains.
    ///
    /// Pictures that cannot be decoded are left out, and [`Dataset::skipped`] lists them. Classes without a readable
    /// picture are left out too, with a warning.
    ///
    /// # Errors
    /// Fails if the path cannot be read, if it holds no data set of a known kind, and if fewer than two classes have
    /// pictures.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        Self::decode(path, find(path, options)?.training, options)?.with_several_classes()
    }

    /// Opens a data set as [`Dataset::open`] does, and returns its training part and its held-out part. The labels of
    /// both are indices of the training part's class names.
    ///
    /// # Errors
    /// Returns the errors of [`Dataset::open`], and fails if the held-out part has a class that the training part
    /// lacks.
    pub fn open_parts(path: impl AsRef<Path>, options: &Options) -> Result<(Self, Option<Self>)> {
        let path = path.as_ref();
        let Parts { training, held_out } = find(path, options)?;
        let training = Self::decode(path, training, options)?.with_several_classes()?;
        let held_out = held_out.map(|found| Self::decode(path, found, options)?.with_classes_of(&training));
        Ok((training, held_out.transpose()?))
    }

    /// Opens held-out pictures that lie apart from the training pictures. The labels are indices of the training
    /// pictures' class names, and a class may lack pictures.
    ///
    /// # Errors
    /// Returns the errors of [`Dataset::open`], and fails if a class is not a class of `training` or if no picture can
    /// be read.
    pub fn open_held_out(path: impl AsRef<Path>, options: &Options, training: &Self) -> Result<Self> {
        let path = path.as_ref();
        let held_out = Self::decode(path, find(path, options)?.training, options)?;
        match held_out.skipped.first() {
            Some(Skipped { name, reason }) if held_out.is_empty() => {
                Err(DataError::Picture { name: name.clone(), reason: format!("{reason}; no other can be read") })
            }
            _ => held_out.with_classes_of(training),
        }
    }

    /// Creates a data set of pictures in memory: the name, the picture and the label of each.
    ///
    /// # Errors
    /// Fails if fewer than two classes have pictures.
    ///
    /// # Panics
    /// Panics if a label is not below the number of class names.
    pub fn from_pictures(class_names: Vec<String>, pictures: Vec<(String, Picture, u32)>) -> Result<Self> {
        assert!(pictures.iter().all(|(_, _, label)| (*label as usize) < class_names.len()), "a label without a class");
        let pictures = pictures.into_iter().map(|(name, picture, label)| (label, Entry::in_memory(name, picture)));
        let found = Found { classes: class_names, pictures: pictures.collect() };
        Self::decode(Path::new("pictures in memory"), found, &Options::default())?.with_several_classes()
    }

    /// Decodes pictures as far as the memory goes, and leaves out pictures that cannot be decoded and classes that then
    /// have none.
    fn decode(path: &Path, found: Found, options: &Options) -> Result<Self> {
        let (labels, entries): (Vec<u32>, Vec<Entry>) = found.pictures.into_iter().unzip();
        let decoded = entry::decode(entries, options);
        let mut dataset = Self {
            path: path.to_owned(),
            class_names: found.classes,
            samples: vec![],
            skipped: vec![],
            warnings: vec![],
        };
        for (label, outcome) in labels.into_iter().zip(decoded) {
            match outcome {
                Ok(entry) => dataset.samples.push(Sample { label, entry: Arc::new(entry) }),
                Err(skipped) => dataset.skipped.push(skipped),
            }
        }
        let later = dataset.samples.iter().filter(|sample| !sample.entry.is_in_memory()).count();
        if later > 0 {
            let warning = format!(
                "{later} of {} pictures do not fit into the {} MiB that decoded pictures may take, and are decoded \
                 each time they are used; a limit of the shorter side makes pictures smaller",
                dataset.samples.len(),
                options.memory >> 20,
            );
            dataset.warnings.push(warning);
        }
        dataset.drop_empty_classes();
        Ok(dataset)
    }

    /// Leaves out the classes without pictures and renumbers the others.
    fn drop_empty_classes(&mut self) {
        let sizes = self.class_sizes();
        let mut labels = vec![0; sizes.len()];
        let mut kept = 0;
        for (label, &size) in labels.iter_mut().zip(&sizes) {
            *label = kept;
            kept += u32::from(size > 0);
        }
        for sample in &mut self.samples {
            sample.label = labels[sample.label as usize];
        }
        for (name, size) in std::mem::take(&mut self.class_names).into_iter().zip(sizes) {
            if size > 0 {
                self.class_names.push(name);
            } else {
                self.warnings.push(format!("class {name:?} has no picture that can be read, and is left out"));
            }
        }
    }

    fn with_several_classes(self) -> Result<Self> {
        match self.class_names.as_slice() {
            [_, _, ..] => Ok(self),
            few => {
                let class = few.first().cloned();
                Err(DataError::TooFewClasses { path: self.path, class, skipped: self.skipped.into_iter().next() })
            }
        }
    }

    /// Returns where the data set was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of pictures.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Tells whether there is no picture. An opened data set has at least two; a part of it may have none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Returns the names of the classes; a label is an index of this list.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Returns the label of picture `index`.
    ///
    /// # Panics
    /// Panics if there are not so many pictures. The same holds for the other functions that take an index.
    pub fn label(&self, index: usize) -> u32 {
        self.samples[index].label
    }

    /// Returns the name of picture `index`: its path, or its place in the file that holds it.
    pub fn name(&self, index: usize) -> &str {
        &self.samples[index].entry.name
    }

    /// Returns picture `index`, at most as large as [`Options::shorter_side`] says.
    ///
    /// # Errors
    /// Fails if the picture is not in memory and cannot be read or decoded.
    pub fn picture(&self, index: usize) -> Result<Cow<'_, Picture>> {
        self.samples[index].entry.picture()
    }

    /// Returns picture `index` as it is, whatever [`Options::shorter_side`] says.
    ///
    /// # Errors
    /// Fails if the picture is not in memory and cannot be read or decoded.
    pub fn original(&self, index: usize) -> Result<Cow<'_, Picture>> {
        self.samples[index].entry.original()
    }

    /// Returns the number of pictures of each class.
    pub fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.class_names.len()];
        self.samples.iter().for_each(|sample| sizes[sample.label as usize] += 1);
        sizes
    }

    /// Returns the pictures that cannot be read, in the order of their names.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// Returns what the user should know: classes without pictures, and the like. Each one is a sentence without its
    /// full stop.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns how many of the pictures in memory are smaller than `side` pixels in height or width, such as a patch,
    /// and the name of the first one. Such pictures are enlarged, and most of their detail is invented.
    pub fn smaller_than(&self, side: u32) -> Option<(usize, &str)> {
        let mut small = self.samples.iter().filter(|sample| sample.entry.is_smaller_than(side));
        let first = small.next()?;
        Some((1 + small.count(), &first.entry.name))
    }
}

/// Finds the pictures of a data set.
fn find(path: &Path, options: &Options) -> Result<Parts> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    if path.is_dir() {
        return match idx::files_in(path)? {
            Some(files) => files.read(options),
            None => folder::find(path, options),
        };
    }
    if name.contains("idx3") {
        return idx::Files::of_pictures(path)?.read(options);
    }
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "tar" => tar::find(path, options),
        "json" | "png" => sheet::read(&path.with_extension("json"), options),
        _ => {
            path.metadata().map_err(|error| DataError::io(path, error))?;
            Err(DataError::format(
                path,
                "no data set, expected a folder DIR/<class>/*.jpg, a .tar of one (not compressed), IDX files, or the \
                 .json of a sheet",
            ))
        }
    }
}

/// Refuses pictures that have to be in memory but take more than `options` allow.
fn require_memory(path: &Path, bytes: u64, options: &Options) -> Result<()> {
    if bytes <= options.memory {
        return Ok(());
    }
    let message = format!("its pictures take {bytes} bytes of memory, expected at most {}; allow more", options.memory);
    Err(DataError::format(path, message))
}
