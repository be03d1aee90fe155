//! The optimisers, which change parameters along a gradient.

mod adamw;
mod lamb;

use crate::layout::{Kind, Layout};

/// Method by which an optimiser changes the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// AdamW (arXiv 1711.05101), as PyTorch computes it.
    AdamW,
    /// LAMB (arXiv 1904.00962), as timm computes it. The paper trains ResMLP with it.
    Lamb,
}

/// The settings of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Method by which an optimiser changes the parameters.
    pub method: Method,
    /// Shares that the old moments keep.
    pub betas: [f64; 2],
    /// Summand of the denominator.
    pub epsilon: f64,
    /// Weight decay. Only weights of linear layers decay; biases, Affs and LayerScale do not, as in deit's code.
    pub decay: f64,
    /// Largest norm of the whole gradient; a larger one is scaled to it. LAMB always has one.
    pub clip: Option<f64>,
}

impl Settings {
    /// Returns the usual settings of a method.
    pub fn new(method: Method) -> Self {
        let (epsilon, decay, clip) = match method {
            Method::AdamW => (1e-8, 0.05, None),
            Method::Lamb => (1e-6, 0.2, Some(1.0)),
        };
        Self { method, betas: [0.9, 0.999], epsilon, decay, clip }
    }
}

/// An optimiser's moments, and the number of its updates.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimiser {
    /// Settings, which may change between updates.
    pub settings: Settings,
    /// Mean of the gradients.
    pub mean: Vec<f32>,
    /// Mean of the gradients' squares.
    pub square: Vec<f32>,
    /// Number of updates so far.
    pub updates: u64,
}

impl Optimiser {
    /// Creates an optimiser without history.
    pub fn new(settings: Settings, layout: &Layout) -> Self {
        let zeros = || vec![0.0; layout.len()];
        Self { settings, mean: zeros(), square: zeros(), updates: 0 }
    }

    /// Changes the parameters by one update with this learning rate. `frozen` tells which tensors stay as they are.
    ///
    /// The gradient is scaled in place where its norm is limited.
    pub fn update(
        &mut self,
        layout: &Layout,
        parameters: &mut [f32],
        gradient: &mut [f32],
        rate: f64,
        frozen: impl Fn(&str) -> bool,
    ) {
        self.updates += 1;
        if let Some(limit) = self.settings.clip {
            let norm = norm(gradient);
            if norm > limit {
                let factor = (limit / norm) as f32;
                gradient.iter_mut().for_each(|d| *d *= factor);
            }
        }
        for tensor in layout.tensors.iter().filter(|tensor| !frozen(&tensor.name)) {
            let range = tensor.range.clone();
            let decay = if tensor.kind == Kind::Weight { self.settings.decay } else { 0.0 };
            let state = Moments { mean: &mut self.mean[range.clone()], square: &mut self.square[range.clone()] };
            let (parameters, gradient) = (&mut parameters[range.clone()], &gradient[range]);
            let step = Step { settings: &self.settings, updates: self.updates, rate, decay };
            match self.settings.method {
                Method::AdamW => adamw::update(&step, state, parameters, gradient),
                Method::Lamb => lamb::update(&step, state, parameters, gradient),
            }
        }
    }
}

/// The moments of one tensor.
struct Moments<'a> {
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

/// One update of one tensor.
struct Step<'a> {
    settings: &'a Settings,
    updates: u64,
    rate: f64,
    decay: f64,
}

impl Step<'_> {
    /// Returns what the moments of so many updates have to be divided by, because they started at zero.
    fn corrections(&self) -> [f64; 2] {
        self.settings.betas.map(|beta| 1.0 - beta.powi(self.updates as i32))
    }
}

/// Returns the Euclidean norm, added up in `f64` from the first number to the last.
fn norm(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt()
}
