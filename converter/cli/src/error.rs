//! Why a verb fails: the file or the flag, what was found and what was expected.

use std::path::{Path, PathBuf};

/// An error of the command line; its message names the file and, where there is one, the tensor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refuses something.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
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
    /// A checkpoint cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] resmlp_checkpoint::Error),
    /// A picture or a folder of pictures cannot be read.
    #[error(transparent)]
    Picture(resmlp_picture::Error),
    /// tract refuses a graph that we exported.
    #[error("tract: {0}")]
    Tract(String),
    /// The command line asks for something that cannot be done.
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

/// A preparation that no picture can have comes from flags, so it is an error of the command line.
impl From<resmlp_picture::Error> for Error {
    fn from(error: resmlp_picture::Error) -> Self {
        match error {
            resmlp_picture::Error::Preparation(message) => Self::Usage(message),
            other => Self::Picture(other),
        }
    }
}
