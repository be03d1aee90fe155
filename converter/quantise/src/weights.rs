//! Rounds a layer's weights to 8 bits so that the layer's *output* changes least on the calibration pictures.
//!
//! Weights are rounded one after the other, and the error made so far is fed forward into the weights that are not
//! rounded yet. This is GPTQ (arXiv 2210.17323, section 3) in the form of LDLQ (arXiv 2307.13304, section 3), which
//! needs one factorisation and no inverse.

use std::ops::Range;

use rayon::prelude::*;

use resmlp_network::gemm::{add_product, product, view};

/// Largest magnitude of a weight. With -128, a 16-bit sum of two products could overflow.
pub(crate) const LARGEST: f32 = 127.0;

/// Candidates for the scale of a row, as shares of the scale that represents its largest weight exactly.
const SHARES: [f32; 6] = [1.0, 0.96, 0.92, 0.88, 0.84, 0.8];

/// Number that is added to the diagonal of the second moments, as a share of the diagonal's mean.
const DAMPING: f32 = 0.01;

/// Number of columns that are eliminated at a time.
const BLOCK: usize = 64;

/// Number of rows of samples that are multiplied at a time.
const BATCH: usize = 1024;

/// The 8-bit weights of a layer and the scale of each row.
#[derive(Clone, Debug)]
pub(crate) struct Rounded {
    /// Weights in -127..=127, `[rows, k]`.
    pub weights: Vec<i8>,
    /// Scale of each row, `[rows]`: the real weight is about `scale` · `weights`.
    pub scale: Vec<f32>,
}

/// Second moments of a layer's inputs, gathered in batches.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    /// Number of inputs.
    k: usize,
    /// Whether the moments are about the mean. They are wherever a bias makes up for the mean.
    centred: bool,
    /// Number of samples.
    samples: usize,
    /// Sum of each input, `[k]`.
    sums: Vec<f32>,
    /// Sums of the products of any two inputs, `[k, k]`.
    products: Vec<f32>,
}

impl Moments {
    /// Creates moments about the mean without samples, for inputs of `k` values.
    pub fn new(k: usize) -> Self {
        Self { k, centred: true, samples: 0, sums: vec![0.0; k], products: vec![0.0; k * k] }
    }

    /// Creates moments about zero without samples, for inputs of `k` values.
    pub fn uncentred(k: usize) -> Self {
        Self { centred: false, ..Self::new(k) }
    }

    /// Adds samples, `[count, k]`.
    pub fn add(&mut self, samples: &[f32]) {
        let k = self.k;
        for batch in samples.chunks(BATCH * k) {
            add_product(view(batch, k).t(), view(batch, k), &mut self.products);
            for row in batch.chunks_exact(k) {
                self.sums.iter_mut().zip(row).for_each(|(s, x)| *s += x);
            }
            self.samples += batch.len() / k;
        }
    }

    /// Returns the mean of each input, `[k]`.
    pub fn mean(&self) -> Vec<f32> {
        self.sums.iter().map(|s| s / self.samples.max(1) as f32).collect()
    }

    /// Returns the second moments, `[k, k]`, damped so that they can be factorised whatever the samples were.
    fn covariance(&self) -> Vec<f32> {
        let (k, count) = (self.k, self.samples.max(1) as f32);
        let mean = if self.centred { self.mean() } else { vec![0.0; k] };
        let mut out: Vec<f32> = (0..k * k).map(|i| self.products[i] / count - mean[i / k] * mean[i % k]).collect();
        let trace: f32 = (0..k).map(|i| out[i * k + i].max(0.0)).sum();
        // Inputs of centred moments are whole numbers, so a smaller variance than this is a rounding error.
        let least = if self.centred { 1e-12 } else { f32::MIN_POSITIVE };
        let damping = (DAMPING * trace / k as f32).max(least);
        (0..k).for_each(|i| out[i * k + i] = out[i * k + i].max(0.0) + damping);
        out
    }
}

