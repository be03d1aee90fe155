//! The errors of this crate.

use std::path::PathBuf;

use crate::dataset::Skipped;

/// An error about a data set, a picture in it, or the way pictures are to be varied.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system cannot read a file or a folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file or a folder holds no data set that can be read.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// One picture cannot be read.
    #[error("{name}: {reason}")]
    Picture {
        /// The picture's name, as [`Dataset::name`](crate::Dataset::name) gives it.
        name: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A data set has fewer than two classes with pictures.
    #[error(
        "{}: found {}, expected at least two classes with pictures{}; put the pictures of each class into a folder of \
         its own (DIR/<class>/picture.jpg)",
        path.display(),
        match class { Some(class) => format!("only the class {class:?}"), None => "no class".into() },
        match skipped { Some(Skipped { name, reason }) => format!(" ({name}: {reason})"), None => String::new() },
    )]
    TooFewClasses {
        /// The file or folder.
        path: PathBuf,
        /// The only class, if there is one.
        class: Option<String>,
        /// The first picture that cannot be read, if there is one.
        skipped: Option<Skipped>,
    },
    /// Two data sets that belong together have different classes.
    #[error("{}: {message}", path.display())]
    Classes {
        /// The file or folder of the second data set.
        path: PathBuf,
        /// Which class was found and which ones were expected.
        message: String,
    },
    /// A data set has fewer pictures than a batch or a split needs.
    #[error("found {found} pictures, expected at least {expected}; {advice}")]
    TooFewPictures {
        /// Number of pictures found.
        found: usize,
        /// Number of pictures needed.
        expected: usize,
        /// What to do about it.
        advice: String,
    },
    /// A setting of the augmentation, of the input or of the loader is out of range.
    #[error("{setting}: found {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// The value found.
        found: String,
        /// The values allowed.
        expected: &'static str,
    },
}

/// A `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, DataError>;

impl DataError {
    /// Creates an error of the operating system about `path`.
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// Creates an error about the contents of `path`.
    pub(crate) fn format(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::Format { path: path.into(), message: message.into() }
    }
}
