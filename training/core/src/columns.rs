//! Work on row-major matrices that treats every column alike.
//!
//! Every loop goes along a row, so that the compiler makes vector instructions of it, and adds to a column from the top
//! row to the bottom row, so that the sums are the same with every instruction set.

use pulp::Arch;

/// Computes `out = alpha ⊙ x + beta` for every row.
pub(crate) fn affine(x: &[f32], alpha: &[f32], beta: &[f32], out: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (out, x) in out.chunks_exact_mut(alpha.len()).zip(x.chunks_exact(alpha.len())) {
                for (((out, &x), &alpha), &beta) in out.iter_mut().zip(x).zip(alpha).zip(beta) {
                    *out = alpha * x + beta;
                }
            }
        },
    );
}

/// Takes the gradient `d` backwards through `alpha ⊙ x + beta`: adds to the gradients of alpha and beta, and multiplies
/// `d` by alpha.
pub(crate) fn affine_backward(x: &[f32], alpha: &[f32], d: &mut [f32], [d_alpha, d_beta]: [&mut [f32]; 2]) {
    let dim = alpha.len();
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let (d_alpha, d_beta) = (&mut d_alpha[..dim], &mut d_beta[..dim]);
            for (d, x) in d.chunks_exact_mut(dim).zip(x.chunks_exact(dim)) {
                for c in 0..dim {
                    d_alpha[c] += d[c] * x[c];
                    d_beta[c] += d[c];
                    d[c] *= alpha[c];
                }
            }
        },
    );
}

/// Computes `x += keep · scale ⊙ y` for every row, where `keep` is the picture's factor of this branch.
pub(crate) fn add_scaled(x: &mut [f32], y: &[f32], scale: &[f32], keep: f32) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, y) in x.chunks_exact_mut(scale.len()).zip(y.chunks_exact(scale.len())) {
                for ((x, &y), &scale) in x.iter_mut().zip(y).zip(scale) {
                    *x += keep * scale * y;
                }
            }
        },
    );
}

/// Takes the gradient `d` backwards through `keep · scale ⊙ y`: writes the gradient of `y` to `d_y` and adds to the
/// gradient of `scale`.
pub(crate) fn scale_backward(d: &[f32], y: &[f32], scale: &[f32], keep: f32, d_y: &mut [f32], d_scale: &mut [f32]) {
    let dim = scale.len();
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let d_scale = &mut d_scale[..dim];
            let rows = d.chunks_exact(dim).zip(y.chunks_exact(dim));
            for ((d, y), d_y) in rows.zip(d_y.chunks_exact_mut(dim)) {
                for c in 0..dim {
                    d_scale[c] += keep * d[c] * y[c];
                    d_y[c] = keep * scale[c] * d[c];
                }
            }
        },
    );
}

/// Computes `x += y`.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || x.iter_mut().zip(y).for_each(|(x, &y)| *x += y),
    );
}

/// Computes `x ⊙= y`.
pub(crate) fn multiply(x: &mut [f32], y: &[f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || x.iter_mut().zip(y).for_each(|(x, &y)| *x *= y),
    );
}

/// Adds the rows of `x` to `sums`.
pub(crate) fn add_rows(x: &[f32], sums: &mut [f32]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for row in x.chunks_exact(sums.len()) {
                sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
            }
        },
    );
}

/// Sets every row of `x` to `bias`.
pub(crate) fn fill_rows(x: &mut [f32], bias: &[f32]) {
    x.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias));
}
