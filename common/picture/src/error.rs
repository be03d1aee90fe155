//! The errors of this crate.

use std::path::PathBuf;

/// An error about a picture file, or about how a picture is to be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system cannot read a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file holds no picture that can be decoded within its limits.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// No picture can be prepared in the way that was asked for.
    #[error("{0}")]
    Preparation(String),
}

/// A `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

#[cfg(feature = "dataset")]
impl Error {
    /// Creates an error of the operating system about `path`.
    pub(crate) fn io(path: impl AsRef<std::path::Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Creates an error about the contents of `path`.
    pub(crate) fn file(path: impl AsRef<std::path::Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }
}
