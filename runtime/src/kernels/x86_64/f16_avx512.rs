//! Kernels for 16-bit weights with AVX-512. They work like those in [`f16_f16c`](super::f16_f16c), on sixteen columns
//! at a time.

use core::arch::x86_64::*;
use core::array::from_fn;
use core::ops::Range;

use super::f16_f16c::{COLUMNS, F16C, ROWS, load_halves};
use super::tile_256::prefetch;
use super::tile_512::{everywhere, first_lanes, mixed};
use crate::kernels::operands::{FloatColumns, MixColumns, MixRows, RightFloats, RightHalves, Rows, part_of};
use crate::kernels::scalar;
use crate::kernels::table::F16;
use crate::numerics;
use crate::parallel::Block;

pub(super) const AVX512: F16 = F16 { add, gelu, gelu_tanh, relu, mix, ..F16C };

/// Registers that hold the columns of a tile. Each of them takes two panels.
const ACROSS: usize = 3;
/// Columns of a tile.
const TILE_COLUMNS: usize = 2 * COLUMNS * ACROSS;
/// Tiles above one another whose sums are held while a part of the right matrix is converted.
const TILES: usize = 25;
/// Elements of the contraction that are converted at a time. Those of a tile's columns take 38 KB, and all 196 tokens
/// of the official shape are mixed at once.
const CHUNK: usize = 200;

/// A part of a right matrix, register after register across.
type Right = [[__m512; CHUNK]; ACROSS];
/// Sums of eight rows.
type Sums = [[__m512; ACROSS]; ROWS];

/// Multiplies a row's element by the columns of a tile.
macro_rules! row {
    ($row:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vbroadcastss zmm27, dword ptr [{row",
            $row,
            "} + {step} * {k}]\nvfmadd231ps zmm",
            $a,
            ", zmm27, zmm24\nvfmadd231ps zmm",
            $b,
            ", zmm27, zmm25\nvfmadd231ps zmm",
            $c,
            ", zmm27, zmm26\n",
        )
    };
}

/// Adds the products of a tile over the first `len` elements of `right`. A row's elements are `STEP` numbers apart: 1,
/// or 8 in panels.
///
/// The loop is in assembly since it needs every row's address in a register.
///
/// # Safety
/// Each of `rows` must point to `len` elements, `STEP` numbers apart, and `right` must have at least as many elements.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn multiply<const STEP: usize>(rows: [*const f32; ROWS], right: &Right, len: usize, sums: &mut Sums) {
    if len == 0 {
        return;
    }
    // The addresses point just after the last elements, and a row of step 1 begins `before` bytes before its address.
    let [row0, row1, row2, row3, row4, row5, row6, row7] = rows.map(|row| row.wrapping_add(STEP * len));
    let before = -4 * len as isize;
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sums;
    let ([a0, b0, c0], [a1, b1, c1], [a2, b2, c2], [a3, b3, c3]) = (s0, s1, s2, s3);
    let ([a4, b4, c4], [a5, b5, c5], [a6, b6, c6], [a7, b7, c7]) = (s4, s5, s6, s7);
    // SAFETY: the instructions read `len` elements of each row and `len` registers of each part of `right`, which are
    // aligned.
    unsafe {
        core::arch::asm!(
            ".p2align 6",
            "2:",
            "vmovaps zmm24, zmmword ptr [{right}]",
            "vmovaps zmm25, zmmword ptr [{right} + {apart}]",
            "vmovaps zmm26, zmmword ptr [{right} + 2 * {apart}]",
            row!(0, 0, 1, 2),
            row!(1, 3, 4, 5),
            row!(2, 6, 7, 8),
            row!(3, 9, 10, 11),
            row!(4, 12, 13, 14),
            row!(5, 15, 16, 17),
            row!(6, 18, 19, 20),
            row!(7, 21, 22, 23),
            "add {right}, 64",
            "add {k}, 4",
            "jne 2b",
            step = const STEP,
            apart = const 64 * CHUNK,
            k = inout(reg) before => _,
            right = inout(reg) right.as_ptr() => _,
            row0 = in(reg) row0, row1 = in(reg) row1, row2 = in(reg) row2, row3 = in(reg) row3,
            row4 = in(reg) row4, row5 = in(reg) row5, row6 = in(reg) row6, row7 = in(reg) row7,
            inout("zmm0") *a0, inout("zmm1") *b0, inout("zmm2") *c0, inout("zmm3") *a1, inout("zmm4") *b1, inout("zmm5") *c1,
            inout("zmm6") *a2, inout("zmm7") *b2, inout("zmm8") *c2, inout("zmm9") *a3, inout("zmm10") *b3, inout("zmm11") *c3,
            inout("zmm12") *a4, inout("zmm13") *b4, inout("zmm14") *c4, inout("zmm15") *a5, inout("zmm16") *b5, inout("zmm17") *c5,
            inout("zmm18") *a6, inout("zmm19") *b6, inout("zmm20") *c6, inout("zmm21") *a7, inout("zmm22") *b7, inout("zmm23") *c7,
            out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
            options(readonly, nostack),
        );
    }
}

