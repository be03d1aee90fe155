//! What reading a checkpoint gives.

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
    /// The format's name for people and for `--json`.
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
    /// What the channel MLPs apply to their hidden units, for files that do not say it; the exact GELU where nobody
    /// does.
    pub activation: Option<Activation>,
    /// Which of several nested sets of weights is read, such as `model` or `model_ema`.
    pub key: Option<String>,
    /// A TOML file that maps foreign names of tensors onto timm's.
    pub names: Option<PathBuf>,
    /// A file with a linear classifier that is joined to the network.
    pub head: Option<PathBuf>,
    /// Reads the network as an embedding model: a classifier in the file is left out.
    pub embedding: bool,
    /// Name of the ONNX output that is read.
    pub output: Option<String>,
}

/// A checkpoint, read and understood.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The trained network.
    pub network: Network,
    /// The file's format.
    pub format: Format,
    /// Number of trained parameters.
    pub parameters: usize,
    /// What was chosen or left out while reading, one sentence each.
    pub notes: Vec<String>,
    /// The file's own graph, where it is ONNX: what an independent engine can run.
    pub onnx: Option<OnnxGraph>,
    /// Mean and standard deviation of pixels from 0 to 1, where the file itself says what its network expects.
    pub normalisation: Option<([f32; 3], [f32; 3])>,
}
