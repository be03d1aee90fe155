//! Holds everything that an 8-bit table with 256-bit registers does besides the products themselves.
//!
//! A table implements [`Tile`]: the sums of left panels and right panels. A register holds the sums of one column, with
//! the rows in the order 0 1 4 5 | 2 3 6 7. Four columns and eight rows are a *unit*, which is also one group of a left
//! panel; [`unit`] transposes the sums of a unit into rows.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use crate::format::{GELU_ENTRIES, Layout};
use crate::kernels::lanes::fours;
use crate::kernels::operands::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::parallel::Block;

/// Rows of a left panel in the layouts of all these tables.
pub(super) const ROWS: usize = Layout::DEFAULT.rows as usize;
/// Columns of a right panel.
pub(super) const COLUMNS: usize = Layout::DEFAULT.columns as usize;
/// Elements of the contraction that lie together.
pub(super) const GROUP: usize = Layout::DEFAULT.group as usize;
/// Units of a right panel.
const UNITS: usize = COLUMNS / 4;
/// Left panels whose sums are held while a part of the right panels is in a cache. Three of them are multiplied at
/// once, so that the number is a multiple of three.
pub(super) const BLOCK: usize = 15;
/// Largest number of right panels that a table may ask for at a time.
pub(super) const RIGHT_PANELS: usize = 8;
/// The rows in the lower halves of a unit's registers. The upper half of each register holds the row two further down.
const FIRST_ROWS: [usize; 4] = [0, 1, 4, 5];

/// Sums of a left and a right panel. A register holds a column.
pub(super) type Sums = [__m256i; COLUMNS];
/// Sums of a unit. Register `i` holds row `FIRST_ROWS[i]` and, in its upper half, the row two further down.
type Unit = [__m256i; 4];

/// Products of left panels and right panels.
pub(super) trait Tile {
    /// The panels that the table reads: [`ROWS`], [`COLUMNS`], [`GROUP`], and an offset of its own.
    const LAYOUT: Layout;

    /// Sums the products of the left panels in `left`, at most [`BLOCK`], and the right panels of `p`.
    ///
    /// For each right panel there are as many `sums` as left panels. They are 0 before the call. The first `rows` rows
    /// are wanted, or all if there are fewer; the sums of other rows may be arbitrary afterwards. Activations are the
    /// left matrix, or if `RIGHT`, the right matrix.
    ///
    /// # Safety
    /// The CPU must have the table's instructions.
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]);
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the load reads the 16 bytes of the array, at any address.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_floats(floats: &[f32; 4]) -> __m128 {
    // SAFETY: the load reads the 16 bytes of the array, at any address.
    unsafe { _mm_loadu_ps(floats.as_ptr()) }
}

/// Returns the same four numbers in both halves of a register.
#[inline]
#[target_feature(enable = "avx2")]
fn twice(floats: &[f32; 4]) -> __m256 {
    let floats = load_floats(floats);
    _mm256_set_m128(floats, floats)
}

/// Asks for `len` bytes to be brought into the L2 cache, and returns where they end.
///
/// Every tile reads the weights once, one right panel after the other, and the next panel is fetched while the present
/// one is in use.
#[inline]
pub(super) fn prefetch(from: *const u8, len: usize) -> *const u8 {
    for at in (0..len).step_by(64) {
        // SAFETY: the instruction is a hint, which does nothing where there is no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(at).cast()) };
    }
    from.wrapping_add(len)
}

/// Sets the first `panels` sums, at most all of them, to 0 and returns them.
#[inline]
#[target_feature(enable = "avx2")]
fn zeros(sums: &mut [MaybeUninit<Sums>], panels: usize) -> &mut [Sums] {
    let panels = panels.min(sums.len());
    for sums in sums.iter_mut().take(panels) {
        sums.write([_mm256_setzero_si256(); COLUMNS]);
    }
    // SAFETY: the loop above has initialised the first `panels` elements.
    unsafe { core::slice::from_raw_parts_mut(sums.as_mut_ptr().cast(), panels) }
}

