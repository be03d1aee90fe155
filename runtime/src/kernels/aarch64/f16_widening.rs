//! Kernels for 16-bit weights on cores without arithmetic in that format. Weights are widened (`fcvtl`) once for a
//! block of rows, and sums are `f32`.

use core::arch::aarch64::*;
use core::arch::asm;

use super::tile::prefetch;
use crate::kernels::operands::{FloatColumns, MixColumns, MixRows, RightFloats, RightHalves, Rows};
use crate::kernels::table::{F16, F16Tiles};
use crate::kernels::{lanes, scalar};
use crate::numerics;
use crate::parallel::Block;

pub(super) const NEON: F16 = F16 { add, gelu, gelu_tanh, relu, mix, rounds_sums: false, tiles: TILES_OF_TOKENS };

/// A tile of tokens takes as much memory as an L2 cache holds.
pub(super) const TILES_OF_TOKENS: F16Tiles = F16Tiles { bytes: 420 << 10, mix_panels: 1 };

/// Columns of a right panel.
pub(super) const COLUMNS: usize = 8;
/// Rows of a left panel, and of a tile.
pub(super) const ROWS: usize = 8;

/// Numbers of eight columns.
pub(super) type Eight = [float32x4_t; 2];

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn zeros() -> [Eight; ROWS] {
    [[vdupq_n_f32(0.0); 2]; ROWS]
}

