//! One interface to everything that classifies pictures: packed models, and checkpoints by tract.

use resmlp_picture::Preprocess;

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
    fn a_rank_counts_the_classes_before() {
        let logits = [0.0, 2.0, f32::NEG_INFINITY, 2.0];
        let ranks: Vec<_> = (0..5).map(|class| rank(&logits, class)).collect();
        assert_eq!(ranks, [Some(2), Some(0), Some(3), Some(1), None]);
        assert_eq!(rank(&[0.0, f32::NAN], 0), None);
    }
}