/// Runs `$use` with the index of each right panel and an iterator over the index and the sums of each left panel, a
/// block of left panels at a time.
macro_rules! for_each_panel {
    ($tile:ty, $right:literal, $product:expr, |$index:ident, $panels:ident| $use:block) => {
        let mut sums = [const { MaybeUninit::uninit() }; BLOCK * RIGHT_PANELS];
        let panels = $product.rows.div_ceil(ROWS);
        let rights = $product.right.len() / (COLUMNS * $product.k).max(1);
        for first in (0..panels).step_by(BLOCK) {
            let end = panels.min(first + BLOCK);
            let left = $product.left.get(first * ROWS * $product.k..end * ROWS * $product.k).unwrap_or(&[]);
            let sums = zeros(&mut sums, (end - first) * rights);
            // SAFETY: a table's kernels are only called on a CPU that has the table's instructions.
            unsafe { <$tile>::sum_up::<$right>(&$product, left, $product.rows - first * ROWS, sums) };
            for ($index, sums) in sums.chunks_exact((end - first).max(1)).enumerate() {
                let $panels = (first..end).zip(sums);
                $use
            }
        }
    };
}

/// Transposes the sums of columns `4 * unit..` into rows.
#[inline]
#[target_feature(enable = "avx2")]
fn unit(sums: &Sums, unit: usize) -> Unit {
    let [a, b, c, d] = sums.as_chunks().0.get(unit).copied().unwrap_or([_mm256_setzero_si256(); 4]);
    let low = [_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d)];
    let high = [_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d)];
    [
        _mm256_unpacklo_epi64(low[0], low[1]),
        _mm256_unpackhi_epi64(low[0], low[1]),
        _mm256_unpacklo_epi64(high[0], high[1]),
        _mm256_unpackhi_epi64(high[0], high[1]),
    ]
}

/// Returns the numbers of the columns of right panel `right` and of all columns after it.
#[inline]
fn of_panel<V>(columns: &[V], right: usize) -> &[V] {
    columns.get(right * COLUMNS..).unwrap_or(&[])
}

/// Implements `Int8::add`.
#[target_feature(enable = "avx2")]
pub(super) fn add<T: Tile>(p: Product, columns: StreamColumns, stream: &mut Block) {
    for_each_panel!(T, false, p, |right, panels| {
        let bias: [_; UNITS] = fours(of_panel(columns.bias, right)).map(|four| twice_i32(four));
        let scale: [_; UNITS] = fours(of_panel(columns.scale, right)).map(|four| twice(&four));
        for (panel, sums) in panels {
            for (u, (bias, scale)) in bias.into_iter().zip(scale).enumerate() {
                for (sums, row) in unit(sums, u).into_iter().zip(FIRST_ROWS) {
                    let x = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(sums, bias)), scale);
                    add_to_rows(stream, panel * ROWS + row, right * UNITS + u, x);
                }
            }
        }
    });
}

#[inline]
#[target_feature(enable = "avx2")]
fn twice_i32([a, b, c, d]: [i32; 4]) -> __m256i {
    _mm256_setr_epi32(a, b, c, d, a, b, c, d)
}

/// Adds the halves of `x` to columns `4 * unit..` of `row` and of row `row + 2`, if these rows exist.
#[inline]
#[target_feature(enable = "avx2")]
fn add_to_rows(stream: &mut Block, row: usize, unit: usize, x: __m256) {
    let (rows, stride, start) = (stream.rows(), stream.stride(), stream.as_mut_ptr());
    for (row, x) in [(row, _mm256_castps256_ps128(x)), (row + 2, _mm256_extractf128_ps::<1>(x))] {
        if row < rows {
            // SAFETY: the row is in the block, and the table's callers have checked that the block has the panels'
            // columns.
            unsafe {
                let y = start.add(row * stride + 4 * unit);
                _mm_storeu_ps(y, _mm_add_ps(_mm_loadu_ps(y), x));
            }
        }
    }
}

