//! Kernels for 16-bit weights on aarch64 cores without arithmetic in that format: weights are converted as they are loaded
//! (`fcvtl`), sums are `f32`.

use core::arch::aarch64::*;

use super::{F16, FloatColumns, MixColumns, MixRows, RightHalves, Rows, erf, scalar};
use crate::parallel::Block;

pub(super) const NEON: F16 = F16 { add, gelu, mix, rounds_sums: false };

pub(super) const COLUMNS: usize = 8;
pub(super) const ROWS: usize = 8;

/// Eight columns.
pub(super) type Eight = [float32x4_t; 2];

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn zeros() -> [Eight; ROWS] {
    [[vdupq_n_f32(0.0); 2]; ROWS]
}

#[inline]
#[target_feature(enable = "neon")]
fn load_halves(halves: &[u16; 8]) -> Eight {
    // SAFETY: 16 bytes.
    let halves = vreinterpretq_f16_u16(unsafe { vld1q_u16(halves.as_ptr()) });
    [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(floats: &[f32; 8]) -> Eight {
    // SAFETY: 16 bytes each.
    unsafe { [vld1q_f32(floats.as_ptr()), vld1q_f32(floats.as_ptr().add(4))] }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn floats(v: Eight) -> [f32; 8] {
    bytemuck::cast(v.map(|half| {
        let mut floats = [0.0f32; 4];
        // SAFETY: 16 bytes.
        unsafe { vst1q_f32(floats.as_mut_ptr(), half) };
        floats
    }))
}

#[inline]
#[target_feature(enable = "neon")]
fn fma<const LANE: i32>(sums: &mut Eight, left: float32x4_t, right: &Eight) {
    for (sum, right) in sums.iter_mut().zip(right) {
        *sum = vfmaq_laneq_f32::<LANE>(*sum, *right, left);
    }
}

/// Sums of eight rows.
#[inline]
#[target_feature(enable = "neon")]
fn tile(rows: [&[f32]; ROWS], right: &[[u16; COLUMNS]]) -> [Eight; ROWS] {
    let mut sums = zeros();
    let (fours, rest) = right.as_chunks::<4>();
    let rest_rows = rows.map(|row| row.get(4 * fours.len()..).unwrap_or(&[]));
    let rows = rows.map(|row| row.as_chunks::<4>().0);
    for (k, right) in fours.iter().enumerate() {
        let right = right.map(|right| load_halves(&right));
        for (sums, row) in sums.iter_mut().zip(rows) {
            let Some(left) = row.get(k) else { continue };
            // SAFETY: 16 bytes.
            let left = unsafe { vld1q_f32(left.as_ptr()) };
            fma::<0>(sums, left, &right[0]);
            fma::<1>(sums, left, &right[1]);
            fma::<2>(sums, left, &right[2]);
            fma::<3>(sums, left, &right[3]);
        }
    }
    for (k, right) in rest.iter().enumerate() {
        let right = load_halves(right);
        for (sums, row) in sums.iter_mut().zip(rest_rows) {
            fma::<0>(sums, vdupq_n_f32(row.get(k).copied().unwrap_or(0.0)), &right);
        }
    }
    sums
}

/// Calls `store` with each row's output and `scale · (left · right) + bias`.
#[inline]
#[target_feature(enable = "neon")]
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
        let rows = core::array::from_fn(|i| {
            let start = (first + i).min(left.rows - 1) * left.stride;
            left.data.get(start..start + right.len()).unwrap_or(&[])
        });
        for (row, sums) in (first..left.rows).zip(tile(rows, right)) {
            let x = [0, 1].map(|half| vfmaq_f32(bias[half], sums[half], scale[half]));
            if let Some(out) = out.row_mut(row).first_chunk_mut() {
                store(out, floats(x));
            }
        }
    }
}

#[target_feature(enable = "neon")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    right.for_each_panel(columns, stream, |right, columns, stream| {
        affine(left, right, columns, stream, |y, x| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
    });
}

#[target_feature(enable = "neon")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    right.for_each_panel(columns, hidden, |right, columns, hidden| {
        affine(left, right, columns, hidden, |y, x| *y = x.map(erf::gelu));
    });
}

#[target_feature(enable = "neon")]
pub(super) fn mix(panel: usize, left: &[u16], right: &[f32], rows: MixRows, columns: MixColumns, stream: &mut Block) {
    if stream.columns() != COLUMNS || panel != ROWS {
        return scalar::mix_f16(panel, left, right, rows, columns, stream);
    }
    let right = right.as_chunks::<COLUMNS>().0;
    for (first, left) in (0..stream.rows()).step_by(ROWS).zip(left.chunks_exact((ROWS * right.len()).max(1))) {
        let mut sums = zeros();
        for (left, right) in left.as_chunks::<ROWS>().0.iter().zip(right) {
            let ([top, bottom], right) = (load_halves(left), load(right));
            let [a, b, c, d, e, f, g, h] = &mut sums;
            for ([a, b, c, d], left) in [([a, b, c, d], top), ([e, f, g, h], bottom)] {
                fma::<0>(a, left, &right);
                fma::<1>(b, left, &right);
                fma::<2>(c, left, &right);
                fma::<3>(d, left, &right);
            }
        }
        for (row, sums) in (first..stream.rows()).zip(sums) {
            scalar::add_mixed(row, &floats(sums), rows, columns, stream);
        }
    }
}
