//! The best classes.

use core::cmp::Ordering;

use heapless::Vec;

/// Orders logits from the largest to the smallest, NaN last.
pub fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// The `N` largest of `logits` with their indices, largest first; equal ones in the order of their index, NaN last.
pub fn top<const N: usize>(logits: &[f32]) -> Vec<(usize, f32), N> {
    let mut best: Vec<(usize, f32), N> = Vec::new();
    for (index, &logit) in logits.iter().enumerate() {
        let place = best.iter().position(|&(_, b)| descending(logit, b).is_lt()).unwrap_or(best.len());
        if best.is_full() && place < N {
            best.pop();
        }
        // Refused where `N` better ones are there already. The limit is never met, but known to the compiler.
        let _ = best.insert(place.min(best.len()), (index, logit));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::top;

    #[test]
    fn largest_first_and_ties_by_index() {
        let best = top::<3>(&[1.0, f32::NAN, 5.0, 1.0, 5.0, -2.0]);
        assert_eq!(best.as_slice(), &[(2, 5.0), (4, 5.0), (0, 1.0)]);
        assert_eq!(top::<1>(&[f32::NAN, f32::NEG_INFINITY]).as_slice(), &[(1, f32::NEG_INFINITY)]);
        assert_eq!(top::<3>(&[4.0]).as_slice(), &[(0, 4.0)]);
        assert!(top::<3>(&[]).is_empty());
    }
}
