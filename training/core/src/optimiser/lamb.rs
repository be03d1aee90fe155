//! LAMB: Adam's direction, with a length in proportion to the tensor's norm (arXiv 1904.00962, algorithm 2), as timm
//! computes it.

use pulp::Arch;

use super::{Moments, Step, norm};

/// Changes one tensor.
pub(super) fn update(step: &Step, moments: Moments, parameters: &mut [f32], gradient: &[f32]) {
    let [b1, b2] = step.settings.betas;
    let [c1, c2] = step.corrections();
    let (decay, epsilon) = (step.decay as f32, step.settings.epsilon as f32);
    let (c1, root) = (c1 as f32, c2.sqrt() as f32);
    let ([b1, b2], [new1, new2]) = ([b1 as f32, b2 as f32], [(1.0 - b1) as f32, (1.0 - b2) as f32]);
    let mut direction = vec![0.0; parameters.len()];
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let state = moments.mean.iter_mut().zip(moments.square.iter_mut());
            let to = parameters.iter().zip(&mut direction);
            for (((&p, direction), &d), (mean, square)) in to.zip(gradient).zip(state) {
                *mean = b1 * *mean + new1 * d;
                *square = b2 * *square + new2 * d * d;
                *direction = *mean / c1 / (square.sqrt() / root + epsilon) + decay * p;
            }
        },
    );
    // Only tensors that decay are scaled by their norm, as in timm without `always_adapt`.
    let trust = match (norm(parameters), norm(&direction)) {
        (weights, length) if step.decay != 0.0 && weights > 0.0 && length > 0.0 => weights / length,
        _ => 1.0,
    };
    let size = (step.rate * trust) as f32;
    parameters.iter_mut().zip(&direction).for_each(|(p, d)| *p -= size * d);
}