/// Multiplies tile after tile.
///
/// `fill` converts the columns of a tile for a part of the contraction, `left` gives the addresses of that part in
/// eight rows, and `each` is called with the columns, the first row and the sums of up to 200 rows.
///
/// # Safety
/// Each address that `left` gives must point to as many elements as the part has, `STEP` numbers apart.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn for_each_tile<const STEP: usize>(
    [rows, width, k]: [usize; 3],
    fill: impl Fn(&Range<usize>, &Range<usize>, &mut Right),
    mut left: impl FnMut(usize, &Range<usize>) -> [*const f32; ROWS],
    mut each: impl FnMut(&Range<usize>, usize, &[[__m512; ACROSS]]),
) {
    let parts = |all: usize, step| (0..all).step_by(step).map(move |start| start..all.min(start + step));
    let mut right = [[_mm512_setzero_ps(); CHUNK]; ACROSS];
    for columns in parts(width, TILE_COLUMNS) {
        for rows in parts(rows, ROWS * TILES) {
            let mut sums = [[[_mm512_setzero_ps(); ACROSS]; ROWS]; TILES];
            for chunk in parts(k, CHUNK) {
                fill(&columns, &chunk, &mut right);
                for (first, sums) in rows.clone().step_by(ROWS).zip(&mut sums) {
                    // SAFETY: the caller promises the elements of the rows, and a part has no more elements than
                    // `right`.
                    unsafe { multiply::<STEP>(left(first, &chunk), &right, chunk.len(), sums) };
                }
            }
            each(&columns, rows.start, sums.as_flattened().get(..rows.len()).unwrap_or(&[]));
        }
    }
}

/// Puts panels of eight columns side by side, for a part of the contraction. A last panel without a neighbour is
/// repeated.
#[inline]
#[target_feature(enable = "avx512f")]
fn side_by_side<T>(
    panels: &[T],
    k: usize,
    part: &Range<usize>,
    right: &mut Right,
    join: impl Fn(&[T; COLUMNS], &[T; COLUMNS]) -> __m512,
) {
    let panels = panels.chunks_exact((COLUMNS * k).max(1));
    let mut panels = panels.map(|panel| panel.as_chunks().0.get(part.clone()).unwrap_or(&[]));
    for right in right {
        let Some(low) = panels.next() else { return };
        let high = panels.next().unwrap_or(low);
        for (right, (low, high)) in right.iter_mut().zip(low.iter().zip(high)) {
            *right = join(low, high);
        }
    }
}

/// Joins the weights of two panels in a register.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
fn of_halves(low: &[u16; COLUMNS], high: &[u16; COLUMNS]) -> __m512 {
    joined(load_halves(low), load_halves(high))
}

/// Joins the activations of two panels in a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn of_floats(low: &[f32; COLUMNS], high: &[f32; COLUMNS]) -> __m512 {
    // SAFETY: the load reads the 32 bytes of both arrays, at any address.
    joined(unsafe { _mm256_loadu_ps(low.as_ptr()) }, unsafe { _mm256_loadu_ps(high.as_ptr()) })
}

/// Joins two halves of a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn joined(low: __m256, high: __m256) -> __m512 {
    let low = _mm512_castps_pd(_mm512_castps256_ps512(low));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_castps_pd(high)))
}

