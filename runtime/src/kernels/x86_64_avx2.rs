//! AVX2: 8-bit numbers are widened to 16 bits and multiplied in pairs (`vpmaddwd`), which is exact for all of them.
//!
//! A block of 32 rows × 8 columns is summed at a time, `CHUNK` of the contraction after the other; the widened operands of a
//! chunk stay in the L1 cache. A product of four rows and eight columns lies in eight registers of the form
//! `[column][half of a group]`, whose halves are added up at the end of the chunk.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86_64_f16c as f16c;
use super::{GeluColumns, Hidden, Int8, Kernels, MixColumns, MixRows, Product, Quantiser, StreamColumns, scalar};
use crate::format::{GELU_ENTRIES, Layout};
use crate::parallel::Block;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx2",
    layout: Some(LAYOUT),
    supported,
    int8: Int8 { quantise_rows, quantise_columns, add, mix, gelu, sums },
    f16: f16c::F16C,
};

const LAYOUT: Layout = Layout { rows: 8, columns: 8, group: 4, offset: 0 };
const ROWS: usize = LAYOUT.rows as usize;
const COLUMNS: usize = LAYOUT.columns as usize;
const GROUP: usize = LAYOUT.group as usize;
/// Groups of the contraction that are widened at a time: 6 KB of each operand.
const CHUNK: usize = 96;
/// Rows of a block: the right operand is widened once for all of them.
const BLOCK: usize = 32;

fn supported() -> bool {
    #[cfg(feature = "std")]
    let found = std::is_x86_feature_detected!("avx2") && f16c::detected();
    #[cfg(not(feature = "std"))]
    let found = cfg!(all(target_feature = "avx2", target_feature = "fma", target_feature = "f16c"));
    found
}

/// Eight rows or columns of a group, widened to 16 bits.
type Wide = [__m256i; 2];
/// The same, one row or column an element.
type Quads = [i64; 8];
/// `[left panel][half of its rows][row][column]`
type Sums = [[[[i32; COLUMNS]; 4]; 2]; BLOCK / ROWS];
const EMPTY: Sums = [[[[0; COLUMNS]; 4]; 2]; BLOCK / ROWS];

/// Sign-extends the groups in `bytes`, of which there are no more than `CHUNK`.
#[inline]
#[target_feature(enable = "avx2")]
fn widen<'b>(bytes: &[[u8; 32]], buffer: &'b mut [MaybeUninit<Wide>; CHUNK]) -> &'b [Wide] {
    let len = bytes.len().min(CHUNK);
    for (bytes, wide) in bytes.iter().zip(buffer.iter_mut()) {
        let bytes = load_bytes(bytes);
        wide.write([
            _mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)),
            _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(bytes)),
        ]);
    }
    // SAFETY: the loop has written the first `len` elements.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast(), len) }
}