/// Rounds `weights` (`[rows, k]`) for inputs with these moments. The scale of a row is at least `least[row]`.
pub(crate) fn round(weights: &[f32], moments: &Moments, least: &[f32]) -> Rounded {
    let k = moments.k;
    let covariance = moments.covariance();
    let importance: Vec<f32> = (0..k).map(|i| covariance[i * k + i]).collect();
    let scale: Vec<f32> =
        weights.par_chunks_exact(k).zip(least).map(|(row, &least)| best_scale(row, &importance).max(least)).collect();
    let feedback = feedback(covariance, k);
    let mut rounded = vec![0i8; weights.len()];
    let rows = rounded.par_chunks_exact_mut(k).zip(weights.par_chunks_exact(k)).zip(&scale);
    rows.for_each(|((out, row), &scale)| round_row(row, scale, &feedback, out));
    Rounded { weights: rounded, scale }
}

/// Returns the scale with which plain rounding has the smallest error. The error of each weight is weighed by the
/// variance of its input (`importance`).
fn best_scale(row: &[f32], importance: &[f32]) -> f32 {
    let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
    if largest == 0.0 {
        return f32::MIN_POSITIVE;
    }
    let error = |scale: f32| -> f64 {
        let error = row.iter().zip(importance).map(|(&w, &i)| (w - scale * nearest(w / scale)).powi(2) * i);
        error.map(f64::from).sum()
    };
    let scales = SHARES.map(|share| (share * largest / LARGEST).max(f32::MIN_POSITIVE));
    let errors = scales.map(error);
    let best = (0..scales.len()).min_by(|&a, &b| errors[a].total_cmp(&errors[b])).unwrap_or(0);
    scales[best]
}

/// Returns the nearest whole number that a weight can be.
fn nearest(x: f32) -> f32 {
    x.round_ties_even().clamp(-LARGEST, LARGEST)
}

/// Rounds one row of weights. Row `i` of `feedback` holds the share of each earlier weight's error that weight `i`
/// takes over.
fn round_row(row: &[f32], scale: f32, feedback: &[f32], out: &mut [i8]) {
    let k = row.len();
    let mut errors = vec![0f32; k];
    for i in 0..k {
        let carried = dot(&errors[..i], &feedback[i * k..][..i]);
        let rounded = nearest((row[i] + carried) / scale);
        errors[i] = row[i] - scale * rounded;
        out[i] = rounded as i8;
    }
}

/// Returns the scalar product of two vectors of the same length.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((s, a), b) in sums.iter_mut().zip(a).zip(b) {
            *s += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Factorises `covariance` = (U + I) D (U + I)ᵀ with U strictly upper triangular and D diagonal, and returns Uᵀ, `[k,
/// k]`.
///
/// The elimination goes from the last input to the first, a block of columns at a time.
fn feedback(mut covariance: Vec<f32>, k: usize) -> Vec<f32> {
    let mut out = vec![0f32; k * k];
    let mut end = k;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let (above, diagonal) = covariance.split_at_mut(start * k);
        let columns = factor_diagonal(&mut diagonal[..(end - start) * k], k, start..end);
        above.par_chunks_exact_mut(k).for_each(|row| eliminate(&mut row[start..end], &columns));
        for (r, row) in covariance[..end * k].chunks_exact(k).enumerate() {
            (start.max(r + 1)..end).for_each(|c| out[c * k + r] = row[c]);
        }
        update_rest(&mut covariance, k, start..end, &columns);
        end = start;
    }
    out
}

/// One column of U within a block.
struct Column {
    /// Element of D.
    pivot: f32,
    /// Elements of the column above the diagonal.
    above: Vec<f32>,
}

/// Factorises the block on the diagonal, whose rows over all `k` columns are `rows`. Returns the columns from the first
/// to the last.
fn factor_diagonal(rows: &mut [f32], k: usize, block: Range<usize>) -> Vec<Column> {
    let (start, size) = (block.start, block.len());
    let mut columns = Vec::with_capacity(size);
    for c in (0..size).rev() {
        let pivot = rows[c * k + start + c];
        let above: Vec<f32> = (0..c).map(|r| rows[r * k + start + c] / pivot).collect();
        for (r, u) in above.iter().enumerate() {
            let row = &mut rows[r * k + start..][..size];
            row[..c].iter_mut().zip(&above).for_each(|(x, v)| *x -= u * pivot * v);
            row[c] = *u;
        }
        columns.push(Column { pivot, above });
    }
    columns.reverse();
    columns
}

