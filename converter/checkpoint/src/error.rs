//! The errors of reading a checkpoint. They name the file, the tensor, what was found and what was expected.

use std::path::{Path, PathBuf};

pub use crate::config::ConfigReason;
pub use crate::labels::LabelsReason;
pub use crate::names::{MapReason, NamesReason};
pub use crate::onnx::{GraphError, OnnxReason, PrescanError};
pub use crate::pth::{PickleReason, PthReason};
pub use crate::shards::ShardReason;
pub use crate::sniff::NotACheckpoint;
pub use crate::tensors::Unread;

/// An error of a reader. Its message names the file and, if the error is about a tensor, the tensor.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system reported an error.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file or folder does not have the expected contents.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What was found and what was expected.
        reason: Reason,
    },
    /// A tensor of a checkpoint is missing, unexpected or wrong.
    #[error("{}: tensor '{tensor}': {reason}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name in the checkpoint.
        tensor: String,
        /// What was found and what was expected.
        reason: Reason,
    },
}

/// What is wrong with a file or a tensor.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The file is not a checkpoint.
    #[error(transparent)]
    NotACheckpoint(#[from] NotACheckpoint),
    /// The named tensors do not form a ResMLP.
    #[error(transparent)]
    Names(#[from] NamesReason),
    /// The map of names cannot be used.
    #[error(transparent)]
    Map(#[from] MapReason),
    /// The PyTorch file is damaged or does not hold named tensors.
    #[error(transparent)]
    Pth(#[from] PthReason),
    /// The ONNX graph is damaged or does not compute a ResMLP.
    #[error(transparent)]
    Onnx(#[from] OnnxReason),
    /// The tensor cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// The index of a checkpoint's shards cannot be followed.
    #[error(transparent)]
    Shards(#[from] ShardReason),
    /// The file of labels cannot be used.
    #[error(transparent)]
    Labels(#[from] LabelsReason),
    /// The `config.json` beside the weights cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigReason),
    /// The safetensors file is damaged.
    #[error("a damaged safetensors file ({0}); expected a complete one")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// The network is larger than the packed format allows.
    #[error(transparent)]
    Length(#[from] resmlp_network::LengthError),
    /// The file is one shard of a checkpoint that is split over several files.
    #[error(
        "{reason}; it is shard {number} of {count}: give the path of the index beside it (….index.json), or merge the \
         shards into one file"
    )]
    Shard {
        /// The error of reading this file alone.
        reason: Box<Reason>,
        /// Number of the shard, from 1.
        number: usize,
        /// Number of shards.
        count: usize,
    },
    /// A reason in words.
    #[error("{0}")]
    Other(String),
}

impl From<String> for Reason {
    fn from(message: String) -> Self {
        Self::Other(message)
    }
}

impl From<&str> for Reason {
    fn from(message: &str) -> Self {
        Self::Other(message.into())
    }
}

/// `Result` with this crate's error.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Creates an error of the operating system about `path`.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }

    /// Creates an error about the contents of `path`.
    pub fn file(path: impl AsRef<Path>, reason: impl Into<Reason>) -> Self {
        Self::File { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }

    /// Creates an error about one tensor of the checkpoint `path`.
    pub fn tensor(path: impl AsRef<Path>, tensor: impl Into<String>, reason: impl Into<Reason>) -> Self {
        Self::Tensor { path: path.as_ref().to_path_buf(), tensor: tensor.into(), reason: reason.into() }
    }

    /// Adds to the error that the file is shard `number` of `count`.
    pub(crate) fn of_shard(self, number: usize, count: usize) -> Self {
        let shard = |reason| Reason::Shard { reason: Box::new(reason), number, count };
        match self {
            Self::File { path, reason } => Self::File { path, reason: shard(reason) },
            Self::Tensor { path, tensor, reason } => Self::Tensor { path, tensor, reason: shard(reason) },
            other @ Self::Io { .. } => other,
        }
    }
}
