//! AdamW: decoupled weight decay, then Adam (arXiv 1711.05101, algorithm 2), in the order in which PyTorch computes it.

use pulp::Arch;

use super::{Moments, Step};

/// Changes one tensor.
pub(super) fn update(step: &Step, moments: Moments, parameters: &mut [f32], gradient: &[f32]) {
    let [b1, b2] = step.settings.betas;
    let [c1, c2] = step.corrections();
    let keep = (1.0 - step.rate * step.decay) as f32;
    let (size, root) = ((step.rate / c1) as f32, c2.sqrt() as f32);
    let epsilon = step.settings.epsilon as f32;
    let ([b1, b2], [new1, new2]) = ([b1 as f32, b2 as f32], [(1.0 - b1) as f32, (1.0 - b2) as f32]);
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let state = moments.mean.iter_mut().zip(moments.square.iter_mut());
            for ((p, &d), (mean, square)) in parameters.iter_mut().zip(gradient).zip(state) {
                *p *= keep;
                *mean = b1 * *mean + new1 * d;
                *square = b2 * *square + new2 * d * d;
                *p -= size * *mean / (square.sqrt() / root + epsilon);
            }
        },
    );
}
