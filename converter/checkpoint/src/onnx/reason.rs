//! Why an ONNX file cannot be read.

use super::graph::GraphError;
use super::prescan::PrescanError;

/// Why an ONNX file cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OnnxReason {
    /// The file is damaged, or unfolds to far more than its size.
    #[error(transparent)]
    Unreadable(#[from] PrescanError),
    /// The graph has no order in which it can be computed.
    #[error(transparent)]
    Unsorted(#[from] GraphError),
    /// The file holds no graph.
    #[error("an ONNX file without a graph")]
    NoGraph,
    /// The graph uses operators of a version that is not known.
    #[error("ONNX opset {0}; expected {OLDEST_OPSET} to {NEWEST_OPSET}")]
    Opset(i64),
    /// The file names two versions of ONNX's operators.
    #[error("two versions of ONNX's operators; expected one")]
    TwoOpsets,
    /// The graph has no output.
    #[error("an ONNX graph without an output; expected the logits")]
    NoOutput,
    /// The graph has too many outputs to look for the logits among them.
    #[error("{0} outputs; name one with --onnx-output")]
    ManyOutputs(usize),
    /// The graph has no output of the name that the user gives.
    #[error("no output '{wanted}'; the graph's outputs are {found}")]
    UnknownOutput {
        /// What the user names.
        wanted: String,
        /// What the graph has.
        found: String,
    },
    /// Two outputs look like the logits.
    #[error("the outputs '{0}' and '{1}' may both be meant; name one with --onnx-output")]
    TwoLogits(String, String),
    /// An output holds something else than the logits of a picture.
    #[error("the output '{name}' {problem}")]
    Output {
        /// The output.
        name: String,
        /// What it is, and what was expected.
        problem: String,
    },
    /// The graph reads several values, or none.
    #[error("{0} inputs; expected one, [batch, 3, height, width]")]
    Inputs(usize),
    /// A node does what no ResMLP does.
    #[error("{node}: {problem}")]
    Node {
        /// The node's name and its operator.
        node: String,
        /// What it does, and what was expected.
        problem: String,
    },
    /// The arithmetic on the pixels is no normalisation.
    #[error("{0}")]
    Pixels(String),
    /// Some weights are not finite.
    #[error("weights that are not finite once the graph's constants are multiplied out")]
    NotFinite,
    /// The user expects another activation function.
    #[error("the graph applies {found}; --activation says {wanted}")]
    Activation {
        /// What the graph applies.
        found: &'static str,
        /// What the user says.
        wanted: &'static str,
    },
    /// The user gives a flag for another kind of file.
    #[error("{0} is for files of named tensors; an ONNX graph holds the whole network")]
    Flag(&'static str),
}

/// Oldest version of ONNX's operators that is read.
pub(super) const OLDEST_OPSET: i64 = 9;
/// Newest version of ONNX's operators that was tried.
pub(super) const NEWEST_OPSET: i64 = 20;
