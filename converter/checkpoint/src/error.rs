//! Why a checkpoint cannot be read: the file, the tensor, what was found and what was expected.

use std::path::{Path, PathBuf};

/// An error of a reader; its message names the file and, where there is one, the tensor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what was expected.
        message: String,
    },
    /// A tensor of a checkpoint is not what it should be.
    #[error("{}: tensor '{tensor}': {message}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name in the checkpoint.
        tensor: String,
        /// What was found and what was expected.
        message: String,
    },
}

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of the operating system about `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// An error about the contents of `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }

    /// The same with another sentence about the file or the tensor.
    pub(crate) fn with(self, more: &str) -> Self {
        match self {
            Self::File { path, message } => Self::File { path, message: format!("{message}; {more}") },
            Self::Tensor { path, tensor, message } => {
                Self::Tensor { path, tensor, message: format!("{message}; {more}") }
            }
            other => other,
        }
    }

    /// An error about one tensor of the checkpoint `path`.
    pub fn tensor(path: impl AsRef<Path>, tensor: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.as_ref().to_path_buf(), tensor: tensor.into(), message: message.into() }
    }
}