#[inline]
#[target_feature(enable = "neon")]
fn load_halves(halves: &[u16; 8]) -> Eight {
    // SAFETY: the load reads the 16 bytes of the array.
    let halves = vreinterpretq_f16_u16(unsafe { vld1q_u16(halves.as_ptr()) });
    [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(floats: &[f32; 8]) -> Eight {
    // SAFETY: the loads read both 16-byte halves of the array.
    unsafe { [vld1q_f32(floats.as_ptr()), vld1q_f32(floats.as_ptr().add(4))] }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn floats(v: Eight) -> [f32; 8] {
    bytemuck::cast(v.map(|half| {
        let mut floats = [0.0f32; 4];
        // SAFETY: the store writes the 16 bytes of the array.
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

/// The widened weights of a right panel's columns, for one element of the contraction.
type Wide = [f32; COLUMNS];

/// Elements of the contraction that are widened at a time. They take 8 KB, and as many elements of eight rows take 8 KB
/// too, so that the L1 cache holds both.
const CHUNK: usize = 256;
/// Tiles of rows whose sums are held while widened weights are in the L1 cache.
const TILES: usize = 8;

/// Multiplies a row's element by both halves of the columns.
macro_rules! row {
    ($lane:literal, $low:literal, $high:literal, $left:literal, $a:literal, $b:literal) => {
        concat!(
            concat!("fmla v", $a, ".4s, v", $low, ".4s, v", $left, ".s[", $lane, "]\n"),
            concat!("fmla v", $b, ".4s, v", $high, ".4s, v", $left, ".s[", $lane, "]\n"),
        )
    };
}

/// Multiplies eight rows by an element of the right panel, with the loads `$load` in between.
macro_rules! element {
    ($lane:literal, $low:literal, $high:literal, $($load:expr),*) => {
        concat!(
            row!($lane, $low, $high, 16, 0, 1), $($load,)*
            row!($lane, $low, $high, 17, 2, 3),
            row!($lane, $low, $high, 18, 4, 5),
            row!($lane, $low, $high, 19, 6, 7),
            row!($lane, $low, $high, 20, 8, 9),
            row!($lane, $low, $high, 21, 10, 11),
            row!($lane, $low, $high, 22, 12, 13),
            row!($lane, $low, $high, 23, 14, 15),
        )
    };
}

/// Adds the products of eight rows and a right panel. The loop is in assembly since it needs every vector register.
///
/// # Safety
/// Each row must have at least as many elements as `right`.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn multiply(rows: [*const f32; ROWS], right: &[Wide], sums: &mut [Eight; ROWS]) {
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1], [e0, e1], [f0, f1], [g0, g1], [h0, h1]] = sums;
    let fours = right.len() & !3;
    let [a, b, c, d, e, f, g, h] = rows.map(|row| row.wrapping_add(fours));
    // SAFETY: the instructions read all elements of `right` and as many of each row: four at a time up to the addresses
    // `a` to `h`, then one by one.
    unsafe {
        asm!(
            "cbz {k}, 3f",
            "2:",
            "ldp q24, q25, [{right}], #128",
            "ldr q16, [{a}, {k}]",
            "ldr q17, [{b}, {k}]",
            "ldr q18, [{c}, {k}]",
            "ldr q19, [{d}, {k}]",
            "ldr q20, [{e}, {k}]",
            "ldr q21, [{f}, {k}]",
            "ldr q22, [{g}, {k}]",
            "ldr q23, [{h}, {k}]",
            element!(0, 24, 25, "ldp q26, q27, [{right}, #-96]\n"),
            element!(1, 26, 27, "ldp q28, q29, [{right}, #-64]\n"),
            element!(2, 28, 29, "ldp q30, q31, [{right}, #-32]\n"),
            element!(3, 30, 31,),
            "adds {k}, {k}, #16",
            "b.ne 2b",
            "3:",
            "cbz {rest}, 5f",
            "4:",
            "ldp q24, q25, [{right}], #32",
            "ldr s16, [{a}, {k}]",
            "ldr s17, [{b}, {k}]",
            "ldr s18, [{c}, {k}]",
            "ldr s19, [{d}, {k}]",
            "ldr s20, [{e}, {k}]",
            "ldr s21, [{f}, {k}]",
            "ldr s22, [{g}, {k}]",
            "ldr s23, [{h}, {k}]",
            element!(0, 24, 25,),
            "add {k}, {k}, #4",
            "cmp {k}, {rest}",
            "b.ne 4b",
            "5:",
            k = inout(reg) -4 * fours as isize => _,
            rest = in(reg) 4 * (right.len() - fours),
            right = inout(reg) right.as_ptr() => _,
            a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d, e = in(reg) e, f = in(reg) f, g = in(reg) g, h = in(reg) h,
            inout("v0") *a0, inout("v1") *a1, inout("v2") *b0, inout("v3") *b1,
            inout("v4") *c0, inout("v5") *c1, inout("v6") *d0, inout("v7") *d1,
            inout("v8") *e0, inout("v9") *e1, inout("v10") *f0, inout("v11") *f1,
            inout("v12") *g0, inout("v13") *g1, inout("v14") *h0, inout("v15") *h1,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack, readonly),
        );
    }
}

/// Widens weights, at most as many as fit, and asks for the weights of the next chunk.
#[inline]
#[target_feature(enable = "neon")]
fn convert<'c>(halves: &[[u16; COLUMNS]], converted: &'c mut [Wide; CHUNK]) -> &'c [Wide] {
    let (fours, rest) = halves.as_chunks::<4>();
    for (wide, halves) in converted.as_chunks_mut().0.iter_mut().zip(fours) {
        prefetch(halves.as_ptr().wrapping_add(CHUNK).cast(), size_of_val(halves));
        *wide = halves.map(|halves| floats(load_halves(&halves)));
    }
    for (wide, halves) in converted.iter_mut().skip(4 * fours.len()).zip(rest) {
        *wide = floats(load_halves(halves));
    }
    converted.get(..halves.len()).unwrap_or(&[])
}

/// Calls `store` with each row's output and `scale · (left · right) + bias`, for one right panel.
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
    let mut converted = [[0.0; COLUMNS]; CHUNK];
    for first in (0..left.rows).step_by(ROWS * TILES) {
        let end = left.rows.min(first + ROWS * TILES);
        let mut sums = [zeros(); TILES];
        for (right, start) in right.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
            let right = convert(right, &mut converted);
            for (first, sums) in (first..end).step_by(ROWS).zip(&mut sums) {
                // The last tile repeats its final row so that every load stays in bounds. The sums of the duplicates
                // are never stored.
                let rows = [0, 1, 2, 3, 4, 5, 6, 7].map(|i| (first + i).min(left.rows - 1) * left.stride + start);
                let rows = rows.map(|at| left.data.as_ptr().wrapping_add(at));
                // SAFETY: `data` holds `rows` rows of `stride` elements, and a column of weights has no more elements
                // than a row.
                unsafe { multiply(rows, right, sums) };
            }
        }
        for (row, &sums) in (first..end).zip(sums.as_flattened()) {
            let x = [0, 1].map(|half| vfmaq_f32(bias[half], sums[half], scale[half]));
            if let Some(out) = out.row_mut(row).first_chunk_mut() {
                store(out, floats(x));
            }
        }
    }
}