/// Returns the sixteen values of register number `across`, and 0 for those that are missing.
#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(values: &[f32], across: usize) -> __m512 {
    let values = values.get(16 * across..).unwrap_or(&[]);
    // SAFETY: the mask has no more lanes than there are values.
    unsafe { _mm512_maskz_loadu_ps(first_lanes(values.len()), values.as_ptr()) }
}

/// Replaces those values of register number `across` that exist.
#[inline]
#[target_feature(enable = "avx512f")]
fn replace(values: &mut [f32], across: usize, by: impl Fn(__m512) -> __m512) {
    let x = by(lanes(values, across));
    let values = values.get_mut(16 * across..).unwrap_or(&mut []);
    // SAFETY: the mask has no more lanes than there are values.
    unsafe { _mm512_mask_storeu_ps(values.as_mut_ptr(), first_lanes(values.len()), x) };
}

/// Replaces each output by the result of `of` for the output and `scale · (left · right) + bias`.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
fn affine(
    left: Rows,
    right: RightHalves,
    columns: FloatColumns,
    out: &mut Block,
    of: impl Fn(__m512, __m512) -> __m512,
) {
    let (rows, width) = (out.rows(), out.columns());
    let k = right.data.len().checked_div(width).unwrap_or(0);
    // The weights of a tile are asked for while those of the tile before are in use, a little with each eight rows.
    let mut ahead = right.data.as_ptr().wrapping_add(TILE_COLUMNS * k).cast();
    let share = (2 * TILE_COLUMNS * k).div_ceil((k.div_ceil(CHUNK) * rows.div_ceil(ROWS)).max(1));
    let fill = |columns: &Range<usize>, part: &Range<usize>, converted: &mut Right| {
        let panels = part_of(right.data, &(columns.start * k..columns.end * k));
        side_by_side(panels, k, part, converted, |low, high| of_halves(low, high));
    };
    let rows_of = |first: usize, part: &Range<usize>| {
        ahead = prefetch(ahead, share);
        // The last tile repeats its final row so that every load stays in bounds. The sums of the duplicates are never
        // stored.
        from_fn(|i| left.data.as_ptr().wrapping_add((first + i).min(left.rows - 1) * left.stride + part.start))
    };
    let each = |part: &Range<usize>, first, sums: &[[__m512; ACROSS]]| {
        let columns = columns.part(part);
        let scale: [_; ACROSS] = from_fn(|across| lanes(columns.scale, across));
        let bias: [_; ACROSS] = from_fn(|across| lanes(columns.bias, across));
        for (row, sums) in (first..).zip(sums) {
            let Some(out) = out.row_mut(row).get_mut(part.clone()) else { return };
            for (across, ((&sum, scale), bias)) in sums.iter().zip(scale).zip(bias).enumerate() {
                replace(out, across, |y| of(y, _mm512_fmadd_ps(sum, scale, bias)));
            }
        }
    };
    // SAFETY: `data` holds `rows` rows of `stride` elements, and a column of weights has no more elements than a row.
    unsafe { for_each_tile::<1>([rows, width, k], fill, rows_of, each) };
}

/// Implements `F16::add`.
#[target_feature(enable = "avx512f,f16c")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    affine(left, right, columns, stream, |y, x| _mm512_add_ps(y, x));
}

/// Implements `F16::gelu`.
#[target_feature(enable = "avx512f,f16c")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    affine(left, right, columns, hidden, |_, x| gelu_of(x));
}

/// Computes [`numerics::gelu`] with fused products and sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn gelu_of(x: __m512) -> __m512 {
    let all = |x| _mm512_set1_ps(x);
    let horner = |coefficients: &[f32; 6], t| {
        let [first @ .., last] = everywhere(*coefficients);
        first.into_iter().rev().fold(last, |sum, c| _mm512_fmadd_ps(sum, t, c))
    };
    let of_erf = _mm512_mul_ps(x, all(core::f32::consts::FRAC_1_SQRT_2));
    let t = _mm512_mul_ps(_mm512_mul_ps(of_erf, of_erf), all(0.0625));
    let inside = _mm512_div_ps(
        _mm512_mul_ps(of_erf, horner(&numerics::ERF_NUMERATOR, t)),
        horner(&numerics::ERF_DENOMINATOR, t),
    );
    let sign = _mm512_and_si512(_mm512_castps_si512(x), _mm512_castps_si512(all(-0.0)));
    let outside = _mm512_castsi512_ps(_mm512_or_si512(sign, _mm512_castps_si512(all(1.0))));
    let erf = _mm512_mask_mov_ps(outside, _mm512_cmp_ps_mask::<_CMP_LT_OQ>(t, all(1.0)), inside);
    let half = _mm512_mul_ps(x, all(0.5));
    _mm512_fmadd_ps(half, erf, half)
}

