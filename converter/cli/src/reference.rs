//! A checkpoint as a classifier: unfolded, in f32, by tract.

use std::path::Path;

use resmlp_checkpoint::Checkpoint;
use resmlp_picture::Preprocess;

use crate::classifier::Classifier;
use crate::error::Result;
use crate::tract::TractReference;

/// A checkpoint, run unfolded and in f32 by tract.
pub struct CheckpointClassifier {
    reference: TractReference,
    preprocess: Preprocess,
    labels: Vec<String>,
    outputs: usize,
    has_head: bool,
    notes: Vec<String>,
}

impl CheckpointClassifier {
    /// Prepares the checkpoint that was read from `path`; `labels` is empty or has a name for every class.
    ///
    /// An ONNX file's own graph is run where tract can run it, any other checkpoint by way of our export.
    pub fn new(path: &Path, checkpoint: &Checkpoint, preprocess: Preprocess, labels: Vec<String>) -> Result<Self> {
        preprocess.validate()?;
        let network = &checkpoint.network;
        let (own, notes) = own_graph(path, checkpoint);
        let reference = own.map_or_else(|| TractReference::from_network(network), Ok)?;
        let (outputs, has_head) = (network.outputs(), network.head.is_some());
        Ok(Self { reference, preprocess, labels, outputs, has_head, notes })
    }

    /// What was chosen while preparing, one sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// The checkpoint's own ONNX graph, where it has one and tract can run it; else the second says why not.
pub fn own_graph(path: &Path, checkpoint: &Checkpoint) -> (Option<TractReference>, Vec<String>) {
    let Some(graph) = &checkpoint.onnx else { return (None, vec![]) };
    match TractReference::from_onnx(graph) {
        Ok(reference) => (Some(reference), vec![]),
        Err(error) => {
            let name = path.display();
            let note = format!("tract cannot run the graph of {name} itself, so the network is exported anew: {error}");
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
