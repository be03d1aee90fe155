//! The program's errors.

use std::fmt;

/// An error with the message that the user reads.
#[derive(Debug)]
pub enum Error {
    /// The command line is wrong; the exit code is 2.
    Usage(String),
    /// Anything else. The message names the file, what was found and what was expected; the exit code is 1.
    Failed(String),
}

/// `Result` with this program's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error about `subject`, a file or a device.
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
        Self::Usage(format!("{error}; `resmlp-device --help` lists all verbs and options"))
    }
}
