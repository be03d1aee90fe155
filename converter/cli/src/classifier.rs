//! One interface to everything that classifies pictures: packed models, and checkpoints by tract.

use resmlp_picture::Preprocess;
use resmlp_runtime::descending;

use crate::error::Result;

/// Turns pictures into logits.
pub trait Classifier: Sync {
    /// Returns how pictures are prepared for this classifier.
    fn preprocess(&self) -> &Preprocess;

    /// Returns the name of what does the arithmetic: that of the kernels, or `tract-f32`.
    fn kernels(&self) -> &str;

    /// Returns the length of the result for a picture.
    fn outputs(&self) -> usize;

    /// Returns whether the result has one logit for each class. Otherwise it is an embedding.
    fn has_head(&self) -> bool;

    /// Returns the names of the classes; empty where they are not known.
    fn labels(&self) -> &[String];

    /// Returns the result for every picture, `[outputs]` each. A picture is `[height, width, 3]` of `u8`, as
    /// [`Preprocess::apply`] returns it.
    ///
    /// # Errors
    /// Returns an error that names the file where a picture has another size or the engine fails.
    fn logits(&self, pictures: &[&[u8]]) -> Result<Vec<Vec<f32>>>;
}

/// A class and its probability.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Guess {
    /// Index of the class.
    pub index: usize,
    /// Name of the class; `null` where it is not known.
    pub label: Option<String>,
    /// Softmax of the logits, from 0 to 1.
    pub probability: f64,
}

/// Returns the `count` most probable classes, most probable first. Of equally probable classes the lower index comes
/// first.
pub fn top(logits: &[f32], labels: &[String], count: usize) -> Vec<Guess> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| descending(logits[a], logits[b]).then(a.cmp(&b)));
    let guess =
        |index: usize| Guess { index, label: labels.get(index).cloned(), probability: weight(logits[index]) / sum };
    order.into_iter().take(count).map(guess).collect()
}

/// Returns how many classes come before `class` when they are ordered by probability and then by index. Returns `None`
/// where there is no such class, or where a NaN leaves no order.
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
