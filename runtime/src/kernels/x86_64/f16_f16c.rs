//! Kernels for 16-bit weights with F16C and FMA, for CPUs without AVX-512.
//!
//! Weights are converted once for a tile of tokens, and in patch mixing once for many channels.

use core::arch::x86_64::*;
use core::array::from_fn;

use super::tile_256::prefetch;
use crate::kernels::operands::{FloatColumns, MixColumns, MixRows, RightFloats, RightHalves, Rows, part_of};
use crate::kernels::table::{F16, F16Tiles};
use crate::kernels::{lanes, scalar};
use crate::numerics;
use crate::parallel::Block;

pub(super) const F16C: F16 = F16 {
    add,
    gelu,
    gelu_tanh,
    relu,
    mix,
    rounds_sums: false,
    // A tile of tokens takes more than an L2 cache holds. Each tile converts all weights, which costs more than
    // fetching its activations from the L3 cache does.
    tiles: F16Tiles { bytes: 2400 << 10, mix_panels: MIX_TILES * PANELS },
};

/// Columns of a right panel.
pub(super) const COLUMNS: usize = 8;
/// Rows of a left panel.
pub(super) const ROWS: usize = 8;

/// Numbers of a panel's eight rows or columns, for one element of the contraction.
type Eight = [f32; 8];

/// Rows of a tile. With [`PANELS`] it has more independent sums than two multipliers with a latency of five cycles
/// need.
const TILE: usize = 4;
/// Right panels of a tile.
const PANELS: usize = 3;
/// Tiles above one another whose sums are held while a part of the right panels is converted.
const TILES: usize = 49;
/// Tiles side by side whose sums are held while converted weights of patch mixing are in use.
const MIX_TILES: usize = 16;
/// Elements of the contraction that are converted at a time. Those of three panels take 36 KB, so that a part of them
/// comes from the L2 cache. That costs less than loading and storing all sums more often.
const CHUNK: usize = 384;

/// Sums of a tile's rows.
type Sums = [[__m256; PANELS]; TILE];

