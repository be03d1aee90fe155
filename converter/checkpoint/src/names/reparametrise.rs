//! Multiplies out pruned and weight-normed parameters, which PyTorch's utilities store in two tensors each.

use crate::tensors::Tensor;

/// A way to store one parameter in two tensors.
pub(super) struct Pair {
    /// Suffixes of the names of the two tensors.
    halves: [&'static str; 2],
    multiply: fn(&Tensor, &Tensor) -> Option<Tensor>,
}

/// The pairs that are multiplied out: those of `torch.nn.utils.prune` and of the older and the newer `weight_norm`.
pub(super) const PAIRS: [Pair; 3] = [
    Pair { halves: ["_orig", "_mask"], multiply: masked },
    Pair { halves: ["_g", "_v"], multiply: normed },
    Pair { halves: ["original0", "original1"], multiply: normed },
];

impl Pair {
    /// Returns the names of the two halves of the parameter `parameter`.
    pub fn halves_of(&self, parameter: &str) -> [String; 2] {
        match self.halves {
            [first, second] if first.starts_with("original") => {
                let (module, last) = parameter.rsplit_once('.').unwrap_or(("", parameter));
                let dot = if module.is_empty() { "" } else { "." };
                [first, second].map(|half| format!("{module}{dot}parametrizations.{last}.{half}"))
            }
            halves => halves.map(|half| format!("{parameter}{half}")),
        }
    }

    /// Returns the name of the parameter that `name` is one half of, or `None` if `name` is not that of a half.
    pub fn parameter_of(&self, name: &str) -> Option<String> {
        let before = self.halves.iter().find_map(|half| name.strip_suffix(half))?;
        if !self.halves[0].starts_with("original") {
            return Some(before.to_string());
        }
        let (module, last) = before.strip_suffix('.')?.rsplit_once("parametrizations.")?;
        Some(format!("{module}{last}"))
    }

    /// Multiplies the two halves; returns `None` if their shapes do not fit each other.
    pub fn multiply(&self, first: &Tensor, second: &Tensor) -> Option<Tensor> {
        (self.multiply)(first, second)
    }
}

/// Multiplies the weights with the mask, which is 1 for weights that are kept and 0 for pruned ones.
fn masked(weight: &Tensor, mask: &Tensor) -> Option<Tensor> {
    let data = weight.data.iter().zip(&mask.data).map(|(weight, mask)| weight * mask).collect();
    (weight.shape == mask.shape).then(|| Tensor { shape: weight.shape.clone(), data })
}

/// Returns `direction · magnitude / ‖direction‖` (Salimans and Kingma, arXiv 1602.07868).
///
/// The norm is taken over every dimension except the one that the magnitude keeps.
fn normed(magnitude: &Tensor, direction: &Tensor) -> Option<Tensor> {
    let kept = kept_dimension(&magnitude.shape, &direction.shape)?;
    let groups = kept.map_or(1, |at| direction.shape[at]);
    let stride: usize = kept.map_or(1, |at| direction.shape[at + 1..].iter().product());
    let group = |index: usize| if kept.is_some() { index / stride % groups } else { 0 };
    let mut squares = vec![0.0f64; groups];
    for (index, value) in direction.data.iter().enumerate() {
        squares[group(index)] += f64::from(*value) * f64::from(*value);
    }
    let scaled = |(index, value): (usize, &f32)| {
        let group = group(index);
        (f64::from(*value) * f64::from(magnitude.data[group]) / squares[group].sqrt()) as f32
    };
    Some(Tensor { shape: direction.shape.clone(), data: direction.data.iter().enumerate().map(scaled).collect() })
}

/// Returns the one dimension in which a magnitude is longer than 1, or `Some(None)` if the magnitude is one number.
///
/// Returns `None` if the shapes do not fit each other.
fn kept_dimension(magnitude: &[usize], direction: &[usize]) -> Option<Option<usize>> {
    if direction.contains(&0) {
        return None;
    }
    if magnitude.iter().all(|length| *length == 1) {
        // The magnitude is one number. If it keeps a dimension, the parameter has length 1 there, so that the norm is
        // taken over the whole parameter in either case.
        let is_scalar = magnitude.len() <= 1 || magnitude.len() == direction.len();
        return is_scalar.then_some(None);
    }
    let at = magnitude.iter().position(|length| *length != 1)?;
    let fits = magnitude.len() == direction.len()
        && direction.get(at) == magnitude.get(at)
        && magnitude.iter().enumerate().all(|(other, length)| other == at || *length == 1);
    fits.then_some(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
        Tensor { shape: shape.to_vec(), data: data.to_vec() }
    }

    #[test]
    fn a_norm_is_taken_over_rows_columns_or_everything() {
        let direction = tensor(&[2, 2], &[3.0, 4.0, 6.0, 8.0]);
        let rows = normed(&tensor(&[2, 1], &[10.0, 1.0]), &direction).unwrap();
        assert_eq!(rows.data, [6.0, 8.0, 0.6, 0.8]);
        let all = normed(&tensor(&[], &[125f32.sqrt()]), &direction).unwrap();
        assert_eq!(all.data, [3.0, 4.0, 6.0, 8.0]);
        let columns = normed(&tensor(&[1, 2], &[45f32.sqrt(), 0.0]), &direction).unwrap();
        assert_eq!(columns.data, [3.0, 0.0, 6.0, 0.0]);
        assert!(normed(&tensor(&[3, 1], &[1.0; 3]), &direction).is_none());
    }

    #[test]
    fn names_of_halves_go_both_ways() {
        for (pair, parameter, first) in [
            (0, "a.weight", "a.weight_orig"),
            (1, "a.weight", "a.weight_g"),
            (2, "a.b.weight", "a.b.parametrizations.weight.original0"),
            (2, "weight", "parametrizations.weight.original0"),
        ] {
            assert_eq!(PAIRS[pair].halves_of(parameter)[0], first);
            assert_eq!(PAIRS[pair].parameter_of(first).as_deref(), Some(parameter));
        }
    }
}