/// Implements `Int8::mix`.
#[target_feature(enable = "avx2")]
pub(super) fn mix<T: Tile>(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    for_each_panel!(T, true, p, |right, panels| {
        let [scale, sum_gain, bias_gain]: [[_; UNITS]; 3] = [columns.scale, columns.sum_gain, columns.bias_gain]
            .map(|gains| fours(of_panel(gains, right)).map(|four| twice(&four)));
        for (panel, sums) in panels {
            let units = [unit(sums, 0), unit(sums, 1), unit(sums, 2)];
            for (i, row) in FIRST_ROWS.into_iter().enumerate() {
                let row = panel * ROWS + row;
                let pair = |values: &[f32]| {
                    let [low, high] = [row, row + 2].map(|row| values.get(row).copied().unwrap_or(0.0));
                    _mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low))
                };
                let [low, high] = [row, row + 2].map(|row| rows.correction.get(row).copied().unwrap_or(0));
                let correction = _mm256_set_m128i(_mm_set1_epi32(high), _mm_set1_epi32(low));
                let [row_scale, row_sum, row_bias] = [pair(rows.scale), pair(rows.sum), pair(rows.bias)];
                for (u, sums) in units.iter().enumerate() {
                    let sums = _mm256_cvtepi32_ps(_mm256_add_epi32(sums[i], correction));
                    let scaled = _mm256_mul_ps(_mm256_mul_ps(sums, row_scale), scale[u]);
                    let constant =
                        _mm256_add_ps(_mm256_mul_ps(sum_gain[u], row_sum), _mm256_mul_ps(bias_gain[u], row_bias));
                    add_to_rows(stream, row, right * UNITS + u, _mm256_add_ps(scaled, constant));
                }
            }
        }
    });
}

/// Implements `Int8::sums`.
#[target_feature(enable = "avx2")]
pub(super) fn sums<T: Tile>(p: Product, out: &mut [i32]) {
    let rows = out.as_chunks_mut::<COLUMNS>().0;
    for_each_panel!(T, false, p, |_right, panels| {
        for (panel, sums) in panels {
            for u in 0..UNITS {
                for (sums, row) in unit(sums, u).into_iter().zip(FIRST_ROWS) {
                    let halves = [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)];
                    for (row, sums) in [row, row + 2].into_iter().zip(halves) {
                        let Some(row) = rows.get_mut(panel * ROWS + row) else { continue };
                        let Some(out) = row.as_chunks_mut::<4>().0.get_mut(u) else { continue };
                        // SAFETY: the store writes the 16 bytes of the array, at any address.
                        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), sums) };
                    }
                }
            }
        }
    });
}

/// Implements `Int8::gelu`.
#[target_feature(enable = "avx2")]
pub(super) fn gelu<T: Tile>(p: Product, columns: GeluColumns, hidden: Hidden) {
    let table = Table::new(columns.table, columns.shift);
    let Hidden { panels: out, first } = hidden;
    for_each_panel!(T, false, p, |right, panels| {
        let coefficients = Gelu::of_panel(&columns, right);
        for (panel, sums) in panels {
            let first = ROWS * (first + right * COLUMNS);
            let groups = out.row_mut(panel).get_mut(first..).unwrap_or(&mut []).as_chunks_mut().0;
            for (u, (out, gelu)) in groups.iter_mut().zip(&coefficients).enumerate() {
                store_group::<T>(out, gelu.activations(unit(sums, u), &table));
            }
        }
    });
}

/// Returns the bits that turn a signed byte into a stored byte by exclusive or.
const fn sign<T: Tile>() -> i8 {
    T::LAYOUT.offset as u8 as i8
}

/// Stores 16-bit numbers of rows 0 1 | 2 3 and 4 5 | 6 7 as a group of 8-bit numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn store_group<T: Tile>(out: &mut [u8; 32], [top, bottom]: [__m256i; 2]) {
    let order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    let bytes = _mm256_xor_si256(_mm256_packs_epi16(top, bottom), _mm256_set1_epi8(sign::<T>()));
    let bytes = _mm256_permutevar8x32_epi32(bytes, order);
    // SAFETY: the store writes the 32 bytes of the array, at any address.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
}

/// The coefficients of a unit's columns.
struct Gelu {
    bias: __m256i,
    scale: Fractions,
    requantise: __m256i,
    zero: __m256i,
}

/// Factors of eight sums, as fractions of 2^32.
struct Fractions {
    /// Factors of the first, third, fifth and seventh sum, in the lower halves of 64 bits.
    even: __m256i,
    /// Factors of the other sums, in the same places.
    odd: __m256i,
}

