//! What the 8-bit tables for aarch64 share: everything but the products themselves.
//!
//! A table brings a [`Tile`]: the sums of a few rows and a right panel, as *units* of four rows and four columns.

use core::arch::aarch64::*;

use super::fours::{four, row, row_mut};
use super::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::format::{GELU_ENTRIES, Layout};
use crate::parallel::Block;

/// Four rows and four columns, a register a row.
pub(super) type Unit = [int32x4_t; 4];

/// Products of `4 * DOWN` rows and `4 * ACROSS` columns, which is all columns of a right panel.
pub(super) trait Tile<const DOWN: usize, const ACROSS: usize> {
    /// The panels it reads.
    const LAYOUT: Layout;

    /// Adds the products of the rows that start at `first`, a multiple of `4 * DOWN`, to `sums`. There are `rows` of them,
    /// at least one; what happens to the units of rows behind does not matter.
    fn multiply(p: &Product, first: usize, rows: usize, sums: &mut [[Unit; ACROSS]; DOWN]);
}

#[inline]
#[target_feature(enable = "neon")]
fn load_i32(v: [i32; 4]) -> int32x4_t {
    // SAFETY: 16 bytes.
    unsafe { vld1q_s32(v.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f32(v: &[f32; 4]) -> float32x4_t {
    // SAFETY: 16 bytes.
    unsafe { vld1q_f32(v.as_ptr()) }
}

/// Four 16-bit numbers twice.
#[inline]
#[target_feature(enable = "neon")]
fn twice([a, b, c, d]: [i16; 4]) -> int16x8_t {
    // SAFETY: 16 bytes.
    unsafe { vld1q_s16([a, b, c, d, a, b, c, d].as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn add_to(y: &mut [f32; 4], x: float32x4_t) {
    // SAFETY: 16 bytes.
    unsafe { vst1q_f32(y.as_mut_ptr(), vaddq_f32(load_f32(y), x)) }
}

/// Stores bytes `[row][column]` of four rows and columns, rows `row..` and columns `k..` of panels of `panel` rows.
#[inline]
#[target_feature(enable = "neon")]
fn store_unit(layout: Layout, panel: usize, k_len: usize, [row, k]: [usize; 2], bytes: uint8x16_t, out: &mut [u8]) {
    let at = layout.index(panel, k_len, row, k);
    if layout.group == 4 {
        if let Some(out) = out.get_mut(at..).and_then(|o| o.first_chunk_mut::<16>()) {
            // SAFETY: 16 bytes.
            unsafe { vst1q_u8(out.as_mut_ptr(), bytes) };
        }
        return;
    }
    let group = layout.group as usize;
    let Some(rows) = out.get_mut(at..at + 3 * group + 4) else { return };
    let bytes: [[u8; 4]; 4] = bytemuck::cast(to_bytes(bytes));
    for (out, bytes) in rows.chunks_mut(group).zip(bytes) {
        out.iter_mut().zip(bytes).for_each(|(out, byte)| *out = byte);
    }
}

/// Runs `store` with the first row and the sums, which start as `start(first row)`, of every tile.
#[inline]
#[target_feature(enable = "neon")]
fn for_each_tile<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: &Product,
    start: impl Fn(usize) -> [[Unit; ACROSS]; DOWN],
    mut store: impl FnMut(usize, &[[Unit; ACROSS]; DOWN]),
) {
    for first in (0..p.rows).step_by(4 * DOWN) {
        let mut sums = start(first);
        T::multiply(p, first, p.rows - first, &mut sums);
        store(first, &sums);
    }
}

/// Columns by fours: what every unit of these columns needs.
fn by_fours<T, const ACROSS: usize>(make: impl Fn(usize) -> T) -> [T; ACROSS] {
    core::array::from_fn(make)
}

#[target_feature(enable = "neon")]
pub(super) fn add<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    columns: StreamColumns,
    stream: &mut Block,
) {
    let bias: [_; ACROSS] = by_fours(|c| load_i32(four(columns.bias, c)));
    let scale: [_; ACROSS] = by_fours(|c| load_f32(&four(columns.scale, c)));
    let start = bias.map(|bias| [bias; 4]);
    for_each_tile::<T, DOWN, ACROSS>(&p, |_| [start; DOWN], |first, sums| {
        for (first, units) in (first..).step_by(4).zip(sums) {
            for i in 0..4 {
                let y = row_mut(stream, first + i).iter_mut();
                for (y, (unit, scale)) in y.zip(units.iter().zip(scale)) {
                    add_to(y, vmulq_f32(vcvtq_f32_s32(unit[i]), scale));
                }
            }
        }
    });
}

#[target_feature(enable = "neon")]
pub(super) fn mix<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    rows: MixRows,
    columns: MixColumns,
    stream: &mut Block,
) {
    let gains: [_; ACROSS] =
        by_fours(|c| [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| load_f32(&four(gains, c))));
    let start = |first| {
        core::array::from_fn(|down| {
            [four(rows.correction, first / 4 + down).map(|correction| vdupq_n_s32(correction)); ACROSS]
        })
    };
    for_each_tile::<T, DOWN, ACROSS>(&p, start, |first, sums| {
        for (first, units) in (first..).step_by(4).zip(sums) {
            let [row_scale, row_sum, row_bias] = [rows.scale, rows.sum, rows.bias].map(|v| four(v, first / 4));
            for i in 0..4 {
                let y = row_mut(stream, first + i).iter_mut();
                for (y, (unit, [scale, sum_gain, bias_gain])) in y.zip(units.iter().zip(gains)) {
                    let scaled = vmulq_f32(vmulq_n_f32(vcvtq_f32_s32(unit[i]), row_scale[i]), scale);
                    let constant = vaddq_f32(vmulq_n_f32(sum_gain, row_sum[i]), vmulq_n_f32(bias_gain, row_bias[i]));
                    add_to(y, vaddq_f32(scaled, constant));
                }
            }
        }
    });
}

#[target_feature(enable = "neon")]
pub(super) fn sums<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(p: Product, out: &mut [i32]) {
    let start = [[[vdupq_n_s32(0); 4]; ACROSS]; DOWN];
    for_each_tile::<T, DOWN, ACROSS>(&p, |_| start, |first, sums| {
        let mut rows = out.as_chunks_mut::<4>().0.chunks_exact_mut(ACROSS).skip(first);
        for (units, i) in sums.iter().flat_map(|units| (0..4).map(move |i| (units, i))) {
            for (out, unit) in rows.next().unwrap_or(&mut []).iter_mut().zip(units) {
                // SAFETY: 16 bytes.
                unsafe { vst1q_s32(out.as_mut_ptr(), unit[i]) };
            }
        }
    });
}

#[target_feature(enable = "neon")]
pub(super) fn gelu<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    columns: GeluColumns,
    hidden: Hidden,
) {
    let table = Table::new(columns.table, columns.shift);
    let coefficients: [_; ACROSS] = by_fours(|c| Gelu::new(&columns, c));
    let start: [_; ACROSS] = by_fours(|c| [load_i32(four(columns.bias, c)); 4]);
    for_each_tile::<T, DOWN, ACROSS>(&p, |_| [start; DOWN], |first, sums| {
        for (first, units) in (first..p.rows).step_by(4).zip(sums) {
            for (k, (unit, gelu)) in (hidden.first..).step_by(4).zip(units.iter().zip(&coefficients)) {
                let bytes = gelu.activations(unit, &table);
                store_unit(T::LAYOUT, T::LAYOUT.rows as usize, hidden.k, [first, k], bytes, hidden.panels);
            }
        }
    });
}

/// The coefficients of four columns.
struct Gelu {
    scale: float32x4_t,
    requantise: int16x8_t,
    zero: int16x8_t,
}

impl Gelu {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(columns: &GeluColumns, index: usize) -> Self {
        Self {
            scale: load_f32(&four(columns.scale, index)),
            requantise: twice(four(columns.requantise, index)),
            zero: twice(four(columns.zero, index).map(i16::from)),
        }
    }

    /// Bytes `[row][column]`.
    #[inline]
    #[target_feature(enable = "neon")]
    fn activations(&self, unit: &Unit, table: &Table) -> uint8x16_t {
        let x = narrowed(unit.map(|sums| vmulq_f32(vcvtq_f32_s32(sums), self.scale)));
        let corrections = table.corrections(x);
        let x = x.map(|x| vreinterpretq_u16_s16(vmaxq_s16(x, vdupq_n_s16(0))));
        let y = [vsubw_u8(x[0], vget_low_u8(corrections)), vsubw_high_u8(x[1], corrections)];
        let [top, bottom] = y.map(|y| vqaddq_s16(vqrdmulhq_s16(vreinterpretq_s16_u16(y), self.requantise), self.zero));
        vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(top), bottom))
    }
}