/// Implements `F16::gelu_tanh`.
#[target_feature(enable = "avx512f,f16c")]
fn gelu_tanh(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_tanh_f16(left, right, columns, hidden);
    }
    affine(left, right, columns, hidden, |_, x| gelu_tanh_of(x));
}

/// Computes [`numerics::gelu_tanh`] with fused products and sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn gelu_tanh_of(x: __m512) -> __m512 {
    let [a, b] = everywhere(numerics::TANH_EXPONENT);
    let [low, high] = everywhere(numerics::EXP2_RANGE);
    let t = _mm512_mul_ps(x, _mm512_fmadd_ps(b, _mm512_mul_ps(x, x), a));
    let t = _mm512_min_ps(_mm512_max_ps(t, low), high);
    // The number is rounded to the nearest integer, and ties go to the even one.
    let whole = _mm512_roundscale_ps::<0>(t);
    let fraction = _mm512_sub_ps(t, whole);
    let [first @ .., last] = everywhere(numerics::EXP2_SERIES);
    let series = first.into_iter().rev().fold(last, |sum, c| _mm512_fmadd_ps(sum, fraction, c));
    _mm512_div_ps(x, _mm512_add_ps(_mm512_scalef_ps(series, whole), _mm512_set1_ps(1.0)))
}

/// Implements `F16::relu`.
#[target_feature(enable = "avx512f,f16c")]
fn relu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::relu_f16(left, right, columns, hidden);
    }
    affine(left, right, columns, hidden, |_, x| _mm512_max_ps(x, _mm512_setzero_ps()));
}

/// Implements `F16::mix`.
#[target_feature(enable = "avx512f,f16c")]
fn mix(panel: usize, left: &[u16], right: RightFloats, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    if right.width != COLUMNS || panel != ROWS {
        return scalar::mix_f16(panel, left, right, rows, columns, stream);
    }
    let (count, width) = (stream.rows(), stream.columns());
    let k = right.data.len().checked_div(width).unwrap_or(0);
    let fill = |columns: &Range<usize>, part: &Range<usize>, beside: &mut Right| {
        let panels = part_of(right.data, &(columns.start * k..columns.end * k));
        side_by_side(panels, k, part, beside, |low, high| of_floats(low, high));
    };
    let mut weights = [[0.0; ROWS]; CHUNK];
    let rows_of = |first: usize, part: &Range<usize>| {
        let start = first / ROWS * k;
        let halves = left.as_chunks().0.get(start + part.start..start + part.end).unwrap_or(&[]);
        for (weights, halves) in weights.iter_mut().zip(halves) {
            // SAFETY: the store writes the 32 bytes of the array, at any address.
            unsafe { _mm256_storeu_ps(weights.as_mut_ptr(), load_halves(halves)) };
        }
        from_fn(|row| weights.as_ptr().cast::<f32>().wrapping_add(row))
    };
    let each = |part: &Range<usize>, first, sums: &[[__m512; ACROSS]]| {
        let columns = columns.part(part);
        let gains: [_; ACROSS] =
            from_fn(|across| [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| lanes(gains, across)));
        for (row, sums) in (first..).zip(sums) {
            let of_row = everywhere(rows.of(row));
            let Some(y) = stream.row_mut(row).get_mut(part.clone()) else { return };
            for (across, (&sum, gains)) in sums.iter().zip(gains).enumerate() {
                replace(y, across, |y| _mm512_add_ps(y, mixed(sum, of_row, gains)));
            }
        }
    };
    // SAFETY: the addresses are in `weights`, which has as many elements as a part can have.
    unsafe { for_each_tile::<ROWS>([count, width, k], fill, rows_of, each) };
}