#[inline]
#[target_feature(enable = "avx,f16c")]
pub(super) fn load_halves(halves: &[u16; 8]) -> __m256 {
    // SAFETY: the load reads the 16 bytes of the array, at any address.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx")]
fn load(floats: &Eight) -> __m256 {
    // SAFETY: the load reads the 32 bytes of the array, at any address.
    unsafe { _mm256_loadu_ps(floats.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx")]
fn floats(v: __m256) -> Eight {
    let mut floats = [0.0; 8];
    // SAFETY: the store writes the 32 bytes of the array, at any address.
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), v) };
    floats
}

/// Converts weights, as many as both slices have.
#[inline]
#[target_feature(enable = "avx,f16c")]
fn convert(halves: &[[u16; 8]], converted: &mut [Eight]) {
    for (halves, converted) in halves.iter().zip(converted) {
        *converted = floats(load_halves(halves));
    }
}

/// Multiplies a row's element by all panels.
macro_rules! row {
    ($row:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vbroadcastss ymm15, dword ptr [{row",
            $row,
            "} + {step} * {k}]\n",
            "vfmadd231ps ymm",
            $a,
            ", ymm15, ymm12\n",
            "vfmadd231ps ymm",
            $b,
            ", ymm15, ymm13\n",
            "vfmadd231ps ymm",
            $c,
            ", ymm15, ymm14\n",
        )
    };
}

/// Adds the products of a tile over `len` elements of the contraction. A row's elements are `STEP` numbers apart: 1, or
/// 8 in panels.
///
/// The loop is in assembly since it needs every vector register.
///
/// # Safety
/// Each of `rows` and `panels` must point to `len` elements, those of rows `STEP` numbers apart.
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn multiply<const STEP: usize>(
    rows: [*const f32; TILE],
    panels: [*const Eight; PANELS],
    len: usize,
    sums: &mut Sums,
) {
    if len == 0 {
        return;
    }
    // The addresses point just after the last elements, and a row of step 1 begins `before` bytes before its address.
    let ([row0, row1, row2, row3], [right0, right1, right2]) =
        (rows.map(|row| row.wrapping_add(STEP * len)), panels.map(|panel| panel.wrapping_add(len)));
    let before = -4 * len as isize;
    let [[a, b, c], [d, e, f], [g, h, i], [j, k, l]] = sums;
    // SAFETY: the instructions read `len` elements of each row and panel.
    unsafe {
        core::arch::asm!(
            ".p2align 6",
            "2:",
            "vmovups ymm12, ymmword ptr [{right0} + 8 * {k}]",
            "vmovups ymm13, ymmword ptr [{right1} + 8 * {k}]",
            "vmovups ymm14, ymmword ptr [{right2} + 8 * {k}]",
            row!(0, 0, 1, 2),
            row!(1, 3, 4, 5),
            row!(2, 6, 7, 8),
            row!(3, 9, 10, 11),
            "add {k}, 4",
            "jne 2b",
            step = const STEP,
            k = inout(reg) before => _,
            row0 = in(reg) row0,
            row1 = in(reg) row1,
            row2 = in(reg) row2,
            row3 = in(reg) row3,
            right0 = in(reg) right0,
            right1 = in(reg) right1,
            right2 = in(reg) right2,
            inout("ymm0") *a, inout("ymm1") *b, inout("ymm2") *c, inout("ymm3") *d, inout("ymm4") *e, inout("ymm5") *f,
            inout("ymm6") *g, inout("ymm7") *h, inout("ymm8") *i, inout("ymm9") *j, inout("ymm10") *k, inout("ymm11") *l,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        );
    }
}

/// Calls `store` with each row's outputs and `scale · (left · right) + bias`, for at most as many panels as a tile has.
#[inline]
#[target_feature(enable = "avx,fma,f16c")]
fn affine(left: Rows, right: &[u16], columns: FloatColumns, out: &mut Block, store: impl Fn(&mut Eight, __m256)) {
    let k = right.len() / out.columns().max(1);
    let mut converted = [[[0.0; COLUMNS]; CHUNK]; PANELS];
    for first in (0..left.rows).step_by(TILE * TILES) {
        let mut sums = [[[_mm256_setzero_ps(); PANELS]; TILE]; TILES];
        let end = left.rows.min(first + TILE * TILES);
        let mut ahead = right.as_ptr_range().end.cast();
        let uses = k.div_ceil(CHUNK) * (end - first).div_ceil(TILE);
        let share = size_of_val(right).div_ceil(uses.max(1));
        for start in (0..k).step_by(CHUNK) {
            let len = CHUNK.min(k - start);
            for (panel, converted) in right.chunks_exact((COLUMNS * k).max(1)).zip(&mut converted) {
                convert(panel.as_chunks().0.get(start..start + len).unwrap_or(&[]), converted);
            }
            for (first, sums) in (first..end).step_by(TILE).zip(&mut sums) {
                ahead = prefetch(ahead, share);
                // The last tile repeats its final row so that every load stays in bounds. The sums of the duplicates
                // are never stored.
                let rows = [0, 1, 2, 3].map(|i| (first + i).min(left.rows - 1) * left.stride + start);
                let rows = rows.map(|at| left.data.as_ptr().wrapping_add(at));
                let panels = converted.each_ref().map(|panel| panel.as_ptr());
                // SAFETY: `data` holds `rows` rows of `stride` elements, and a column of weights has no more elements
                // than a row.
                unsafe { multiply::<1>(rows, panels, len, sums) };
            }
        }
        for (row, sums) in (first..end).zip(sums.as_flattened()) {
            let units = columns.scale.as_chunks().0.iter().zip(columns.bias.as_chunks().0);
            for ((out, (scale, bias)), &sums) in out.row_mut(row).as_chunks_mut().0.iter_mut().zip(units).zip(sums) {
                store(out, _mm256_fmadd_ps(sums, load(scale), load(bias)));
            }
        }
    }
}

/// Calls `each` with as many panels as a tile has, the numbers of their columns and their part of `out`, and at last
/// with the panels that are left.
#[inline]
fn for_each_tile(
    right: RightHalves,
    columns: FloatColumns,
    out: &mut Block,
    mut each: impl FnMut(&[u16], FloatColumns, &mut Block),
) {
    let (rows, width) = (out.rows(), out.columns());
    let k = right.data.len().checked_div(width).unwrap_or(0);
    let whole = width - width % (PANELS * COLUMNS);
    for (part, width) in [(0..whole, PANELS * COLUMNS), (whole..width, width - whole)] {
        let data = right.data.get(part.start * k..part.end * k).unwrap_or(&[]);
        let columns = FloatColumns { bias: part_of(columns.bias, &part), scale: part_of(columns.scale, &part) };
        RightHalves { data, width }.for_each_panel(&mut out.part(0..rows, part), |right, part, out| {
            each(right, columns.part(&part), out);
        });
    }
}

/// Implements `F16::add`.
#[target_feature(enable = "avx,fma,f16c")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    for_each_tile(right, columns, stream, |right, columns, stream| {
        affine(left, right, columns, stream, |y, x| *y = floats(_mm256_add_ps(load(y), x)));
    });
}

