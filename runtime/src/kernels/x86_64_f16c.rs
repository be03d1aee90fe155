//! F16C and FMA: 16-bit weights are converted as they are loaded. Shared by the x86-64 tables.

use core::arch::x86_64::*;

use super::{F16, FloatColumns, MixColumns, MixRows, RightHalves, Rows, scalar};
use crate::parallel::Block;

pub(super) const F16C: F16 = F16 { add, gelu, mix, rounds_sums: false };

const COLUMNS: usize = 8;
/// Rows of a tile: as many independent sums as two multipliers of four cycles' latency need.
const ROWS: usize = 8;

/// Sums over `k` of eight rows' `f32` values, `STEP` elements apart, times eight columns.
///
/// # Safety
/// Each row has `(right.len() - 1) * STEP + 1` elements.
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn tile<const STEP: usize, R>(
    rows: [*const f32; ROWS],
    right: &[R],
    load: impl Fn(&R) -> __m256,
    mut sums: [__m256; ROWS],
) -> [__m256; ROWS] {
    for (k, right) in right.iter().enumerate() {
        let right = load(right);
        for (sum, row) in sums.iter_mut().zip(rows) {
            // SAFETY: `k < right.len()`, so the row has this element.
            let left = unsafe { _mm256_broadcast_ss(&*row.add(k * STEP)) };
            *sum = _mm256_fmadd_ps(left, right, *sum);
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx,f16c")]
fn load_halves(halves: &[u16; 8]) -> __m256 {
    // SAFETY: 16 bytes, at any address.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx")]
fn load(floats: &[f32; 8]) -> __m256 {
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_loadu_ps(floats.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx")]
fn floats(v: __m256) -> [f32; 8] {
    let mut floats = [0.0; 8];
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), v) };
    floats
}

/// Calls `store` with each row's output and `scale · (left · right) + bias`.
#[inline]
#[target_feature(enable = "avx,fma,f16c")]
fn affine(
    left: Rows,
    right: &[u16],
    columns: FloatColumns,
    out: &mut Block,
    store: impl Fn(&mut [f32; COLUMNS], [f32; COLUMNS]),
) {
    let right = right.as_chunks().0;
    let [Some(scale), Some(bias)] = [columns.scale, columns.bias].map(|c| c.first_chunk()) else { return };
    let (scale, bias) = (load(scale), load(bias));
    for first in (0..left.rows).step_by(ROWS) {
        // Where rows are missing, the last one takes their place.
        let rows = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| (first + i).min(left.rows - 1) * left.stride);
        let rows = rows.map(|start| left.data.as_ptr().wrapping_add(start));
        // SAFETY: `data` holds `rows` rows of `stride` elements, and a row of weights is no longer than that.
        let sums = unsafe { tile::<1, _>(rows, right, |r| load_halves(r), [_mm256_setzero_ps(); ROWS]) };
        for (row, sums) in (first..left.rows).zip(sums) {
            if let Some(out) = out.row_mut(row).first_chunk_mut() {
                store(out, floats(_mm256_fmadd_ps(sums, scale, bias)));
            }
        }
    }
}

#[target_feature(enable = "avx,fma,f16c")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    right.for_each_panel(columns, stream, |right, columns, stream| {
        affine(left, right, columns, stream, |y, x| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
    });
}

#[target_feature(enable = "avx,fma,f16c")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    right.for_each_panel(columns, hidden, |right, columns, hidden| {
        affine(left, right, columns, hidden, |y, x| *y = x.map(super::erf::gelu));
    });
}

#[target_feature(enable = "avx,fma,f16c")]
fn mix(panel: usize, left: &[u16], right: &[f32], rows: MixRows, columns: MixColumns, stream: &mut Block) {
    /// Elements of the contraction that are converted at a time: 8 KB.
    const CHUNK: usize = 256;
    if stream.columns() != COLUMNS || panel != ROWS {
        return scalar::mix_f16(panel, left, right, rows, columns, stream);
    }
    let right = right.as_chunks().0;
    let mut converted = [[0.0; ROWS]; CHUNK];
    for (first, left) in (0..stream.rows()).step_by(ROWS).zip(left.chunks_exact((ROWS * right.len()).max(1))) {
        let mut sums = [_mm256_setzero_ps(); ROWS];
        for (left, right) in left.as_chunks().0.chunks(CHUNK).zip(right.chunks(CHUNK)) {
            converted.iter_mut().zip(left).for_each(|(floats_of, halves)| *floats_of = floats(load_halves(halves)));
            let rows = [0, 1, 2, 3, 4, 5, 6, 7].map(|row| converted.as_ptr().cast::<f32>().wrapping_add(row));
            // SAFETY: `right` has no more than `CHUNK` elements, and so many rows of eight are in `converted`.
            sums = unsafe { tile::<ROWS, _>(rows, right, |r| load(r), sums) };
        }
        for (row, sums) in (first..stream.rows()).zip(sums) {
            scalar::add_mixed(row, &floats(sums), rows, columns, stream);
        }
    }
}