/// Turns the part of a row that lies above a block into the row's part of U.
fn eliminate(row: &mut [f32], columns: &[Column]) {
    for (c, Column { pivot, above }) in columns.iter().enumerate().rev() {
        let u = row[c] / pivot;
        row[..c].iter_mut().zip(above).for_each(|(x, v)| *x -= u * pivot * v);
        row[c] = u;
    }
}

/// Subtracts what a finished block contributes from the part of the matrix above and to the left of the block.
fn update_rest(covariance: &mut [f32], k: usize, block: Range<usize>, columns: &[Column]) {
    let (rows, size) = (block.start, block.len());
    if rows == 0 {
        return;
    }
    let part: Vec<f32> = covariance[..rows * k].chunks_exact(k).flat_map(|row| &row[block.clone()]).copied().collect();
    let scaled: Vec<f32> = part.iter().zip(columns.iter().cycle()).map(|(u, c)| u * c.pivot).collect();
    let change = product(view(&scaled, size), view(&part, size).t());
    for (row, change) in covariance.chunks_exact_mut(k).zip(change.chunks_exact(rows)) {
        row.iter_mut().zip(change).for_each(|(x, c)| *x -= c);
    }
}

#[cfg(test)]
mod tests {
    use super::{Moments, feedback, round};

    /// Returns a generator of pseudo-random numbers in -1..1.
    fn noise(seed: u32) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    #[test]
    fn factors_give_the_matrix_back() {
        for k in [1, 7, 64, 65, 150] {
            let mut next = noise(k as u32);
            let a: Vec<f32> = (0..k * k).map(|_| next()).collect();
            let element = |r: usize, c: usize| (0..k).map(|l| a[r * k + l] * a[c * k + l]).sum::<f32>();
            let symmetric: Vec<f32> =
                (0..k * k).map(|i| element(i / k, i % k) + f32::from(u8::from(i / k == i % k))).collect();
            let u = feedback(symmetric.clone(), k);
            let unit = |r: usize, c: usize| if r == c { 1.0 } else { u[c * k + r] };
            let mut d = vec![0.0; k];
            for i in (0..k).rev() {
                d[i] = symmetric[i * k + i] - (i + 1..k).map(|l| unit(i, l).powi(2) * d[l]).sum::<f32>();
            }
            for (i, expected) in symmetric.iter().enumerate() {
                let (r, c) = (i / k, i % k);
                let found: f32 = (r.max(c)..k).map(|l| unit(r, l) * d[l] * unit(c, l)).sum();
                assert!((found - expected).abs() < 1e-3, "k {k}, element {r},{c}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn feedback_beats_plain_rounding_on_correlated_inputs() {
        let (k, rows, count) = (24, 16, 400);
        let mut next = noise(2);
        let mut samples = Vec::new();
        for _ in 0..count {
            let common = next();
            samples.extend((0..k).map(|_| common + 0.3 * next()));
        }
        let weights: Vec<f32> = (0..rows * k).map(|_| next()).collect();
        let error = |moments: &Moments| -> f32 {
            let r = round(&weights, moments, &vec![0.0; rows]);
            let mut error = 0.0;
            for (row, w) in weights.chunks_exact(k).enumerate() {
                for x in samples.chunks_exact(k) {
                    let difference = |i: usize| (w[i] - r.scale[row] * f32::from(r.weights[row * k + i])) * x[i];
                    error += (0..k).map(difference).sum::<f32>().powi(2);
                }
            }
            error
        };
        let mut moments = Moments::new(k);
        moments.add(&samples);
        // Without samples the damped moments are a multiple of the identity, so no error is fed forward.
        let plain = Moments::new(k);
        let (with, without) = (error(&moments), error(&plain));
        assert!(with < 0.5 * without, "{with} with feedback, {without} without");
    }
}
