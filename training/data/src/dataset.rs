//! Labelled pictures: where they are found, which class each one belongs to, and which ones cannot be read.

use std::borrow::Cow;
use std::path::Path;

use resmlp_picture::{Limits, Picture};

use crate::error::Result;

/// How a data set is opened.
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

/// Labelled pictures of at least two classes.
#[derive(Clone, Debug)]
pub struct Dataset {
    class_names: Vec<String>,
}

impl Dataset {
    /// Opens a data set. If it has a training part and a held-out part, this is the training part.
    ///
    /// The path may lead to
    ///
    /// * a folder with a folder for each class, `DIR/<class>/*.jpg`, or with `train/` and `val/` or `test/` that hold
    ///   these (ImageFolder);
    /// * a `.tar` file of such a folder;
    /// * a folder with IDX files (`train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-…`, also with `.gz`), as
    ///   MNIST and Fashion-MNIST have them;
    /// * a `.json` file that describes a sheet, which is one PNG with all pictures in rows (module [`crate::dataset`]).
    ///
    /// Pictures that cannot be decoded are left out, and [`Dataset::skipped`] lists them.
    ///
    /// # Errors
    /// Fails if the path cannot be read, if it holds no data set of a known kind, and if fewer than two classes have
    /// pictures.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        Ok(Self::open_parts(path, options)?.0)
    }

    /// Opens a data set as [`Dataset::open`] does, and returns its training part and its held-out part.
    ///
    /// # Errors
    /// Returns the errors of [`Dataset::open`].
    pub fn open_parts(_path: impl AsRef<Path>, _options: &Options) -> Result<(Self, Option<Self>)> {
        todo!()
    }

    /// Creates a data set of pictures in memory: the name, the picture and the label of each.
    ///
    /// # Errors
    /// Fails if fewer than two classes have pictures.
    ///
    /// # Panics
    /// Panics if a label is not below the number of class names.
    pub fn from_pictures(_class_names: Vec<String>, _pictures: Vec<(String, Picture, u32)>) -> Result<Self> {
        todo!()
    }

    /// Returns the number of pictures.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Tells whether there is no picture. An opened data set has at least two; a part of it may have none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the names of the classes; a label is an index of this list.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Returns the label of picture `index`.
    ///
    /// # Panics
    /// Panics if there are not so many pictures. The same holds for the other functions that take an index.
    pub fn label(&self, _index: usize) -> u32 {
        todo!()
    }

    /// Returns the name of picture `index`: its path, or its place in the file that holds it.
    pub fn name(&self, _index: usize) -> &str {
        todo!()
    }

    /// Returns picture `index`, at most as large as [`Options::shorter_side`] says.
    ///
    /// # Errors
    /// Fails if the picture is not in memory and cannot be read or decoded.
    pub fn picture(&self, _index: usize) -> Result<Cow<'_, Picture>> {
        todo!()
    }

    /// Returns picture `index` as it is, whatever [`Options::shorter_side`] says.
    ///
    /// # Errors
    /// Fails if the picture is not in memory and cannot be read or decoded.
    pub fn original(&self, _index: usize) -> Result<Cow<'_, Picture>> {
        todo!()
    }

    /// Returns the number of pictures of each class.
    pub fn class_sizes(&self) -> Vec<usize> {
        todo!()
    }

    /// Divides the data set into a training part and a held-out part, which gets `fraction` of each class.
    ///
    /// Which pictures are held out depends on the seed and on the order of the class's pictures. A class keeps at least
    /// one picture for training, and gives at least one away if it has two or more.
    ///
    /// # Errors
    /// Fails if the fraction is not between 0 and 1 (both exclusive).
    pub fn split(self, _fraction: f64, _seed: u64) -> Result<(Self, Self)> {
        todo!()
    }

    /// Renumbers the labels so that they are indices of the class names of `other`, such as a held-out folder's for
    /// the training folder.
    ///
    /// # Errors
    /// Fails if a class of this data set is not a class of `other`.
    pub fn with_classes_of(self, _other: &Self) -> Result<Self> {
        todo!()
    }

    /// Returns the pictures that cannot be read, in the order of their names.
    pub fn skipped(&self) -> &[Skipped] {
        todo!()
    }

    /// Returns what the user should know: classes without pictures, and the like. Each one is a sentence.
    pub fn warnings(&self) -> &[String] {
        todo!()
    }

    /// Returns how many of the pictures in memory are smaller than `side` pixels in height or width, and the name of
    /// the first one.
    pub fn smaller_than(&self, _side: u32) -> Option<(usize, &str)> {
        todo!()
    }
}