impl Gelu {
    #[target_feature(enable = "avx2")]
    fn of_panel(columns: &GeluColumns, right: usize) -> [Self; UNITS] {
        let [bias, scale] = [columns.bias, columns.scale].map(|values| fours::<_, UNITS>(of_panel(values, right)));
        let requantise = fours::<_, UNITS>(of_panel(columns.requantise, right));
        let zero = fours::<_, UNITS>(of_panel(columns.zero, right));
        let repeated = |[a, b, c, d]: [i16; 4]| _mm256_set1_epi64x(i64::from_le_bytes(bytemuck::cast([a, b, c, d])));
        [0, 1, 2].map(|unit: usize| Self {
            bias: twice_i32(bias[unit]),
            scale: Fractions::new(scale[unit]),
            requantise: repeated(requantise[unit]),
            zero: repeated(zero[unit].map(i16::from)),
        })
    }

    /// Returns rows 0 1 | 2 3 and 4 5 | 6 7 of a unit as 16-bit numbers, which packing limits to 8 bits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn activations(&self, [a, b, c, d]: Unit, table: &Table) -> [__m256i; 2] {
        let scaled = |sums| self.scale.of(_mm256_add_epi32(sums, self.bias));
        let top = _mm256_packs_epi32(scaled(a), scaled(b));
        let bottom = _mm256_packs_epi32(scaled(c), scaled(d));
        let [top_correction, bottom_correction] = table.corrections(top, bottom);
        [self.requantised(top, top_correction), self.requantised(bottom, bottom_correction)]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn requantised(&self, x: __m256i, correction: __m256i) -> __m256i {
        let y = _mm256_sub_epi16(_mm256_max_epi16(x, _mm256_setzero_si256()), correction);
        _mm256_adds_epi16(_mm256_mulhrs_epi16(y, self.requantise), self.zero)
    }
}

impl Fractions {
    /// Returns the factors of four columns from fractions of 2^31 below 2^30.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(fractions: [i32; 4]) -> Self {
        let even = twice_i32(fractions.map(|fraction| fraction << 1));
        Self { even, odd: _mm256_srli_epi64::<32>(even) }
    }

    /// Multiplies eight sums, and rounds to nearest, ties upwards.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(&self, x: __m256i) -> __m256i {
        let half = _mm256_set1_epi64x(1 << 31);
        let even = _mm256_add_epi64(_mm256_mul_epi32(x, self.even), half);
        let odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64::<32>(x), self.odd), half);
        _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<32>(even), odd)
    }
}

/// The table of corrections.
///
/// Each half of a register holds the same sixteen entries. All but the first and the ninth register hold their entries'
/// exclusive or with the entries before.
struct Table {
    entries: [__m256i; GELU_ENTRIES / 16],
    shift: __m128i,
}

impl Table {
    #[target_feature(enable = "avx2")]
    fn new(table: &[u8; GELU_ENTRIES], shift: u32) -> Self {
        let mut entries = [_mm256_setzero_si256(); GELU_ENTRIES / 16];
        let mut before = _mm256_setzero_si256();
        for (i, (entries, bytes)) in entries.iter_mut().zip(table.as_chunks().0).enumerate() {
            let bytes = _mm256_broadcastsi128_si256(load(bytes));
            *entries = if i == 8 { bytes } else { _mm256_xor_si256(bytes, before) };
            before = bytes;
        }
        Self { entries, shift: _mm_cvtsi32_si128(shift as i32) }
    }

    /// Returns the entries at `|x|` of 16-bit numbers, as 16-bit numbers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn corrections(&self, top: __m256i, bottom: __m256i) -> [__m256i; 2] {
        // The numbers are unsigned from here on, so that |-32768| is 32768.
        let index = |x| _mm256_min_epu16(_mm256_srl_epi16(_mm256_abs_epi16(x), self.shift), _mm256_set1_epi16(255));
        let found = self.look_up(_mm256_packus_epi16(index(top), index(bottom)));
        let none = _mm256_setzero_si256();
        [_mm256_unpacklo_epi8(found, none), _mm256_unpackhi_epi8(found, none)]
    }

    /// Returns the entries at 32 indices.
    ///
    /// `vpshufb` gives 0 if an index is negative, and elsewhere looks at four bits of it. So each step replaces the
    /// entries of the step before for those indices that have not become negative yet.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn look_up(&self, index: __m256i) -> __m256i {
        let sixteen = _mm256_set1_epi8(16);
        // As signed bytes, indices below 128 are positive in `low`, and the others are positive in `high`.
        let mut low = index;
        let mut high = _mm256_xor_si256(index, _mm256_set1_epi8(-128));
        let mut found = _mm256_setzero_si256();
        let (low_entries, high_entries) = self.entries.split_at(GELU_ENTRIES / 32);
        for (&low_entries, &high_entries) in low_entries.iter().zip(high_entries) {
            found = _mm256_xor_si256(found, _mm256_shuffle_epi8(low_entries, low));
            found = _mm256_xor_si256(found, _mm256_shuffle_epi8(high_entries, high));
            low = _mm256_subs_epi8(low, sixteen);
            high = _mm256_subs_epi8(high, sixteen);
        }
        found
    }
}

