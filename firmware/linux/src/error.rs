//! Why there is no result.

use std::fmt;

/// An error as the user reads it.
#[derive(Debug)]
pub enum Error {
    /// The command line cannot be followed.
    Usage(String),
    /// Anything else; names the file, what was found and what was expected.
    Failed(String),
}

/// `Result` with this program's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What went wrong with `subject`, a file or a device.
    pub fn about(subject: impl fmt::Display, problem: &dyn fmt::Display) -> Self {
        Self::Failed(format!("{subject}: {problem}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Failed(message) => f.write_str(message),
        }
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(format!("{error}; `resmlp-device --help` lists what there is"))
    }
}
