//! Errors of the training program. Messages name the file, the picture or the flag, and what was expected.

use std::path::{Path, PathBuf};

use resmlp_train_core::{NotFinite, ShapeError};
use resmlp_train_data::DataError;

/// An error of the training program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A data set cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No network has the shape that was asked for.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// A checkpoint, a packed model or an output file cannot be used.
    #[error(transparent)]
    Converter(#[from] resmlp_cli::error::Error),
    /// A file has other contents than expected.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Sentence that says what was found and what was expected.
        message: String,
    },
    /// Training left the finite numbers. The saved state is the last one before.
    #[error("epoch {epoch}, batch {batch}: {reason}; {} has the last good state", saved.display())]
    NotFinite {
        /// Epoch, counted from 1.
        epoch: u64,
        /// Batch in the epoch, counted from 1.
        batch: usize,
        /// Name of the number that is not finite.
        reason: NotFinite,
        /// File of the saved state.
        saved: PathBuf,
    },
    /// The command line asks for something that cannot be done. The program then exits with the code 2.
    #[error("{0}")]
    Usage(String),
}

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error about the contents of `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }
}

impl From<resmlp_checkpoint::Error> for Error {
    fn from(error: resmlp_checkpoint::Error) -> Self {
        Self::Converter(error.into())
    }
}

impl From<resmlp_picture::Error> for Error {
    fn from(error: resmlp_picture::Error) -> Self {
        Self::Converter(error.into())
    }
}
