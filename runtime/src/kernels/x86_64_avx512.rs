//! AVX-512 with VNNI and VBMI (Ice Lake, Zen 4 and later): `vpdpbusd` on eight rows and forty-eight columns at a time.
//!
//! The instruction wants one operand unsigned, so activations are stored with 128 added. A *quad* of rows and sixteen columns
//! becomes bytes `[four columns][row][column]`: half a group of a left panel in each 128 bits.

mod multiply;

use core::arch::x86_64::*;

use core::mem::MaybeUninit;
use multiply::{ACROSS, Ahead, ROWS, Row, Sums, multiply};

use super::fours::fours;
use super::x86_64_f16_avx512 as f16;
use super::{
    GeluColumns, Hidden, Int8, Kernels, MixColumns, MixRows, Product, Quantiser, StreamColumns, x86_64_detect,
};
use crate::format::{GELU_ENTRIES, Layout};
use crate::parallel::Block;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx512-vnni",
    layout: Some(LAYOUT),
    supported: x86_64_detect::avx512,
    suits: || true,
    int8: Int8 { right_panels: 1, quantise_rows, quantise_columns, add, mix, gelu, sums },
    f16: f16::AVX512,
};

const LAYOUT: Layout = Layout::VNNI;
const COLUMNS: usize = LAYOUT.columns as usize;
const GROUP: usize = LAYOUT.group as usize;
/// Runs `$use` with the first row and the sums of every left panel, on top of `$start` for each row. Weights are read once a tile,
/// one right panel after the other: the next one is fetched while this one is in use, a little with each group.
macro_rules! for_each_panel {
    ($product:expr, $right:literal, $start:expr, $use:expr) => {
        let mut sums = MaybeUninit::uninit();
        let groups = $product.k / GROUP;
        let mut from = $product.right.as_ptr_range().end;
        let step = (COLUMNS * GROUP).div_ceil($product.rows.div_ceil(ROWS).max(1));
        for first in (0..$product.rows).step_by(ROWS) {
            let panels = [$product.left.as_ptr().wrapping_add(first * $product.k), $product.right.as_ptr()];
            let (rows, ahead) = ($product.rows - first, Ahead { from, step });
            // SAFETY: the product's lengths fit, as the callers have checked, and `first` is the first row of a panel.
            let sums = unsafe { multiply::<$right>(panels, groups, rows, &$start, &mut sums, ahead) };
            from = from.wrapping_add(groups * step);
            $use(first, sums);
        }
    };
}

/// Sixteen of the values of `COLUMNS` columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn floats(values: &[f32], across: usize) -> __m512 {
    match values.as_chunks::<16>().0.get(across) {
        // SAFETY: 64 bytes, at any address.
        Some(values) => unsafe { _mm512_loadu_ps(values.as_ptr()) },
        None => _mm512_setzero_ps(),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn integers(values: &[i32], across: usize) -> __m512i {
    match values.as_chunks::<16>().0.get(across) {
        // SAFETY: 64 bytes, at any address.
        Some(values) => unsafe { _mm512_loadu_si512(values.as_ptr().cast()) },
        None => _mm512_setzero_si512(),
    }
}

/// Value `row`; zero where there is none.
pub(super) fn of_row<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

/// The first `len` of sixteen lanes.
pub(super) fn first_lanes(len: usize) -> __mmask16 {
    (1u32 << len.min(16)).wrapping_sub(1) as __mmask16
}

/// Adds to columns `16 * across..` of a row of the stream.
///
/// # Safety
/// The stream has that row and those columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_to_row(stream: &mut Block, row: usize, across: usize, x: __m512) {
    // SAFETY: the caller's promise.
    unsafe {
        let y = stream.as_mut_ptr().add(row * stream.stride() + 16 * across);
        _mm512_storeu_ps(y, _mm512_add_ps(_mm512_loadu_ps(y), x));
    }
}

/// A row's numbers, each in all places of a register.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn everywhere<const N: usize>(of_row: [f32; N]) -> [__m512; N] {
    of_row.map(|x| _mm512_set1_ps(x))
}

