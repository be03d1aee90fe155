//! The loss of logits against targets.

/// Computes the cross entropy of softmax(logits) against `targets`, both `[pictures, classes]`.
///
/// A picture's targets are its classes' probabilities; label smoothing, mixup, cutmix and hard distillation are all
/// expressed by them. The function returns the sum over the pictures, and writes to `d_logits` the gradient of the mean
/// over `batch` pictures, `(softmax - targets) / batch` where the targets sum to one.
pub fn cross_entropy(logits: &[f32], targets: &[f32], classes: usize, batch: usize, d_logits: &mut [f32]) -> f64 {
    let rows = logits.chunks_exact(classes).zip(targets.chunks_exact(classes));
    let mut loss = 0.0;
    for ((logits, targets), d) in rows.zip(d_logits.chunks_exact_mut(classes)) {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log_sum = logits.iter().map(|&x| f64::from(x - largest).exp()).sum::<f64>().ln();
        let of_targets = targets.iter().map(|&t| f64::from(t)).sum::<f64>();
        for ((d, &x), &target) in d.iter_mut().zip(logits).zip(targets) {
            let log_probability = f64::from(x - largest) - log_sum;
            loss -= f64::from(target) * log_probability;
            *d = ((of_targets * log_probability.exp() - f64::from(target)) / batch as f64) as f32;
        }
    }
    loss
}
