//! Finds the most probable classes and their probabilities.

use core::cmp::Ordering;

use heapless::Vec;

/// Compares two logits such that sorting by this function puts the largest first and NaN last.
pub fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Returns the `N` largest of `logits` with their indices, largest first. Equal logits are in the order of their
/// indices, and NaN comes last.
pub fn top<const N: usize>(logits: &[f32]) -> Vec<(usize, f32), N> {
    let mut best: Vec<(usize, f32), N> = Vec::new();
    for (index, &logit) in logits.iter().enumerate() {
        let place = best.iter().position(|&(_, b)| descending(logit, b).is_lt()).unwrap_or(best.len());
        if best.is_full() && place < N {
            best.pop();
        }
        // `insert` fails, and is meant to, if `best` already holds `N` larger logits. `min` changes nothing, but lets
        // the compiler see that `insert` cannot panic.
        let _ = best.insert(place.min(best.len()), (index, logit));
    }
    best
}

/// Returns the `N` classes of the largest `logits` with their probabilities, in the order of [`top`].
///
/// The probabilities are the softmax of all logits. `exp` is the exponential function, which `core` lacks: pass
/// `f64::exp` or that of another library. A single NaN among the logits makes every probability NaN.
pub fn most_probable<const N: usize>(logits: &[f32], exp: impl Fn(f64) -> f64) -> Vec<(usize, f64), N> {
    // The largest logit is subtracted from each, so that no weight exceeds 1 and large logits do not overflow.
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| exp(f64::from(logit - largest));
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut classes = Vec::new();
    for (index, logit) in top::<N>(logits) {
        // `push` cannot fail: `top` returns at most `N` classes.
        let _ = classes.push((index, weight(logit) / sum));
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::{most_probable, top};

    #[test]
    fn probabilities_are_the_softmax() {
        let found = most_probable::<2>(&[0.0, 1.0, 0.0], f64::exp);
        let e = 1f64.exp();
        assert_eq!([found[0].0, found[1].0], [1, 0]);
        assert!((found[0].1 - e / (e + 2.0)).abs() < 1e-15 && (found[1].1 - 1.0 / (e + 2.0)).abs() < 1e-15);
        let large = most_probable::<3>(&[1e4, 0.0], f64::exp);
        assert_eq!(large.as_slice(), &[(0, 1.0), (1, 0.0)]);
        assert!(most_probable::<2>(&[f32::NAN, 0.0], f64::exp).iter().all(|(_, probability)| probability.is_nan()));
    }

    #[test]
    fn the_largest_logit_comes_first_and_ties_are_ordered_by_index() {
        let best = top::<3>(&[1.0, f32::NAN, 5.0, 1.0, 5.0, -2.0]);
        assert_eq!(best.as_slice(), &[(2, 5.0), (4, 5.0), (0, 1.0)]);
        assert_eq!(top::<1>(&[f32::NAN, f32::NEG_INFINITY]).as_slice(), &[(1, f32::NEG_INFINITY)]);
        assert_eq!(top::<3>(&[4.0]).as_slice(), &[(0, 4.0)]);
        assert!(top::<3>(&[]).is_empty());
    }
}