/// As [`scalar::mixed`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn mixed(sum: __m512, of_row: [__m512; 3], gains: [__m512; 3]) -> __m512 {
    let ([row_scale, row_sum, row_bias], [scale, sum_gain, bias_gain]) = (of_row, gains);
    let constant = _mm512_add_ps(_mm512_mul_ps(sum_gain, row_sum), _mm512_mul_ps(bias_gain, row_bias));
    _mm512_add_ps(_mm512_mul_ps(_mm512_mul_ps(sum, row_scale), scale), constant)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add(p: Product, columns: StreamColumns, stream: &mut Block) {
    let bias = [integers(columns.bias, 0), integers(columns.bias, 1), integers(columns.bias, 2)];
    let scale = [floats(columns.scale, 0), floats(columns.scale, 1), floats(columns.scale, 2)];
    for_each_panel!(p, false, bias, |first, sums: &Sums| {
        for (row, sums) in (first..p.rows).zip(sums) {
            for (across, (&sum, scale)) in sums.iter().zip(scale).enumerate() {
                // SAFETY: the stream has as many rows and columns as the product, as the callers have checked.
                unsafe { add_to_row(stream, row, across, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)) };
            }
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn mix(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let gains = |across| [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| floats(gains, across));
    let gains = [gains(0), gains(1), gains(2)];
    let zeros = [_mm512_setzero_si512(); ACROSS];
    for_each_panel!(p, true, zeros, |first, sums: &Sums| {
        for (row, sums) in (first..p.rows).zip(sums) {
            let (correction, of_row) = (_mm512_set1_epi32(of_row(rows.correction, row)), everywhere(rows.of(row)));
            for (across, (&sum, gains)) in sums.iter().zip(gains).enumerate() {
                let x = mixed(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, correction)), of_row, gains);
                // SAFETY: the stream has as many rows and columns as the product, as the callers have checked.
                unsafe { add_to_row(stream, row, across, x) };
            }
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sums(p: Product, out: &mut [i32]) {
    let zeros = [_mm512_setzero_si512(); ACROSS];
    for_each_panel!(p, false, zeros, |first, sums: &Sums| {
        for (out, sums) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().skip(first).zip(sums) {
            for (out, &sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
                // SAFETY: 64 bytes, at any address.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
            }
        }
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn gelu(p: Product, columns: GeluColumns, hidden: Hidden) {
    let table = Table::new(columns.table, columns.shift);
    let coefficients = [Gelu::new(&columns, 0), Gelu::new(&columns, 1), Gelu::new(&columns, 2)];
    let bias = [integers(columns.bias, 0), integers(columns.bias, 1), integers(columns.bias, 2)];
    let Hidden { panels, first: column } = hidden;
    for_each_panel!(p, false, bias, |first: usize, sums: &Sums| {
        let groups = panels.row_mut(first / ROWS).get_mut(column * ROWS..).unwrap_or(&mut []).as_chunks_mut().0;
        let [x, y, z] = &coefficients;
        let Some([x_out, y_out, z_out]) = groups.first_chunk_mut() else { return };
        // Step by step for all six quads, as each step waits for the one before; loops would not become straight code.
        let scaled = [x.scaled(sums, 0), y.scaled(sums, 1), z.scaled(sums, 2)];
        let corrections = [table.corrections(scaled[0]), table.corrections(scaled[1]), table.corrections(scaled[2])];
        x.store(scaled[0], corrections[0], x_out);
        y.store(scaled[1], corrections[1], y_out);
        z.store(scaled[2], corrections[2], z_out);
    });
}

/// Stores two quads as the four groups of a left panel that they are. A panel whose last four rows are not wanted gets anything
/// there.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_quads(out: &mut [u8; 128], top: __m512i, bottom: __m512i) {
    let low = _mm512_permutex2var_epi64(top, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), bottom);
    let high = _mm512_permutex2var_epi64(top, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), bottom);
    // SAFETY: 128 bytes, at any address.
    unsafe {
        _mm512_storeu_si512(out.as_mut_ptr().cast(), low);
        _mm512_storeu_si512(out.as_mut_ptr().add(64).cast(), high);
    }
}

/// Packs 16-bit numbers of two rows each to a quad of bytes with 128 added.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn quad(top: __m512i, bottom: __m512i) -> __m512i {
    _mm512_xor_si512(_mm512_packs_epi16(top, bottom), _mm512_set1_epi8(-128))
}

/// Rounds to nearest, ties to even. What lies below the `i32` range becomes the least `i32`, which packing saturates.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn round(x: __m512, high: f32) -> __m512i {
    _mm512_cvtps_epi32(_mm512_min_ps(x, _mm512_set1_ps(high)))
}

/// The coefficients of sixteen columns; those of 16 bits twice, as two rows are packed.
pub(super) struct Gelu {
    scale: Fractions,
    requantise: __m512i,
    zero: __m512i,
}

impl Gelu {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn new(columns: &GeluColumns, across: usize) -> Self {
        let twice = |fours: [[i16; 4]; 4]| {
            let [a, b, c, d] = fours.map(bytemuck::cast);
            _mm512_setr_epi64(a, a, b, b, c, c, d, d)
        };
        let sixteen = 16 * across..;
        Self {
            scale: Fractions::new(integers(columns.scale, across)),
            requantise: twice(fours(columns.requantise.get(sixteen.clone()).unwrap_or(&[]))),
            zero: twice(
                fours(columns.zero.get(sixteen).unwrap_or(&[])).map(|four| four.map(|zero| i16::from(zero) + 128)),
            ),
        }
    }

    /// Activations of four rows, a quad, from their sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub fn activations(&self, [a, b, c, d]: [__m512i; 4], table: &Table) -> __m512i {
        let top = _mm512_packs_epi32(self.scale.of(a), self.scale.of(b));
        let bottom = _mm512_packs_epi32(self.scale.of(c), self.scale.of(d));
        self.requantised(top, bottom, table.look_up(top, bottom))
    }

    /// Sums of all rows and columns `16 * across..` as 16-bit numbers in GELU units, two rows each.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn scaled(&self, [a, b, c, d, e, f, g, h]: &Sums, across: usize) -> [__m512i; 4] {
        let pair = |a: &Row, b: &Row| _mm512_packs_epi32(self.scale.of(a[across]), self.scale.of(b[across]));
        [pair(a, b), pair(c, d), pair(e, f), pair(g, h)]
    }

    /// Stores the activations as the four groups of a left panel that they are.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn store(&self, [a, b, c, d]: [__m512i; 4], [top, bottom]: [__m512i; 2], out: &mut [u8; 128]) {
        store_quads(out, self.requantised(a, b, top), self.requantised(c, d, bottom));
    }

    /// A quad of activations.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn requantised(&self, top: __m512i, bottom: __m512i, corrections: __m512i) -> __m512i {
        let none = _mm512_setzero_si512();
        let requantised = |x, correction| {
            let y = _mm512_sub_epi16(_mm512_max_epi16(x, none), correction);
            _mm512_adds_epi16(_mm512_mulhrs_epi16(y, self.requantise), self.zero)
        };
        _mm512_packus_epi16(
            requantised(top, _mm512_unpacklo_epi8(corrections, none)),
            requantised(bottom, _mm512_unpackhi_epi8(corrections, none)),
        )
    }
}

