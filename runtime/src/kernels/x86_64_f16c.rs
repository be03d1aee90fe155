//! F16C and FMA: 16-bit weights are converted once for a block of rows. Shared by the x86-64 tables.

use core::arch::x86_64::*;
use core::ops::Range;

use super::operands::part_of;
use super::x86_64_ymm::prefetch;
use super::{F16, FloatColumns, MixColumns, MixRows, RightHalves, Rows, scalar};
use crate::parallel::Block;

pub(super) const F16C: F16 = F16 { add, gelu, mix, rounds_sums: false };

/// Columns of a right panel, and rows of a left one.
const COLUMNS: usize = 8;
const ROWS: usize = 8;

/// Adds the products of eight rows and eight columns.
#[inline]
#[target_feature(enable = "avx,fma")]
fn multiply_panels(left: &[[f32; ROWS]], right: &[[f32; COLUMNS]], sums: &mut [__m256; ROWS]) {
    for (left, right) in left.iter().zip(right) {
        let right = load(right);
        for (sum, left) in sums.iter_mut().zip(left) {
            *sum = _mm256_fmadd_ps(_mm256_broadcast_ss(left), right, *sum);
        }
    }
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

/// Rows and panels of a tile of a linear layer: more independent sums than two multipliers of five cycles' latency need.
const TILE: usize = 4;
const PANELS: usize = 3;
/// Tiles whose sums are held while a part of the right panels is in the L1 cache.
const TILES: usize = 16;
/// Elements of the contraction that are converted at a time: 18 KB.
const CHUNK: usize = 192;

/// An element of the contraction, of all panels of a tile.
type Wide = [[f32; COLUMNS]; PANELS];
/// Sums of a tile's rows.
type Sums = [[__m256; PANELS]; TILE];

/// Elements `part` of the panels in `right`, of which each has `k`.
#[inline]
#[target_feature(enable = "avx,f16c")]
fn convert<'c>(right: &[u16], k: usize, part: Range<usize>, converted: &'c mut [Wide; CHUNK]) -> &'c [Wide] {
    let len = part.len();
    for (side, panel) in right.chunks_exact((COLUMNS * k).max(1)).enumerate() {
        let halves = panel.as_chunks().0.get(part.clone()).unwrap_or(&[]);
        for (halves, converted) in halves.iter().zip(&mut *converted) {
            if let Some(converted) = converted.get_mut(side) {
                *converted = floats(load_halves(halves));
            }
        }
    }
    converted.get(..len).unwrap_or(&[])
}

