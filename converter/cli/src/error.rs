//! Errors of the command line. Messages name the file or the flag, what was found and what was expected.

use std::path::{Path, PathBuf};

/// An error of the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refuses an operation on a file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Reason that the system gives.
        source: std::io::Error,
    },
    /// A file has other contents than expected.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Sentence that says what was found and what was expected.
        message: String,
    },
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] resmlp_checkpoint::Error),
    /// The model hub cannot be used, or does not have what was asked for.
    #[error(transparent)]
    Hub(#[from] resmlp_hub::Error),
    /// A picture or a folder of pictures cannot be read.
    #[error(transparent)]
    Picture(resmlp_picture::Error),
    /// tract refuses a graph that this program exported.
    #[error("tract: {0}")]
    Tract(String),
    /// The command line asks for something that cannot be done. The program then exits with the code 2.
    #[error("{0}")]
    Usage(String),
}

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error of the operating system about `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Creates an error about the contents of `path`.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), message: message.into() }
    }
}

/// Preprocessing that no picture can have comes from flags, so it becomes an error of the command line.
impl From<resmlp_picture::Error> for Error {
    fn from(error: resmlp_picture::Error) -> Self {
        match error {
            resmlp_picture::Error::Preparation(message) => Self::Usage(message),
            other => Self::Picture(other),
        }
    }
}