/// Factors of sixteen sums, as fractions of 2^32.
struct Fractions {
    /// Of the first, third … in the lower halves of 64 bits.
    even: __m512i,
    odd: __m512i,
}

impl Fractions {
    /// Of fractions of 2^31 below 2^30.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(fractions: __m512i) -> Self {
        let even = _mm512_slli_epi32::<1>(fractions);
        Self { even, odd: _mm512_srli_epi64::<32>(even) }
    }

    /// Rounds to nearest, ties upwards.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn of(&self, x: __m512i) -> __m512i {
        let half = _mm512_set1_epi64(1 << 31);
        let even = _mm512_add_epi64(_mm512_mul_epi32(x, self.even), half);
        let odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64::<32>(x), self.odd), half);
        let upper_halves = _mm512_setr_epi32(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
        _mm512_permutex2var_epi32(even, upper_halves, odd)
    }
}

/// A quarter of the entries in each register.
pub(super) struct Table {
    quarters: [__m512i; 4],
    /// Of each 16-bit number.
    shift: __m512i,
}

impl Table {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new(table: &[u8; GELU_ENTRIES], shift: u32) -> Self {
        let mut quarters = [_mm512_setzero_si512(); 4];
        for (quarter, bytes) in quarters.iter_mut().zip(table.as_chunks::<64>().0) {
            // SAFETY: 64 bytes, at any address.
            *quarter = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        }
        Self { quarters, shift: _mm512_set1_epi16(shift as i16) }
    }

