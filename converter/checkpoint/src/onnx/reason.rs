//! The reasons why an ONNX file cannot be read.

use super::graph::GraphError;
use super::prescan::PrescanError;

/// A reason why an ONNX file cannot be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OnnxReason {
    /// The file is damaged, or unfolds to far more than its size.
    #[error(transparent)]
    Unreadable(#[from] PrescanError),
    /// The nodes cannot be sorted so that each comes after those that it reads.
    #[error(transparent)]
    Unsorted(#[from] GraphError),
    /// The file holds no graph.
    #[error("an ONNX file without a graph")]
    NoGraph,
    /// The graph uses a version of ONNX's operators that is older than any that is read.
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
    /// The graph has no output with the name that the user gives.
    #[error("no output '{wanted}'; the graph's outputs are {found}")]
    UnknownOutput {
        /// The name that the user gives.
        wanted: String,
        /// The graph's outputs.
        found: String,
    },
    /// Two outputs look like the logits.
    #[error("the outputs '{0}' and '{1}' may both be meant; name one with --onnx-output")]
    TwoLogits(String, String),
    /// An output holds something other than the logits of a picture.
    #[error("the output '{name}' {problem}")]
    Output {
        /// The output.
        name: String,
        /// What the output holds, and what was expected.
        problem: String,
    },
    /// The graph reads several values, or none.
    #[error("{0} inputs; expected one, [batch, 3, height, width]")]
    Inputs(usize),
    /// A node computes something that no ResMLP computes.
    #[error("{node}: {problem}")]
    Node {
        /// The node's name and its operator.
        node: String,
        /// What the node does, and what was expected.
        problem: String,
    },
    /// The arithmetic on the pixels is not a normalisation.
    #[error("{0}")]
    Pixels(String),
    /// Some weights are not finite.
    #[error("weights that are not finite once the graph's constants are multiplied out")]
    NotFinite,
    /// The user states an activation function that is not the graph's.
    #[error("the graph applies {found}; --activation says {wanted}")]
    Activation {
        /// Name of the function that the graph applies.
        found: &'static str,
        /// Name of the function that the user states.
        wanted: &'static str,
    },
    /// The user gives a flag that is for another kind of file.
    #[error("{0} is for files of named tensors; an ONNX graph holds the whole network")]
    Flag(&'static str),
}

/// Oldest version of ONNX's operators that is read.
pub(super) const OLDEST_OPSET: i64 = 9;
/// Newest version of ONNX's operators that was tried.
pub(super) const NEWEST_OPSET: i64 = 20;
