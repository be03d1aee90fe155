//! The activation of 8-bit models: `relu(x)` less an even correction that a table holds.
//!
//! The exact GELU is `max(x, 0) - |x| · Φ(-|x|)`. The second term is small (at most 0.17) and vanishes beyond 4, so 256
//! bytes hold it finely while the first term keeps the full 16 bits of `x`. The tanh approximation of GELU has a
//! correction of the same kind. ReLU has none: its table is zero.

use resmlp_runtime::format::GELU_ENTRIES;
use resmlp_runtime::numerics::gelu_by_table;

use resmlp_network::Activation;
use resmlp_network::activation::function;

/// Magnitude of inputs beyond which the correction is less than 0.0001.
const REACH: f32 = 4.1;

/// Magnitude of negative inputs beyond which 16 bits may saturate, because every activation is 0 there. A unit that
/// leaves room for inputs down to -32 is as fine as the table's.
pub(crate) const DEEPEST: f32 = 32.0;

/// Factor by which 16-bit inputs may exceed the largest one seen in calibration.
const MARGIN: f32 = 1.25;

/// A table of the correction over `|x|`. Inputs, entries and results count in units of `unit`.
#[derive(Clone, Debug, PartialEq)]
pub struct GeluTable {
    /// Real value of one step of the 16-bit input.
    pub unit: f32,
    /// Entry `min(|x| >> shift, 255)` is the correction of `x`.
    pub entries: [u8; GELU_ENTRIES],
    /// Binary logarithm of the number of inputs that share an entry, in 0..=7.
    pub shift: u32,
}

impl GeluTable {
    /// Creates the finest table of `activation` for inputs up to `largest` in magnitude whose unit is at least `least`.
    pub fn new(activation: Activation, largest: f32, least: f32) -> Self {
        let largest = largest.max(1e-6);
        let reach = largest.min(REACH);
        let activate = function(activation);
        let correction = |x: f32| x - activate(x);
        let peak = (0..=100).map(|i| correction(reach * i as f32 / 100.0)).fold(0.0, f32::max);
        // The unit must let 16 bits hold every input and 8 bits hold every correction.
        let least = (largest * MARGIN / 32767.0).max(peak / 255.0).max(least);
        if activation == Activation::Relu {
            return Self { unit: least, entries: [0; GELU_ENTRIES], shift: 0 };
        }
        // Wider bins let a table reach as far with a finer unit. Both the unit and the bins round: the error of a bin
        // is half its width times the slope of the correction, which is at most 1/2.
        let unit_for = |shift: u32| (reach / (GELU_ENTRIES << shift) as f32).max(least);
        let rounding = |shift: u32| unit_for(shift) * (1.0 + 0.25 * (1u32 << shift) as f32);
        let shift = (0..=7).min_by(|&a, &b| rounding(a).total_cmp(&rounding(b))).unwrap_or(0);
        let unit = unit_for(shift);
        let middle = ((1u32 << shift) - 1) as f32 / 2.0;
        let entry = |i: usize| {
            let x = ((i << shift) as f32 + middle) * unit;
            (correction(x) / unit).round().clamp(0.0, 255.0) as u8
        };
        Self { unit, entries: std::array::from_fn(entry), shift }
    }

    /// Applies the activation to a 16-bit input. The result has the same units.
    pub fn apply(&self, x: i32) -> i32 {
        gelu_by_table(x, &self.entries, self.shift)
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, GeluTable, function};

    #[test]
    fn close_to_the_activation_over_the_whole_range() {
        let largest = [0.001f32, 0.1, 1.0, 4.0, 10.0, 100.0];
        for (activation, largest) in Activation::ALL.into_iter().flat_map(|a| largest.map(|largest| (a, largest))) {
            let table = GeluTable::new(activation, largest, 0.0);
            let mut worst = 0f32;
            for i in -1000..=1000 {
                let x = largest * i as f32 / 1000.0;
                let step = (x / table.unit).round_ties_even().clamp(-32768.0, 32767.0) as i32;
                worst = worst.max((table.apply(step) as f32 * table.unit - function(activation)(x)).abs());
            }
            assert!(worst <= largest.min(4.0) / 400.0, "{activation:?} of inputs up to {largest}: error {worst}");
        }
    }
}
