//! The options and the result of reading a checkpoint.

use std::path::PathBuf;

use crate::onnx::judge::OnnxGraph;
use resmlp_network::{Activation, Network};

/// File formats of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Hugging Face safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    PthZip,
    /// `torch.save` before PyTorch 1.6: a sequence of pickles.
    PthLegacy,
    /// An ONNX graph.
    Onnx,
}

impl Format {
    /// Returns the format's name, as messages and `--json` show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PthZip => "pth (zip)",
            Self::PthLegacy => "pth (legacy)",
            Self::Onnx => "onnx",
        }
    }
}

/// What the caller knows about a checkpoint that the file may not say.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Height and width of the picture in pixels, for token grids that are not square.
    pub image: Option<[usize; 2]>,
    /// Activation of the channel MLPs, for files that do not state it. Without this option and without a statement in
    /// the file or in the map of names, the exact GELU is assumed.
    pub activation: Option<Activation>,
    /// Key of the set of weights to read, such as `model` or `model_ema`, for files that hold several.
    pub key: Option<String>,
    /// Path of a TOML file that maps the file's tensor names to timm's.
    pub names: Option<PathBuf>,
    /// Path of a file with a linear classifier, which is joined to the network.
    pub head: Option<PathBuf>,
    /// Whether to read the network as an embedding model, without the classifier in the file.
    pub embedding: bool,
    /// Name of the ONNX output to read, for graphs with several outputs.
    pub output: Option<String>,
}

/// A checkpoint that has been read.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The trained network.
    pub network: Network,
    /// The file's format.
    pub format: Format,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Choices that the reader made and tensors that it left out, one note each.
    pub notes: Vec<String>,
    /// The ONNX file's own graph, which an independent engine can run; `None` for other formats.
    pub onnx: Option<OnnxGraph>,
    /// Length in bytes of all files that the weights were read from.
    pub bytes: u64,
    /// Mean and standard deviation of the colours, for pixels scaled to 0 to 1, if the file itself states them.
    pub normalisation: Option<([f32; 3], [f32; 3])>,
}