/// A row's element times all panels.
macro_rules! row {
    ($row:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vbroadcastss ymm15, dword ptr [{row",
            $row,
            "} + 4 * {k}]\n",
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

/// Adds the products of a tile. In assembly, since the loop needs every register there is.
///
/// # Safety
/// Each row has as many elements as `right`.
#[inline]
#[target_feature(enable = "avx,fma")]
unsafe fn multiply(rows: [*const f32; TILE], right: &[Wide], sums: &mut Sums) {
    if right.is_empty() {
        return;
    }
    let [[a, b, c], [d, e, f], [g, h, i], [j, k, l]] = sums;
    // SAFETY: reads all elements of `right` and as many of each row.
    unsafe {
        core::arch::asm!(
            ".p2align 6",
            "2:",
            "vmovups ymm12, ymmword ptr [{right}]",
            "vmovups ymm13, ymmword ptr [{right} + 32]",
            "vmovups ymm14, ymmword ptr [{right} + 64]",
            row!(0, 0, 1, 2),
            row!(1, 3, 4, 5),
            row!(2, 6, 7, 8),
            row!(3, 9, 10, 11),
            "add {right}, 96",
            "inc {k}",
            "cmp {k}, {len}",
            "jne 2b",
            right = inout(reg) right.as_ptr() => _,
            k = inout(reg) 0usize => _,
            len = in(reg) right.len(),
            row0 = in(reg) rows[0],
            row1 = in(reg) rows[1],
            row2 = in(reg) rows[2],
            row3 = in(reg) rows[3],
            inout("ymm0") *a, inout("ymm1") *b, inout("ymm2") *c, inout("ymm3") *d, inout("ymm4") *e, inout("ymm5") *f,
            inout("ymm6") *g, inout("ymm7") *h, inout("ymm8") *i, inout("ymm9") *j, inout("ymm10") *k, inout("ymm11") *l,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        );
    }
}

/// Calls `store` with each row's outputs and `scale · (left · right) + bias`, for no more panels than a tile has.
#[inline]
#[target_feature(enable = "avx,fma,f16c")]
fn affine(
    left: Rows,
    right: &[u16],
    columns: FloatColumns,
    out: &mut Block,
    store: impl Fn(&mut [f32; COLUMNS], [f32; COLUMNS]),
) {
    let k = right.len() / out.columns().max(1);
    let mut converted = [[[0.0; COLUMNS]; PANELS]; CHUNK];
    for first in (0..left.rows).step_by(TILE * TILES) {
        let mut sums = [[[_mm256_setzero_ps(); PANELS]; TILE]; TILES];
        let end = left.rows.min(first + TILE * TILES);
        let mut ahead = right.as_ptr_range().end.cast();
        let uses = k.div_ceil(CHUNK) * (end - first).div_ceil(TILE);
        let share = size_of_val(right).div_ceil(uses.max(1));
        for start in (0..k).step_by(CHUNK) {
            let len = CHUNK.min(k - start);
            let right = convert(right, k, start..start + len, &mut converted);
            for (first, sums) in (first..end).step_by(TILE).zip(&mut sums) {
                ahead = prefetch(ahead, share);
                // Where rows are missing, the last one takes their place.
                let rows = [0, 1, 2, 3].map(|i| (first + i).min(left.rows - 1) * left.stride + start);
                let rows = rows.map(|at| left.data.as_ptr().wrapping_add(at));
                // SAFETY: `data` holds `rows` rows of `stride` elements, and a row of weights is no longer than that.
                unsafe { multiply(rows, right, sums) };
            }
        }
        for (row, sums) in (first..end).zip(sums.as_flattened()) {
            let units = columns.scale.as_chunks().0.iter().zip(columns.bias.as_chunks().0);
            for ((out, (scale, bias)), &sums) in out.row_mut(row).as_chunks_mut().0.iter_mut().zip(units).zip(sums) {
                store(out, floats(_mm256_fmadd_ps(sums, load(scale), load(bias))));
            }
        }
    }
}

/// Calls `each` with a tile's panels at a time, their columns' numbers and their part of `out`, and then with those that are left.
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
    for (part, width) in [(0..whole, PANELS * COLUMNS), (whole..width, COLUMNS)] {
        let data = right.data.get(part.start * k..part.end * k).unwrap_or(&[]);
        let columns = FloatColumns { bias: part_of(columns.bias, &part), scale: part_of(columns.scale, &part) };
        RightHalves { data, width }.for_each_panel(columns, &mut out.part(0..rows, part), &mut each);
    }
}

#[target_feature(enable = "avx,fma,f16c")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    for_each_tile(right, columns, stream, |right, columns, stream| {
        affine(left, right, columns, stream, |y, x| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
    });
}

#[target_feature(enable = "avx,fma,f16c")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    for_each_tile(right, columns, hidden, |right, columns, hidden| {
        affine(left, right, columns, hidden, |y, x| *y = x.map(super::erf::gelu));
    });
}

#[target_feature(enable = "avx,fma,f16c")]
fn mix(panel: usize, left: &[u16], right: &[f32], rows: MixRows, columns: MixColumns, stream: &mut Block) {
    if stream.columns() != COLUMNS || panel != ROWS {
        return scalar::mix_f16(panel, left, right, rows, columns, stream);
    }
    let right = right.as_chunks().0;
    let mut converted = [[0.0; ROWS]; CHUNK];
    for (first, left) in (0..stream.rows()).step_by(ROWS).zip(left.chunks_exact((ROWS * right.len()).max(1))) {
        let mut sums = [_mm256_setzero_ps(); ROWS];
        for (left, right) in left.as_chunks().0.chunks(CHUNK).zip(right.chunks(CHUNK)) {
            converted.iter_mut().zip(left).for_each(|(floats_of, halves)| *floats_of = floats(load_halves(halves)));
            multiply_panels(&converted, right, &mut sums);
        }
        for (row, sums) in (first..stream.rows()).zip(sums) {
            scalar::add_mixed(row, &floats(sums), rows, columns, stream);
        }
    }
}