/// Limits numbers to `high` and rounds to nearest, ties to even. Numbers below the range of `i32` become the least
/// `i32`, which packing saturates.
#[inline]
#[target_feature(enable = "avx2")]
fn round(x: __m256, high: f32) -> __m256i {
    _mm256_cvtps_epi32(_mm256_min_ps(x, _mm256_set1_ps(high)))
}

/// Returns rows `first..first + 4` of a stream by groups of four columns. The last row is repeated in place of missing
/// rows.
#[inline]
fn rows<'s>(stream: &'s Block, first: usize) -> [&'s [[f32; 4]]; 4] {
    let row = |row: usize| stream.row(row.min(stream.rows().saturating_sub(1))).as_chunks().0;
    [row(first), row(first + 1), row(first + 2), row(first + 3)]
}

/// Implements `Int8::quantise_rows`.
#[target_feature(enable = "avx2")]
pub(super) fn quantise_rows<T: Tile>(_: Layout, stream: &Block, q: Quantiser, out: &mut Block<u8>) {
    for (panel, first) in (0..stream.rows()).step_by(ROWS).enumerate() {
        let ([a, b, c, d], [e, f, g, h]) = (rows(stream, first), rows(stream, first + 4));
        let coefficients = q.scale.as_chunks().0.iter().zip(q.offset.as_chunks().0);
        for (u, (out, (scale, offset))) in out.row_mut(panel).as_chunks_mut().0.iter_mut().zip(coefficients).enumerate()
        {
            let (scale, offset) = (twice(scale), twice(offset));
            let floats = |row: &[[f32; 4]]| load_floats(row.get(u).unwrap_or(&[0.0; 4]));
            let pair = |low, high| {
                let x = _mm256_mul_ps(_mm256_set_m128(floats(high), floats(low)), scale);
                round(_mm256_add_ps(x, offset), 127.0)
            };
            store_group::<T>(
                out,
                [_mm256_packs_epi32(pair(a, c), pair(b, d)), _mm256_packs_epi32(pair(e, g), pair(f, h))],
            );
        }
    }
}

/// Implements `Int8::quantise_columns`.
#[target_feature(enable = "avx2")]
pub(super) fn quantise_columns<T: Tile>(_: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    let transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let scale: [_; UNITS] = fours(q.scale).map(|four| load_floats(&four));
    let offset: [_; UNITS] = fours(q.offset).map(|four| load_floats(&four));
    for (first, out) in (0..stream.rows()).step_by(GROUP).zip(out.as_chunks_mut::<{ COLUMNS * GROUP }>().0) {
        let [a, b, c, d] = rows(stream, first);
        let mut group = [[[0; GROUP]; 4]; UNITS];
        for (u, (out, (scale, offset))) in group.iter_mut().zip(scale.into_iter().zip(offset)).enumerate() {
            let quantised = |row: &[[f32; 4]]| {
                let x = load_floats(row.get(u).unwrap_or(&[0.0; 4]));
                _mm_cvtps_epi32(_mm_min_ps(_mm_add_ps(_mm_mul_ps(x, scale), offset), _mm_set1_ps(127.0)))
            };
            let halves = [_mm_packs_epi32(quantised(a), quantised(b)), _mm_packs_epi32(quantised(c), quantised(d))];
            let bytes = _mm_packs_epi16(halves[0], halves[1]);
            let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(sign::<T>()));
            // SAFETY: the store writes the 16 bytes of the array, at any address.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_shuffle_epi8(bytes, transpose)) };
        }
        let found = stream.rows() - first;
        if found >= GROUP {
            out.copy_from_slice(group.as_flattened().as_flattened());
            continue;
        }
        for (out, column) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip(group.as_flattened()) {
            out.iter_mut().zip(column).take(found).for_each(|(out, byte)| *out = *byte);
        }
    }
}
