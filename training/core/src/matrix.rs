//! Products of matrices over slices, by the crate `gemm` on one thread.

/// A matrix of `f32` in a slice, with any strides.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// Views `data` as a row-major matrix of `cols` columns.
    ///
    /// # Panics
    /// Panics if `data` does not consist of whole rows.
    pub fn new(data: &'a [f32], cols: usize) -> Self {
        assert!(cols > 0 && data.len().is_multiple_of(cols), "{} numbers in rows of {cols}", data.len());
        Self { data, rows: data.len() / cols, cols, row_stride: cols, col_stride: 1 }
    }

    /// Returns the transpose of this matrix, which views the same numbers.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            data: self.data,
        }
    }
}

/// Computes `out = a · b`, a row-major matrix.
pub(crate) fn multiply(a: View, b: View, out: &mut [f32]) {
    product(a, b, out, false);
}

/// Computes `out += a · b`, a row-major matrix.
pub(crate) fn add_product(a: View, b: View, out: &mut [f32]) {
    product(a, b, out, true);
}

fn product(a: View, b: View, out: &mut [f32], add: bool) {
    assert_eq!(a.cols, b.rows, "the columns of the first matrix are the rows of the second");
    assert_eq!(out.len(), a.rows * b.cols, "the result has the rows of the first and the columns of the second matrix");
    let stride = |stride: usize| stride as isize;
    // SAFETY: a view's constructor checks that its slice holds `rows · cols` numbers, and transposing swaps both
    // lengths with their strides, so every element that `gemm` reads is inside its slice. The second assertion above
    // gives the same for `out`, which is borrowed mutably and so overlaps neither of them.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            stride(b.cols),
            add,
            a.data.as_ptr(),
            stride(a.col_stride),
            stride(a.row_stride),
            b.data.as_ptr(),
            stride(b.col_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_orientations_agree_with_the_definition() {
        let number = |i: usize| (i * 37 % 19) as f32 - 9.0;
        for [m, k, n] in [[1, 1, 1], [3, 5, 7], [16, 1, 9], [17, 33, 16], [64, 64, 128]] {
            let a: Vec<f32> = (0..m * k).map(number).collect();
            let b: Vec<f32> = (0..k * n).map(number).collect();
            let transposed = |x: &[f32], cols: usize| -> Vec<f32> {
                let rows = x.len() / cols;
                (0..cols).flat_map(|c| (0..rows).map(move |r| x[r * cols + c])).collect()
            };
            let expected: Vec<f32> =
                (0..m * n).map(|at| (0..k).map(|i| a[at / n * k + i] * b[i * n + at % n]).sum::<f32>()).collect();
            let (a_t, b_t) = (transposed(&a, k), transposed(&b, n));
            for (a, b) in [
                (View::new(&a, k), View::new(&b, n)),
                (View::new(&a_t, m).t(), View::new(&b, n)),
                (View::new(&a, k), View::new(&b_t, k).t()),
                (View::new(&a_t, m).t(), View::new(&b_t, k).t()),
            ] {
                let mut out = vec![f32::NAN; m * n];
                multiply(a, b, &mut out);
                assert_eq!(out, expected, "{m} × {k} × {n}");
                add_product(a, b, &mut out);
                assert_eq!(out, expected.iter().map(|x| 2.0 * x).collect::<Vec<_>>());
            }
        }
    }
}