/// Implements `F16::gelu`.
#[target_feature(enable = "avx,fma,f16c")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    for_each_tile(right, columns, hidden, |right, columns, hidden| {
        affine(left, right, columns, hidden, |y, x| *y = floats(gelu_of(x)));
    });
}

/// Computes [`numerics::gelu`] with fused products and sums.
#[inline]
#[target_feature(enable = "avx,fma")]
fn gelu_of(x: __m256) -> __m256 {
    let all = |x| _mm256_set1_ps(x);
    let horner = |coefficients: &[f32; 6], t| {
        let [first @ .., last] = coefficients.map(|c| _mm256_set1_ps(c));
        first.into_iter().rev().fold(last, |sum, c| _mm256_fmadd_ps(sum, t, c))
    };
    let of_erf = _mm256_mul_ps(x, all(core::f32::consts::FRAC_1_SQRT_2));
    let t = _mm256_mul_ps(_mm256_mul_ps(of_erf, of_erf), all(0.0625));
    let inside = _mm256_div_ps(
        _mm256_mul_ps(of_erf, horner(&numerics::ERF_NUMERATOR, t)),
        horner(&numerics::ERF_DENOMINATOR, t),
    );
    let outside = _mm256_or_ps(_mm256_and_ps(x, all(-0.0)), all(1.0));
    let is_inside = _mm256_cmp_ps::<_CMP_LT_OQ>(t, all(1.0));
    let erf = _mm256_blendv_ps(outside, inside, is_inside);
    let half = _mm256_mul_ps(x, all(0.5));
    _mm256_fmadd_ps(half, erf, half)
}

/// Implements `F16::gelu_tanh`.
#[target_feature(enable = "avx,fma,f16c")]
fn gelu_tanh(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_tanh_f16(left, right, columns, hidden);
    }
    for_each_tile(right, columns, hidden, |right, columns, hidden| {
        affine(left, right, columns, hidden, |y, x| *y = floats(x).map(numerics::gelu_tanh));
    });
}

/// Implements `F16::relu`.
#[target_feature(enable = "avx,fma,f16c")]
fn relu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::relu_f16(left, right, columns, hidden);
    }
    for_each_tile(right, columns, hidden, |right, columns, hidden| {
        affine(left, right, columns, hidden, |y, x| *y = floats(_mm256_max_ps(x, _mm256_setzero_ps())));
    });
}

/// Implements `F16::mix`.
#[target_feature(enable = "avx,fma,f16c")]
fn mix(panel: usize, left: &[u16], right: RightFloats, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    if right.width != COLUMNS || panel != ROWS {
        return scalar::mix_f16(panel, left, right, rows, columns, stream);
    }
    let k = right.data.len() / stream.columns().max(1);
    let mut converted = [[0.0; ROWS]; CHUNK];
    for (first, left) in (0..stream.rows()).step_by(ROWS).zip(left.chunks_exact((ROWS * k).max(1))) {
        let mut sums = [[[[_mm256_setzero_ps(); PANELS]; TILE]; ROWS / TILE]; MIX_TILES];
        for (halves, start) in left.as_chunks().0.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
            convert(halves, &mut converted);
            for (right, sums) in right.data.as_chunks().0.chunks((PANELS * k).max(1)).zip(&mut sums) {
                // The first panel is repeated in place of missing panels, so that every load stays in bounds. The sums
                // of the duplicates are never stored.
                let panels = [0, k, 2 * k].map(|at| if at < right.len() { at + start } else { start });
                let panels = panels.map(|at| right.as_ptr().wrapping_add(at));
                for (sums, top) in sums.iter_mut().zip((0..).step_by(TILE)) {
                    let rows = [0, 1, 2, 3].map(|row| converted.as_ptr().cast::<f32>().wrapping_add(top + row));
                    // SAFETY: the converted weights have as many elements as there are halves, and each panel has at
                    // least as many elements from `start` on.
                    unsafe { multiply::<ROWS>(rows, panels, halves.len(), sums) };
                }
            }
        }
        for (sums, tile) in sums.iter().zip((0..stream.columns()).step_by(PANELS * COLUMNS)) {
            let sums = sums.as_flattened();
            for (panel, start) in (tile..stream.columns()).step_by(COLUMNS).enumerate().take(PANELS) {
                let sums = from_fn(|row| floats(sums[row][panel]));
                let part = start..start + COLUMNS;
                let columns = columns.part(&part);
                lanes::add_mixed(first, sums, rows, columns, &mut stream.part(0..first + ROWS, part));
            }
        }
    }
}