fn quads(wide: &[Wide]) -> &[Quads] {
    // SAFETY: both are 64 bytes of plain numbers, and the alignment asked for is lower.
    unsafe { core::slice::from_raw_parts(wide.as_ptr().cast(), wide.len()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_bytes(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_sums(sums: &[i32; 8]) -> __m256i {
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_loadu_si256(sums.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_sums(sums: &mut [i32; 8], v: __m256i) {
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_storeu_si256(sums.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_floats(floats: &[f32; 8]) -> __m256 {
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_loadu_ps(floats.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_floats(floats: &mut [f32; 8], v: __m256) {
    // SAFETY: 32 bytes, at any address.
    unsafe { _mm256_storeu_ps(floats.as_mut_ptr(), v) }
}

/// The values of eight columns; zeros where there are fewer, which the checks of the table's callers rule out.
fn eight<T: Copy + Default>(values: &[T]) -> [T; 8] {
    values.first_chunk().copied().unwrap_or_default()
}

/// Adds the products of rows `FIRST..FIRST + 4` of a left panel and a right panel.
#[inline]
#[target_feature(enable = "avx2")]
fn accumulate<const FIRST: usize>(left: &[Quads], right: &[Wide], sums: &mut [[i32; COLUMNS]; 4]) {
    let mut halves = [[_mm256_setzero_si256(); 2]; 4];
    for (left, right) in left.iter().zip(right) {
        for (row, halves) in halves.iter_mut().enumerate() {
            let left = _mm256_set1_epi64x(left[FIRST + row]);
            halves[0] = _mm256_add_epi32(halves[0], _mm256_madd_epi16(left, right[0]));
            halves[1] = _mm256_add_epi32(halves[1], _mm256_madd_epi16(left, right[1]));
        }
    }
    for (sums, [low, high]) in sums.iter_mut().zip(halves) {
        let columns = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high));
        store_sums(sums, _mm256_add_epi32(load_sums(sums), columns));
    }
}

/// Sums of the rows that start at `first`, a multiple of `BLOCK`: as many as are left of `rows`, four at a time.
#[target_feature(enable = "avx2")]
fn block_sums(p: &Product, first: usize, rows: usize, sums: &mut Sums) {
    let mut wide_left = [const { MaybeUninit::uninit() }; CHUNK];
    let mut wide_right = [const { MaybeUninit::uninit() }; CHUNK];
    let left = p.left.get(first * p.k..).unwrap_or(&[]);
    *sums = EMPTY;
    for (chunk, right) in p.right.as_chunks().0.chunks(CHUNK).enumerate() {
        let right = widen(right, &mut wide_right);
        for (panel, (left, [top, bottom])) in left.chunks_exact(ROWS * p.k).zip(sums.iter_mut()).enumerate() {
            let needed = rows.saturating_sub(first + panel * ROWS);
            if needed == 0 {
                break;
            }
            let left = left.as_chunks().0.chunks(CHUNK).nth(chunk).unwrap_or(&[]);
            let left = quads(widen(left, &mut wide_left));
            accumulate::<0>(left, right, top);
            if needed > 4 {
                accumulate::<4>(left, right, bottom);
            }
        }
    }
}

/// Calls `$use` with each row's index and sums, for the first `$rows` rows of `$product`.
macro_rules! for_each_row {
    ($product:expr, $rows:expr, |$row:ident, $sums:ident| $use:block) => {
        let mut sums = EMPTY;
        for first in (0..$rows).step_by(BLOCK) {
            block_sums(&$product, first, $rows, &mut sums);
            for ($row, $sums) in (first..$rows).zip(sums.as_flattened().as_flattened()) $use
        }
    };
}

#[target_feature(enable = "avx2")]
fn add(p: Product, columns: StreamColumns, stream: &mut Block) {
    let (bias, scale) = (load_sums(&eight(columns.bias)), load_floats(&eight(columns.scale)));
    for_each_row!(p, stream.rows(), |row, sums| {
        let sums = _mm256_cvtepi32_ps(_mm256_add_epi32(load_sums(sums), bias));
        add_to_row(stream, row, _mm256_mul_ps(sums, scale));
    });
}

#[target_feature(enable = "avx2")]
fn mix(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let scale = load_floats(&eight(columns.scale));
    let [sum_gain, bias_gain] = [columns.sum_gain, columns.bias_gain].map(eight);
    let (sum_gain, bias_gain) = (load_floats(&sum_gain), load_floats(&bias_gain));
    for_each_row!(p, stream.rows(), |row, sums| {
        let [row_scale, row_sum, row_bias] = [rows.scale, rows.sum, rows.bias].map(|v| v.get(row).copied());
        let correction = _mm256_set1_epi32(rows.correction.get(row).copied().unwrap_or(0));
        let [row_scale, row_sum, row_bias] = [row_scale, row_sum, row_bias].map(|v| v.unwrap_or(0.0));
        let sums = _mm256_cvtepi32_ps(_mm256_add_epi32(load_sums(sums), correction));
        let scaled = _mm256_mul_ps(_mm256_mul_ps(sums, _mm256_set1_ps(row_scale)), scale);
        let constant = _mm256_add_ps(
            _mm256_mul_ps(sum_gain, _mm256_set1_ps(row_sum)),
            _mm256_mul_ps(bias_gain, _mm256_set1_ps(row_bias)),
        );
        add_to_row(stream, row, _mm256_add_ps(scaled, constant));
    });
}

#[inline]
#[target_feature(enable = "avx2")]
fn add_to_row(stream: &mut Block, row: usize, x: __m256) {
    if let Some(y) = stream.row_mut(row).first_chunk_mut() {
        store_floats(y, _mm256_add_ps(load_floats(y), x));
    }
}

#[target_feature(enable = "avx2")]
fn sums(p: Product, out: &mut [i32]) {
    let out = out.as_chunks_mut().0;
    for_each_row!(p, out.len(), |row, sums| {
        if let Some(out) = out.get_mut(row) {
            *out = *sums;
        }
    });
}

#[target_feature(enable = "avx2")]
fn gelu(p: Product, columns: GeluColumns, hidden: Hidden) {
    let gelu = Gelu::new(&columns);
    let mut sums = EMPTY;
    for (block, panels) in hidden.panels.chunks_mut(BLOCK * hidden.k).enumerate() {
        block_sums(&p, block * BLOCK, p.rows, &mut sums);
        for (panel, sums) in panels.chunks_exact_mut(ROWS * hidden.k).zip(&sums) {
            let Some(out) = panel.get_mut(hidden.first * ROWS..) else { return };
            for (half, sums) in sums.iter().enumerate() {
                store_halves(out, half, gelu.activations(sums));
            }
        }
    }
}

/// Stores bytes `[half of the columns][row][column]` as half `half` of the first two groups of a left panel.
#[inline]
#[target_feature(enable = "avx2")]
fn store_halves(panel: &mut [u8], half: usize, bytes: __m256i) {
    let Some(groups) = panel.as_chunks_mut::<16>().0.first_chunk_mut::<4>() else { return };
    let halves = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
    for (group, bytes) in groups.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
        if let Some(out) = group.get_mut(half) {
            // SAFETY: 16 bytes, at any address.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) };
        }
    }
}

/// Four rows and eight columns as bytes `[half of the columns][row][column]`.
#[inline]
#[target_feature(enable = "avx2")]
fn quantised(rows: [&[f32; 8]; 4], scale: __m256, offset: __m256) -> __m256i {
    let [a, b, c, d] = rows;
    let round = |x| round(_mm256_add_ps(_mm256_mul_ps(load_floats(x), scale), offset), 127.0);
    _mm256_packs_epi16(_mm256_packs_epi32(round(a), round(b)), _mm256_packs_epi32(round(c), round(d)))
}

#[target_feature(enable = "avx2")]
fn quantise_rows(layout: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    let columns = stream.columns();
    if !columns.is_multiple_of(COLUMNS) {
        return scalar::quantise_rows(layout, stream, q, out);
    }
    for first in (0..stream.rows()).step_by(4) {
        let Some(panel) = out.get_mut(first / ROWS * ROWS * columns..) else { return };
        // Where rows are missing, the last one is stored again in their place.
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| stream.row((first + i).min(stream.rows() - 1)).as_chunks().0);
        let rows = a.iter().zip(b).zip(c.iter().zip(d));
        let coefficients = q.scale.as_chunks().0.iter().zip(q.offset.as_chunks().0);
        let groups = panel.chunks_exact_mut(ROWS * COLUMNS);
        for ((((a, b), (c, d)), (scale, offset)), out) in rows.zip(coefficients).zip(groups) {
            let bytes = quantised([a, b, c, d], load_floats(scale), load_floats(offset));
            store_halves(out, first % ROWS / 4, bytes);
        }
    }
}

#[target_feature(enable = "avx2")]
fn quantise_columns(_: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    let (scale, offset) = (load_floats(&eight(q.scale)), load_floats(&eight(q.offset)));
    let transpose = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    for (first, out) in (0..stream.rows()).step_by(GROUP).zip(out.as_chunks_mut::<32>().0) {
        let rows = [0, 1, 2, 3].map(|i| stream.row((first + i).min(stream.rows() - 1)).first_chunk());
        let [Some(a), Some(b), Some(c), Some(d)] = rows else { return };
        let bytes = _mm256_shuffle_epi8(quantised([a, b, c, d], scale, offset), transpose);
        let mut group = [[0; GROUP]; COLUMNS];
        // SAFETY: 32 bytes, at any address.
        unsafe { _mm256_storeu_si256(group.as_mut_ptr().cast(), bytes) };
        let found = (stream.rows() - first).min(GROUP);
        for (out, group) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip(group) {
            out.iter_mut().zip(group).take(found).for_each(|(out, byte)| *out = byte);
        }
    }
}

/// The coefficients of eight columns as the registers of [`Gelu::activations`] want them.
struct Gelu {
    bias: __m256i,
    scale: __m256,
    requantise: __m256i,
    zero: __m256i,
    shift: __m128i,
    /// Sixteen entries each, and all but the first and the ninth as the difference (xor) from the sixteen before.
    table: [__m256i; GELU_ENTRIES / 16],
}

impl Gelu {
    #[target_feature(enable = "avx2")]
    fn new(columns: &GeluColumns) -> Self {
        let mut table = [_mm256_setzero_si256(); GELU_ENTRIES / 16];
        let mut before = _mm256_setzero_si256();
        for (i, (entries, differences)) in columns.table.as_chunks::<16>().0.iter().zip(&mut table).enumerate() {
            // SAFETY: 16 bytes, at any address.
            let entries = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(entries.as_ptr().cast()) });
            *differences = if i == 8 { entries } else { _mm256_xor_si256(entries, before) };
            before = entries;
        }
        let zero: [i16; 8] = eight(columns.zero).map(i16::from);
        Self {
            bias: load_sums(&eight(columns.bias)),
            scale: load_floats(&eight(columns.scale)),
            requantise: twice(eight(columns.requantise)),
            zero: twice(zero),
            shift: _mm_cvtsi32_si128(columns.shift as i32),
            table,
        }
    }

    /// Activations of four rows: bytes `[half of the columns][row][column]`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn activations(&self, [a, b, c, d]: &[[i32; COLUMNS]; 4]) -> __m256i {
        let x = [self.rescale(a, b), self.rescale(c, d)];
        let corrections = self.look_up(_mm256_packus_epi16(self.index(x[0]), self.index(x[1])));
        let none = _mm256_setzero_si256();
        _mm256_packs_epi16(
            self.requantise(x[0], _mm256_unpacklo_epi8(corrections, none)),
            self.requantise(x[1], _mm256_unpackhi_epi8(corrections, none)),
        )
    }

    /// Two rows in 16-bit GELU units, `[half of the columns][row][column]`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rescale(&self, a: &[i32; COLUMNS], b: &[i32; COLUMNS]) -> __m256i {
        let round = |sums| {
            let x = _mm256_cvtepi32_ps(_mm256_add_epi32(load_sums(sums), self.bias));
            round(_mm256_mul_ps(x, self.scale), 32767.0)
        };
        _mm256_packs_epi32(round(a), round(b))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn index(&self, x: __m256i) -> __m256i {
        // As unsigned numbers: |-32768| is 32768.
        let magnitude = _mm256_srl_epi16(_mm256_abs_epi16(x), self.shift);
        _mm256_min_epu16(magnitude, _mm256_set1_epi16(255))
    }

    /// The table's entries at 32 indices. `vpshufb` gives 0 where an index is negative and looks at four bits where it is not,
    /// so each step replaces the entries of the one before for the indices that have not become negative yet.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn look_up(&self, index: __m256i) -> __m256i {
        let sixteen = _mm256_set1_epi8(16);
        // 0..128 here and 128..256 there are positive as signed bytes.
        let mut low = index;
        let mut high = _mm256_xor_si256(index, _mm256_set1_epi8(-128));
        let mut found = _mm256_setzero_si256();
        let (low_table, high_table) = self.table.split_at(GELU_ENTRIES / 32);
        for (&low_entries, &high_entries) in low_table.iter().zip(high_table) {
            found = _mm256_xor_si256(found, _mm256_shuffle_epi8(low_entries, low));
            found = _mm256_xor_si256(found, _mm256_shuffle_epi8(high_entries, high));
            low = _mm256_subs_epi8(low, sixteen);
            high = _mm256_subs_epi8(high, sixteen);
        }
        found
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn requantise(&self, x: __m256i, correction: __m256i) -> __m256i {
        let y = _mm256_sub_epi16(_mm256_max_epi16(x, _mm256_setzero_si256()), correction);
        _mm256_adds_epi16(_mm256_mulhrs_epi16(y, self.requantise), self.zero)
    }
}

/// Eight 16-bit numbers as `[half][twice][column]`.
#[inline]
#[target_feature(enable = "avx2")]
fn twice(values: [i16; 8]) -> __m256i {
    // SAFETY: 16 bytes, at any address.
    let values = unsafe { _mm_loadu_si128(values.as_ptr().cast()) };
    _mm256_permute4x64_epi64::<0b01_01_00_00>(_mm256_castsi128_si256(values))
}

/// Rounds to nearest, ties to even. What lies below the `i32` range becomes the least `i32`, which packing saturates.
#[inline]
#[target_feature(enable = "avx2")]
fn round(x: __m256, high: f32) -> __m256i {
    _mm256_cvtps_epi32(_mm256_min_ps(x, _mm256_set1_ps(high)))
}
