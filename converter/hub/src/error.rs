//! Errors of the hub. Messages name the address, what the server answered, and a way out.

use std::path::{Path, PathBuf};

/// An error of the model hub.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no address of a repository.
    #[error(
        "{text}: {found}; expected hf:owner/name or hf:owner/name@revision, such as \
         hf:timm/resmlp_12_224.fb_distilled_in1k"
    )]
    Address {
        /// Start of the text.
        text: String,
        /// What is wrong with it.
        found: &'static str,
    },
    /// A variable of the environment has a value that cannot be used.
    #[error("the environment variable {name} {found}; expected {expected}")]
    Variable {
        /// Name of the variable.
        name: &'static str,
        /// What is wrong with its value.
        found: String,
        /// Values that it may have.
        expected: &'static str,
    },
    /// The hub cannot be reached.
    #[error(
        "{address}: {host} does not answer ({reason}), and the cache {} does not have the files; check the network, set \
         HF_ENDPOINT to a mirror, or download the files by hand and give their folder instead",
        cache.display()
    )]
    Unreachable {
        /// What was asked for.
        address: String,
        /// Server that was asked.
        host: String,
        /// Reason that the system or the protocol gives.
        reason: String,
        /// Folder of the cache.
        cache: PathBuf,
    },
    /// The connection breaks again and again.
    #[error(
        "{address}: the download of {file} ends at {received} of {size} bytes ({reason}); run the command again, and it \
         continues there"
    )]
    Broken {
        /// What was asked for.
        address: String,
        /// Name of the file.
        file: String,
        /// Bytes that have arrived.
        received: u64,
        /// Bytes that were announced.
        size: u64,
        /// Why the last attempt ended.
        reason: String,
    },
    /// The network may not be used, and the cache does not have the files.
    #[error(
        "{address}: HF_HUB_OFFLINE is set, and the cache {} has no {missing}; run the command once without \
         HF_HUB_OFFLINE, or set HF_HOME to the folder of another cache",
        cache.display()
    )]
    Offline {
        /// What was asked for.
        address: String,
        /// Folder of the cache.
        cache: PathBuf,
        /// What the cache does not have.
        missing: String,
    },
    /// The server answers with an error.
    #[error("{address}: {answer}; {advice}")]
    Refused {
        /// What was asked for.
        address: String,
        /// Status of the answer.
        status: u16,
        /// The server, the status, what was asked in words, and what the server says.
        answer: String,
        /// What the user can do.
        advice: String,
    },
    /// The server's answer does not follow the protocol.
    #[error("{address}: {host} {found}; expected {expected}")]
    Answer {
        /// What was asked for.
        address: String,
        /// Server that was asked.
        host: String,
        /// What is wrong with the answer.
        found: String,
        /// What a hub answers.
        expected: String,
    },
    /// A file arrived with other contents than announced.
    #[error(
        "{address}: {file} arrived with the {found}, but {expected} was announced; the file was deleted, and \
         another run downloads it from the beginning"
    )]
    Hash {
        /// What was asked for.
        address: String,
        /// Name of the file.
        file: String,
        /// Kind and hash of what arrived.
        found: String,
        /// Hash that was announced.
        expected: String,
    },
    /// A file in the cache has other contents than its name says, and the network may not be used.
    #[error(
        "{}: the file is damaged: its {kind} is {found}; delete it and run the command without HF_HUB_OFFLINE",
        path.display()
    )]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// Name of the hash.
        kind: &'static str,
        /// Hash of the file.
        found: String,
    },
    /// The repository has no weights under a known name.
    #[error(
        "{address}: the repository has no {wanted}, but {files}; download the weights by hand and give their path instead"
    )]
    NoWeights {
        /// What was asked for.
        address: String,
        /// Names under which weights are looked for.
        wanted: String,
        /// The first names of files that the repository has.
        files: String,
    },
    /// The system refuses an operation on a file or folder of the cache.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Reason that the system gives.
        source: std::io::Error,
    },
}

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Returns a function that makes the system's error one about `path`.
    pub fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_path_buf(), source }
    }
}
