//! Why there is no picture.

use std::path::PathBuf;

/// An error about a picture file, or about how a picture is to be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no picture that can be read.
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

/// `Result` with this crate's error.
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
