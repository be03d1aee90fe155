//! Runs a checkpoint as a classifier: tract computes the unfolded network in f32.

use std::path::Path;

use resmlp_checkpoint::Checkpoint;
use resmlp_picture::Preprocess;

use crate::classifier::Classifier;
use crate::error::Result;
use crate::tract::TractReference;

/// A checkpoint whose unfolded network tract runs in f32.
pub struct CheckpointClassifier {
    reference: TractReference,
    preprocess: Preprocess,
    labels: Vec<String>,
    outputs: usize,
    has_head: bool,
    notes: Vec<String>,
}

impl CheckpointClassifier {
    /// Prepares the checkpoint that was read from `path`. `labels` is empty or has a name for every class.
    ///
    /// tract runs the graph of an ONNX file where it can. The network of any other checkpoint is exported to ONNX
    /// first.
    ///
    /// # Errors
    /// Returns an error where `preprocess` is impossible or tract refuses the network.
    pub fn new(path: &Path, checkpoint: &Checkpoint, preprocess: Preprocess, labels: Vec<String>) -> Result<Self> {
        preprocess.validate()?;
        let network = &checkpoint.network;
        let (own, notes) = own_graph(path, checkpoint);
        let reference = own.map_or_else(|| TractReference::from_network(network), Ok)?;
        let (outputs, has_head) = (network.outputs(), network.head.is_some());
        Ok(Self { reference, preprocess, labels, outputs, has_head, notes })
    }

    /// Returns what was chosen while preparing, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Returns the checkpoint's own ONNX graph, where it has one that tract can run. Where tract cannot run it, the second
/// value has a sentence that says why.
pub(crate) fn own_graph(path: &Path, checkpoint: &Checkpoint) -> (Option<TractReference>, Vec<String>) {
    let Some(graph) = &checkpoint.onnx else { return (None, vec![]) };
    match TractReference::from_onnx(graph) {
        Ok(reference) => (Some(reference), vec![]),
        Err(error) => {
            let name = path.display();
            let note =
                format!("tract cannot run the graph of {name}, so it runs the network that was read from it: {error}");
            (None, vec![note])
        }
    }
}

impl Classifier for CheckpointClassifier {
    fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    fn kernels(&self) -> &str {
        "tract-f32"
    }

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn has_head(&self) -> bool {
        self.has_head
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn logits(&self, pictures: &[&[u8]]) -> Result<Vec<Vec<f32>>> {
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| self.preprocess.normalise(picture)).collect();
        self.reference.logits(&pixels)
    }
}