/// Implements `F16::add`.
#[target_feature(enable = "neon")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    right.for_each_panel(stream, |right, part, stream| {
        affine(left, right, columns.part(&part), stream, |y, x| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
    });
}

/// Implements `F16::gelu`.
#[target_feature(enable = "neon")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    right.for_each_panel(hidden, |right, part, hidden| {
        affine(left, right, columns.part(&part), hidden, |y, x| *y = x.map(numerics::gelu));
    });
}

/// Implements `F16::gelu_tanh`.
#[target_feature(enable = "neon")]
fn gelu_tanh(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_tanh_f16(left, right, columns, hidden);
    }
    right.for_each_panel(hidden, |right, part, hidden| {
        affine(left, right, columns.part(&part), hidden, |y, x| *y = lanes::gelu_tanh(x));
    });
}

/// Implements `F16::relu`.
#[target_feature(enable = "neon")]
fn relu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::relu_f16(left, right, columns, hidden);
    }
    right.for_each_panel(hidden, |right, part, hidden| {
        affine(left, right, columns.part(&part), hidden, |y, x| *y = x.map(numerics::relu));
    });
}

/// Adds the products of a left panel's rows and eight channels, for one element of the contraction.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sums: &mut [Eight; ROWS], left: &[u16; ROWS], right: &[f32; COLUMNS]) {
    let ([top, bottom], right) = (load_halves(left), load(right));
    let [a, b, c, d, e, f, g, h] = sums;
    for ([a, b, c, d], left) in [([a, b, c, d], top), ([e, f, g, h], bottom)] {
        fma::<0>(a, left, &right);
        fma::<1>(b, left, &right);
        fma::<2>(c, left, &right);
        fma::<3>(d, left, &right);
    }
}

/// Implements `F16::mix`.
#[target_feature(enable = "neon")]
pub(super) fn mix(
    panel: usize,
    left: &[u16],
    right: RightFloats,
    rows: MixRows,
    columns: MixColumns,
    stream: &mut Block,
) {
    if right.width != COLUMNS || stream.columns() != COLUMNS || panel != ROWS {
        return scalar::mix_f16(panel, left, right, rows, columns, stream);
    }
    let right = right.data.as_chunks::<COLUMNS>().0;
    for (first, left) in (0..stream.rows()).step_by(ROWS).zip(left.chunks_exact((ROWS * right.len()).max(1))) {
        let mut sums = zeros();
        let ((left, left_rest), (right, right_rest)) =
            (left.as_chunks::<ROWS>().0.as_chunks::<4>(), right.as_chunks::<4>());
        for (left, right) in left.iter().zip(right) {
            left.iter().zip(right).for_each(|(left, right)| add_products(&mut sums, left, right));
        }
        for (left, right) in left_rest.iter().zip(right_rest) {
            add_products(&mut sums, left, right);
        }
        lanes::add_mixed(first, sums.map(|sums| floats(sums)), rows, columns, stream);
    }
}