    /// The entries of two quads.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn corrections(&self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 2] {
        [self.look_up(a, b), self.look_up(c, d)]
    }

    /// The entries at `|x|` of 16-bit numbers, packed.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_up(&self, top: __m512i, bottom: __m512i) -> __m512i {
        // As unsigned numbers: |-32768| is 32768.
        let index = |x| _mm512_min_epu16(_mm512_srlv_epi16(_mm512_abs_epi16(x), self.shift), _mm512_set1_epi16(255));
        let index = _mm512_packus_epi16(index(top), index(bottom));
        let [a, b, c, d] = self.quarters;
        let (low, high) = (_mm512_permutex2var_epi8(a, index, b), _mm512_permutex2var_epi8(c, index, d));
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high)
    }
}

/// A quad of the stream: rows at four addresses, of which the columns in `mask` are read.
///
/// # Safety
/// The rows have these columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn quantised(rows: [*const f32; 4], mask: __mmask16, scale: __m512, offset: __m512) -> __m512i {
    let round = |row| {
        // SAFETY: the caller's promise.
        let x = unsafe { _mm512_maskz_loadu_ps(mask, row) };
        round(_mm512_add_ps(_mm512_mul_ps(x, scale), offset), 127.0)
    };
    let [a, b, c, d] = rows;
    quad(_mm512_packs_epi32(round(a), round(b)), _mm512_packs_epi32(round(c), round(d)))
}

/// Rows `first..first + 4`, from column `column`; where rows are missing, the last one takes their place.
fn four_rows(stream: &Block, first: usize, column: usize) -> [*const f32; 4] {
    let (start, stride, last) = (stream.as_ptr(), stream.stride(), stream.rows().saturating_sub(1));
    let row = |i: usize| start.wrapping_add((first + i).min(last) * stride + column);
    [row(0), row(1), row(2), row(3)]
}

#[target_feature(enable = "avx512f,avx512bw")]
fn quantise_rows(_: Layout, stream: &Block, q: Quantiser, out: &mut Block<u8>) {
    let columns = stream.columns();
    for (panel, first) in (0..stream.rows()).step_by(ROWS).enumerate() {
        for (column, out) in (0..columns).step_by(16).zip(out.row_mut(panel).chunks_mut(16 * ROWS)) {
            let mask = first_lanes(columns - column);
            let rows = [first, first + 4].map(|first| four_rows(stream, first, column));
            // SAFETY: rows and quantiser have the columns in the mask, as the callers have checked.
            let [top, bottom] = unsafe {
                let scale = _mm512_maskz_loadu_ps(mask, q.scale.as_ptr().add(column));
                let offset = _mm512_maskz_loadu_ps(mask, q.offset.as_ptr().add(column));
                [quantised(rows[0], mask, scale, offset), quantised(rows[1], mask, scale, offset)]
            };
            match out.first_chunk_mut() {
                Some(out) => store_quads(out, top, bottom),
                None => {
                    let mut groups = [0; 16 * ROWS];
                    store_quads(&mut groups, top, bottom);
                    out.iter_mut().zip(groups).for_each(|(out, byte)| *out = byte);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
fn quantise_columns(_: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    quantise_panel::<COLUMNS>(stream, q, out);
}

/// Quantises the columns of `stream` into a right panel of fours.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn quantise_panel<const COLUMNS: usize>(stream: &Block, q: Quantiser, out: &mut [u8]) {
    let transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let transpose = _mm512_broadcast_i32x4(transpose);
    for (first, out) in (0..stream.rows()).step_by(GROUP).zip(out.chunks_exact_mut(COLUMNS * GROUP)) {
        // Which bytes of each group are rows that there are.
        let found = 0x1111_1111_1111_1111 * ((1u64 << (stream.rows() - first).min(GROUP)) - 1);
        for (across, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let (scale, offset) = (floats(q.scale, across), floats(q.offset, across));
            // SAFETY: the block has `COLUMNS` columns, as the callers have checked.
            let bytes = unsafe { quantised(four_rows(stream, first, 16 * across), !0, scale, offset) };
            let bytes = _mm512_shuffle_epi8(bytes, transpose);
            // SAFETY: 64 bytes, at any address.
            unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), found, bytes) };
        }
    }
}