/// Rounds to nearest, ties to even, and limits to 16 bits: rows 0 and 1, rows 2 and 3.
#[inline]
#[target_feature(enable = "neon")]
fn narrowed(rows: [float32x4_t; 4]) -> [int16x8_t; 2] {
    let [a, b, c, d] = rows.map(|x| vcvtnq_s32_f32(x));
    [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)]
}

struct Table {
    quarters: [uint8x16x4_t; 4],
    /// To the right, as `ushl` wants it.
    shift: int16x8_t,
}

impl Table {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(table: &[u8; GELU_ENTRIES], shift: u32) -> Self {
        // SAFETY: 64 bytes each, of 256.
        let quarters = [0, 64, 128, 192].map(|at| unsafe { vld1q_u8_x4(table.as_ptr().add(at)) });
        Self { quarters, shift: vdupq_n_s16(-(shift as i16)) }
    }

    /// The entries at `|x|`.
    #[inline]
    #[target_feature(enable = "neon")]
    fn corrections(&self, x: [int16x8_t; 2]) -> uint8x16_t {
        // As unsigned numbers: |-32768| is 32768.
        let [top, bottom] = x.map(|x| vshlq_u16(vreinterpretq_u16_s16(vabsq_s16(x)), self.shift));
        let index = vqmovn_high_u16(vqmovn_u16(top), bottom);
        let sixty_four = vdupq_n_u8(64);
        let [first, rest @ ..] = self.quarters;
        let (found, _) = rest.into_iter().fold((vqtbl4q_u8(first, index), index), |(found, index), quarter| {
            // What is out of a quarter's range keeps what was found before.
            let index = vsubq_u8(index, sixty_four);
            (vqtbx4q_u8(found, quarter, index), index)
        });
        found
    }
}

