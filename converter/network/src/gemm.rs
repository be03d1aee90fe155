//! Multiplies `f32` matrices on all cores. The arithmetic is that of the crate `ndarray`.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;

/// Returns `data` as a row-major matrix with `columns` columns.
///
/// # Panics
/// Panics where `data` is no whole number of rows.
pub fn view(data: &[f32], columns: usize) -> ArrayView2<'_, f32> {
    assert!(columns > 0 && data.len().is_multiple_of(columns), "{} values in rows of {columns}", data.len());
    let rows = data.len() / columns;
    ArrayView2::from_shape((rows, columns), data).unwrap_or_else(|e| unreachable!("{rows} x {columns}: {e}"))
}

/// Returns `a · b`, row-major.
///
/// # Panics
/// Panics where the inner dimensions differ.
pub fn product(a: ArrayView2<f32>, b: ArrayView2<f32>) -> Vec<f32> {
    let mut out = vec![0.0; a.nrows() * b.ncols()];
    add_product(a, b, &mut out);
    out
}

/// Adds `a · b` to the row-major matrix `out`.
///
/// # Panics
/// Panics where the dimensions do not fit.
pub fn add_product(a: ArrayView2<f32>, b: ArrayView2<f32>, out: &mut [f32]) {
    let columns = b.ncols();
    let rows = a.nrows().div_ceil(rayon::current_num_threads()).next_multiple_of(8);
    let parts: Vec<_> = a.axis_chunks_iter(Axis(0), rows).collect();
    out.par_chunks_mut((rows * columns).max(1)).zip(parts).for_each(|(out, a)| {
        let out = ArrayViewMut2::from_shape((a.nrows(), columns), out);
        let mut out = out.unwrap_or_else(|e| unreachable!("result of {} x {columns}: {e}", a.nrows()));
        general_mat_mul(1.0, &a, &b, 1.0, &mut out);
    });
}

#[cfg(test)]
mod tests {
    use super::{product, view};

    #[test]
    fn transposes_and_odd_shapes() {
        let (m, k, n) = (13, 5, 17);
        let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
        let b_t: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
        let expected: Vec<f32> =
            (0..m * n).map(|i| (0..k).map(|l| a[i / n * k + l] * b[l * n + i % n]).sum()).collect();
        assert_eq!(product(view(&a, k), view(&b, n)), expected);
        assert_eq!(product(view(&a, k), view(&b_t, k).t()), expected);
    }
}
