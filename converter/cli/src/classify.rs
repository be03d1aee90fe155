//! One way to classify pictures, whatever does the arithmetic.

use std::path::Path;

use crate::error::Result;
use crate::picture::Preprocess;
use crate::source::{Checkpoint, Format};
use crate::tract::TractReference;

/// Something that turns pictures into logits.
pub trait Classifier: Sync {
    /// How pictures are prepared for it.
    fn preprocess(&self) -> &Preprocess;

    /// What does the arithmetic: the name of the kernels, or `tract-f32`.
    fn kernels(&self) -> &str;

    /// Length of the result.
    fn outputs(&self) -> usize;

    /// Whether the result is one logit a class; else it is an embedding.
    fn has_head(&self) -> bool;

    /// The classes' names; empty where they are not known.
    fn labels(&self) -> &[String];

    /// The result for every picture, `[outputs]` each; a picture is `[height, width, 3]` of u8 as
    /// [`Preprocess::apply`] makes it.
    fn logits(&self, pictures: &[&[u8]]) -> Result<Vec<Vec<f32>>>;
}

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
    /// An ONNX file is run as it is where tract can run it, any other checkpoint by way of our export.
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

/// The checkpoint's own ONNX graph, where it is one and tract can run it; else the second says why not.
pub fn own_graph(path: &Path, checkpoint: &Checkpoint) -> (Option<TractReference>, Vec<String>) {
    if checkpoint.format != Format::Onnx {
        return (None, vec![]);
    }
    match TractReference::from_onnx(path, checkpoint.network.image) {
        Ok(reference) => (Some(reference), vec![]),
        Err(error) => {
            let note = format!("tract cannot run this ONNX file itself, so the network is exported anew: {error}");
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
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| normalise(picture, &self.preprocess)).collect();
        self.reference.logits(&pixels)
    }
}

/// `(x / 255 - mean) / std` for a picture `[height, width, 3]`, as `[3, height, width]`.
pub fn normalise(picture: &[u8], preprocess: &Preprocess) -> Vec<f32> {
    let (pixels, _) = picture.as_chunks::<3>();
    let channel = |c: usize| {
        let (mean, std) = (preprocess.mean[c], preprocess.std[c]);
        pixels.iter().map(move |pixel| (f32::from(pixel[c]) / 255.0 - mean) / std)
    };
    (0..3).flat_map(channel).collect()
}

/// A class and how sure the network is of it.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Guess {
    /// Index of the class.
    pub index: usize,
    /// Name of the class, where it is known.
    pub label: Option<String>,
    /// Softmax of the logits.
    pub probability: f64,
}

/// The `count` most probable classes, most probable first; of equal ones the lower index comes first.
pub fn top(logits: &[f32], labels: &[String], count: usize) -> Vec<Guess> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    let guess =
        |index: usize| Guess { index, label: labels.get(index).cloned(), probability: weight(logits[index]) / sum };
    order.into_iter().take(count).map(guess).collect()
}

/// How many classes come before `class` in the order of [`top`]; `None` where there is no such class or no order.
pub fn rank(logits: &[f32], class: usize) -> Option<usize> {
    let own = *logits.get(class)?;
    if logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    Some(logits.iter().enumerate().filter(|&(i, &logit)| logit > own || (logit == own && i < class)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_planes() {
        let preprocess = Preprocess { mean: [0.0, 0.5, 1.0], std: [1.0, 0.5, 0.25], ..Preprocess::imagenet([1, 2]) };
        let planes = normalise(&[0, 0, 0, 255, 255, 255], &preprocess);
        assert_eq!(planes, [0.0, 1.0, -1.0, 1.0, -4.0, 0.0]);
    }

    #[test]
    fn best_first_and_ties_by_index() {
        let logits = [0.0, 2.0, f32::NEG_INFINITY, 2.0];
        let labels = ["a", "b", "c", "d"].map(String::from);
        let guesses = top(&logits, &labels, 3);
        assert_eq!(guesses.iter().map(|guess| guess.index).collect::<Vec<_>>(), [1, 3, 0]);
        assert_eq!(guesses[1].label.as_deref(), Some("d"));
        let sum: f64 = top(&logits, &[], 9).iter().map(|guess| guess.probability).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        let ranks: Vec<_> = (0..5).map(|class| rank(&logits, class)).collect();
        assert_eq!(ranks, [Some(2), Some(0), Some(3), Some(1), None]);
        assert_eq!(rank(&[0.0, f32::NAN], 0), None);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let guesses = top(&[1e4, 0.0], &[], 2);
        assert_eq!((guesses[0].probability, guesses[1].probability), (1.0, 0.0));
    }
}