/// Bytes `[row][column]` of four rows and columns of the stream.
#[inline]
#[target_feature(enable = "neon")]
fn quantised(rows: [&[f32; 4]; 4], scale: float32x4_t, offset: float32x4_t) -> uint8x16_t {
    let [top, bottom] = narrowed(rows.map(|x| vaddq_f32(vmulq_f32(load_f32(x), scale), offset)));
    vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(top), bottom))
}

#[target_feature(enable = "neon")]
pub(super) fn quantise_rows(layout: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    let (panel, k_len) = (layout.rows as usize, stream.columns());
    for first in (0..stream.rows()).step_by(4) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| row(stream, first + i));
        let coefficients = q.scale.as_chunks().0.iter().zip(q.offset.as_chunks().0);
        let rows = a.iter().zip(b).zip(c.iter().zip(d));
        for (k, (((a, b), (c, d)), (scale, offset))) in (0..).step_by(4).zip(rows.zip(coefficients)) {
            let bytes = quantised([a, b, c, d], load_f32(scale), load_f32(offset));
            store_unit(layout, panel, k_len, [first, k], bytes, out);
        }
    }
}

#[target_feature(enable = "neon")]
pub(super) fn quantise_columns<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    layout: Layout,
    stream: &Block,
    q: Quantiser,
    out: &mut [u8],
) {
    let panel = layout.columns as usize;
    let coefficients: [_; ACROSS] = by_fours(|c| [q.scale, q.offset].map(|v| load_f32(&four(v, c))));
    // SAFETY: 16 bytes.
    let transpose = unsafe { vld1q_u8([0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15].as_ptr()) };
    for first in (0..stream.rows()).step_by(4) {
        let rows = [0, 1, 2, 3].map(|i| row(stream, first + i));
        let found = stream.rows() - first;
        for (c, [scale, offset]) in coefficients.iter().enumerate() {
            let rows = rows.map(|row| row.get(c).unwrap_or(&[0.0; 4]));
            let bytes = vqtbl1q_u8(quantised(rows, *scale, *offset), transpose);
            if found >= 4 {
                store_unit(layout, panel, 0, [4 * c, first], bytes, out);
                continue;
            }
            for (column, bytes) in to_bytes(bytes).as_chunks::<4>().0.iter().enumerate() {
                for (k, byte) in (first..).zip(bytes).take(found) {
                    if let Some(out) = out.get_mut(layout.index(panel, 0, 4 * c + column, k)) {
                        *out = *byte;
                    }
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn to_bytes(v: uint8x16_t) -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: 16 bytes.
    unsafe { vst1q_u8(bytes.as_mut_ptr(), v) };
    bytes
}
