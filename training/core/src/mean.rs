//! The exponential moving average of a network's parameters.

/// An exponential moving average of parameters, which is often a better network than the last parameters are.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// The averaged parameters.
    pub parameters: Vec<f32>,
    /// Largest share that the old average keeps at an update.
    pub decay: f64,
}

impl Mean {
    /// Starts an average at `parameters`.
    pub fn new(parameters: &[f32], decay: f64) -> Self {
        Self { parameters: parameters.to_vec(), decay }
    }

    /// Takes in the parameters after `update` updates, counted from 1.
    ///
    /// The old average keeps `min(decay, (1 + update) / (10 + update))`, so that it forgets the first, random
    /// parameters soon (timm's `ModelEmaV2` keeps `decay` from the start).
    pub fn update(&mut self, parameters: &[f32], update: u64) {
        let warm = (1.0 + update as f64) / (10.0 + update as f64);
        let share = (1.0 - self.decay.min(warm)) as f32;
        for (mean, &new) in self.parameters.iter_mut().zip(parameters) {
            // In this form, the average of a number that never changes is the number itself.
            *mean += share * (new - *mean);
        }
    }
}
