//! Folds the scales and shifts around a layer into the layer, in `f64`.

use super::expr::{Id, Kind, Link, Spread};
use resmlp_network::{Linear, Matrix};

/// A scale and shift, with its own copy of the constants.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub id: Id,
    scale: Spread,
    shift: Spread,
}

/// Copies `links` into steps, in the same order.
pub(super) fn steps_of(links: &[Link]) -> Vec<Step> {
    let step = |link: &Link| {
        let (scale, shift) = match link.kind {
            Kind::Scale(by) => (by.clone(), Spread::All(0.0)),
            Kind::Shift(by) => (Spread::All(1.0), by.clone()),
            Kind::Uniform(scale, shift) => (Spread::All(scale), Spread::All(shift)),
        };
        Step { id: link.id, scale, shift }
    };
    links.iter().map(step).collect()
}

/// Returns whether `links` begin with links that do the same as `first`.
pub(super) fn same(links: &[Link], first: &[Link]) -> bool {
    links.len() >= first.len() && links.iter().zip(first).all(|(a, b)| a.id == b.id || a.kind == b.kind)
}

/// Returns whether a step only scales, by one number for all or by one number for each channel.
pub(super) fn is_pure_scale(step: &Step) -> bool {
    step.shift == Spread::All(0.0) && !matches!(step.scale, Spread::Patches(_))
}

/// The axis along which factors may vary.
#[derive(Clone, Copy)]
pub(super) enum Along {
    Channels,
    Patches,
}

/// `scale ⊙ x + shift`, the result of several steps in a row.
pub(super) struct Factors {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

impl Factors {
    /// Combines all of `steps` into one scale and one shift.
    ///
    /// # Errors
    /// Returns the first step that varies along another axis.
    pub fn of(steps: &[Step], length: usize, along: Along) -> Result<Self, Id> {
        let mut factors = Self { scale: vec![1.0; length], shift: vec![0.0; length] };
        for step in steps {
            let fail = |_| step.id;
            let scale = values(&step.scale, length, along).map_err(fail)?;
            let shift = values(&step.shift, length, along).map_err(fail)?;
            let pairs = factors.scale.iter_mut().zip(&mut factors.shift);
            for (index, (own_scale, own_shift)) in pairs.enumerate() {
                (*own_scale, *own_shift) = (*own_scale * scale(index), *own_shift * scale(index) + shift(index));
            }
        }
        Ok(factors)
    }

    /// Returns the factors in `f32`.
    pub fn scale(&self) -> Vec<f32> {
        self.scale.iter().map(|value| *value as f32).collect()
    }

    /// Returns the summands in `f32`.
    pub fn shift(&self) -> Vec<f32> {
        self.shift.iter().map(|value| *value as f32).collect()
    }
}

/// Returns a function from an index to the value of `spread` there, or an error if `spread` varies along another axis.
fn values(spread: &Spread, length: usize, along: Along) -> Result<impl Fn(usize) -> f64, ()> {
    match (spread, along) {
        (Spread::Channels(by), Along::Channels) | (Spread::Patches(by), Along::Patches) if by.len() != length => {
            Err(())
        }
        (Spread::Channels(_), Along::Patches) | (Spread::Patches(_), Along::Channels) => Err(()),
        (spread, _) => Ok(move |index: usize| match spread {
            Spread::All(by) => *by,
            Spread::Channels(by) | Spread::Patches(by) => by.get(index).copied().unwrap_or(f64::NAN),
        }),
    }
}

/// Returns the layer `weight · x` with the scale and shift `after` of its results folded in.
pub(super) fn rows_folded(mut weight: Matrix, after: &Factors) -> Linear {
    for (row, scale) in after.scale.iter().enumerate().filter(|(_, scale)| **scale != 1.0) {
        weight.row_mut(row).iter_mut().for_each(|value| *value = (f64::from(*value) * scale) as f32);
    }
    Linear { weight, bias: after.shift() }
}

/// Returns the layer `weight · x` with two scales and shifts folded in: `before` for its inputs and `after` for its
/// results.
pub(super) fn columns_folded(mut weight: Matrix, before: &Factors, after: &Factors) -> Linear {
    let mut bias = after.shift.clone();
    for (row, (bias, scale)) in bias.iter_mut().zip(&after.scale).enumerate() {
        let mut sum = 0.0;
        for (value, (by, shift)) in weight.row_mut(row).iter_mut().zip(before.scale.iter().zip(&before.shift)) {
            sum += f64::from(*value) * shift;
            *value = (f64::from(*value) * by * scale) as f32;
        }
        *bias += sum * scale;
    }
    Linear { weight, bias: bias.into_iter().map(|value| value as f32).collect() }
}
