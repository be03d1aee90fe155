//! What the 8-bit tables for aarch64 share: everything but the products themselves.
//!
//! A table brings a [`Tile`]: the sums of a few rows and a right panel, as *units* of four rows and four columns. Loops over
//! units are unrolled, so that the sums stay in registers.

use core::arch::aarch64::*;
use core::array::from_fn;

use super::fours::fours;
use super::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::format::{GELU_ENTRIES, Layout};
use crate::parallel::Block;

/// Repeats a block for each index below `$end`, at most four, without a loop: registers cannot be indexed.
macro_rules! unroll {
    ($index:ident < $end:expr => $body:block) => {
        unroll!($index < $end => $body 0 1 2 3)
    };
    ($index:ident < $end:expr => $body:block $($value:literal)*) => {
        {$({
            const $index: usize = $value;
            if $index < $end $body
        })*}
    };
}

/// Four rows and four columns, a register a row.
pub(super) type Unit = [int32x4_t; 4];

/// Where the next right panel is: it is brought into the L2 cache while this one is in use, a little with each tile.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    from: *const u8,
    /// Bytes for each 64 columns of the contraction.
    pub step: usize,
}

impl Ahead {
    /// Behind a right panel that is used for so many tiles.
    fn new(right: &[u8], columns: usize, tiles: usize) -> Self {
        Self { from: right.as_ptr_range().end, step: (64 * columns).div_ceil(tiles.max(1)) }
    }

    /// What the next `k` columns of the contraction have to ask for.
    pub fn next(&mut self, k: usize) -> *const u8 {
        let from = self.from;
        self.from = from.wrapping_add(k / 64 * self.step);
        from
    }
}

/// Products of `4 * DOWN` rows and `4 * ACROSS` columns, which is all columns of a right panel.
pub(super) trait Tile<const DOWN: usize, const ACROSS: usize> {
    /// The panels it reads; their rows and groups are multiples of four.
    const LAYOUT: Layout;

    /// Brings units into the order in which they are summed up, or back.
    #[inline(always)]
    fn arrange(units: [[Unit; ACROSS]; DOWN]) -> [[Unit; ACROSS]; DOWN] {
        units
    }

    /// The products of `rows` rows, at least one, added to `start`, both arranged; the units of rows behind may be anything. Asks
    /// for what comes next on the way.
    ///
    /// # Safety
    /// At `left` are whole panels with these rows, but no more than `4 * DOWN`, and at `right` is one panel, of `k` columns.
    unsafe fn multiply(
        left: *const u8,
        right: *const u8,
        k: usize,
        rows: usize,
        start: &[[Unit; ACROSS]; DOWN],
        ahead: &mut Ahead,
    ) -> [[Unit; ACROSS]; DOWN];
}

#[inline]
#[target_feature(enable = "neon")]
fn load_i32(v: [i32; 4]) -> int32x4_t {
    // SAFETY: 16 bytes.
    unsafe { vld1q_s32(v.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f32(v: [f32; 4]) -> float32x4_t {
    // SAFETY: 16 bytes.
    unsafe { vld1q_f32(v.as_ptr()) }
}

/// Stores bytes `[row][column]` of four rows and columns: a row's four bytes every `group` bytes.
///
/// # Safety
/// `out` has `3 * group + 4` bytes.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_unit(group: usize, bytes: uint8x16_t, out: *mut u8) {
    let words = vreinterpretq_u32_u8(bytes);
    // SAFETY: the caller's promise; nothing is asked of the address.
    unsafe {
        if group == 4 {
            return vst1q_u8(out, bytes);
        }
        out.cast::<u32>().write_unaligned(vgetq_lane_u32::<0>(words));
        out.add(group).cast::<u32>().write_unaligned(vgetq_lane_u32::<1>(words));
        out.add(2 * group).cast::<u32>().write_unaligned(vgetq_lane_u32::<2>(words));
        out.add(3 * group).cast::<u32>().write_unaligned(vgetq_lane_u32::<3>(words));
    }
}

/// Stores units of the same four rows at `places` from `out`. Two that share groups are stored together.
///
/// # Safety
/// [`store_unit`]'s, for each of them.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_units<const ACROSS: usize>(
    group: usize,
    units: [uint8x16_t; ACROSS],
    places: [usize; ACROSS],
    out: *mut u8,
) {
    // SAFETY: the caller's promise; a pair takes the four rows' whole groups.
    unsafe {
        if group == 8 && ACROSS == 3 {
            let (pair, lone) = if places[0].is_multiple_of(8) { (0, 2) } else { (1, 0) };
            let [a, b] = [pair, pair + 1].map(|c| vreinterpretq_u32_u8(units[c]));
            vst1q_u32(out.add(places[pair]).cast(), vzip1q_u32(a, b));
            vst1q_u32(out.add(places[pair] + 16).cast(), vzip2q_u32(a, b));
            return store_unit(group, units[lone], out.add(places[lone]));
        }
        unroll!(C < ACROSS => { store_unit(group, units[C], out.add(places[C])) });
    }
}

/// Runs `$use` with the first row and the sums of every tile, `$whole` where all its rows are wanted. The sums begin with what
/// `$start` makes of the first row, or with the same as in the tile before.
macro_rules! for_each_tile {
    ($tile:ty, $product:expr, $start:expr, |$first:ident, $sums:ident, $whole:ident| $use:block) => {
        let mut start = [[[vdupq_n_s32(0); 4]; ACROSS]; DOWN];
        let mut ahead = Ahead::new($product.right, 4 * ACROSS, $product.rows.div_ceil(4 * DOWN));
        let mut next = 0;
        while $product.rows - next >= 4 * DOWN {
            for_each_tile!(@one $tile, $product, $start, next, start, ahead, 4 * DOWN, |$first, $sums, $whole: true| $use);
            next += 4 * DOWN;
        }
        if $product.rows > next {
            let rows = $product.rows - next;
            for_each_tile!(@one $tile, $product, $start, next, start, ahead, rows, |$first, $sums, $whole: false| $use);
        }
    };
    (@one $tile:ty, $product:expr, $start:expr, $next:ident, $begin:ident, $ahead:ident, $rows:expr,
        |$first:ident, $sums:ident, $whole:ident: $is_whole:literal| $use:block) => {
        let ($first, $whole) = ($next, $is_whole);
        if let Some(start) = $start($first) {
            $begin = <$tile>::arrange(start);
        }
        // SAFETY: the product's lengths fit, as the table's callers have checked, and `first` is the first row of a panel.
        let sums = unsafe {
            let left = $product.left.as_ptr().add($first * $product.k);
            <$tile>::multiply(left, $product.right.as_ptr(), $product.k, $rows, &$begin, &mut $ahead)
        };
        let $sums = <$tile>::arrange(sums);
        $use
    };
}

/// Adds `term(down, row of the unit, across)` to the rows of the stream that start at `first`; all are there if `whole`.
#[inline]
#[target_feature(enable = "neon")]
fn add_tile<const DOWN: usize, const ACROSS: usize>(
    stream: &mut Block,
    first: usize,
    whole: bool,
    term: impl Fn(usize, usize, usize) -> float32x4_t,
) {
    let (rows, stride) = (stream.rows(), stream.stride());
    let mut y = stream.as_mut_ptr().wrapping_add(first * stride);
    unroll!(D < DOWN => {
        unroll!(I < 4 => {
            if !whole && first + 4 * D + I >= rows {
                return;
            }
            unroll!(C < ACROSS => {
                // SAFETY: the row is in the block, and the table's callers have checked that the block is as wide as a panel.
                unsafe { vst1q_f32(y.add(4 * C), vaddq_f32(vld1q_f32(y.add(4 * C)), term(D, I, C))) };
            });
            y = y.wrapping_add(stride);
        });
    });
}

#[target_feature(enable = "neon")]
pub(super) fn add<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    columns: StreamColumns,
    stream: &mut Block,
) {
    let bias: [_; ACROSS] = fours(columns.bias).map(|four| load_i32(four));
    let scale: [_; ACROSS] = fours(columns.scale).map(|four| load_f32(four));
    let start = [bias.map(|bias| [bias; 4]); DOWN];
    for_each_tile!(T, p, |first| (first == 0).then_some(start), |first, sums, whole| {
        add_tile::<DOWN, ACROSS>(stream, first, whole, |down, i, across| {
            vmulq_f32(vcvtq_f32_s32(sums[down][across][i]), scale[across])
        });
    });
}

#[target_feature(enable = "neon")]
pub(super) fn mix<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    of_rows: MixRows,
    columns: MixColumns,
    stream: &mut Block,
) {
    let [scale, sum_gain, bias_gain]: [[_; ACROSS]; 3] =
        [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| fours(gains).map(|four| load_f32(four)));
    // Where a tile has rows that no panel has, the last four take their place.
    let at = |row: usize| row.min(of_rows.scale.len() - 4);
    let start = |first| {
        let mut start = [[[vdupq_n_s32(0); 4]; ACROSS]; DOWN];
        unroll!(D < DOWN => {
            // SAFETY: the vectors are as long as the panels' rows, as the callers have checked.
            let correction = unsafe { vld1q_s32(of_rows.correction.as_ptr().add(at(first + 4 * D))) };
            let rows = [
                vdupq_laneq_s32::<0>(correction),
                vdupq_laneq_s32::<1>(correction),
                vdupq_laneq_s32::<2>(correction),
                vdupq_laneq_s32::<3>(correction),
            ];
            start[D] = [rows; ACROSS];
        });
        Some(start)
    };
    for_each_tile!(T, p, start, |first, sums, whole| {
        let mut factors = [[vdupq_n_f32(0.0); 3]; DOWN];
        unroll!(D < DOWN => {
            let at = at(first + 4 * D);
            // SAFETY: as above.
            factors[D] = unsafe {
                [
                    vld1q_f32(of_rows.scale.as_ptr().add(at)),
                    vld1q_f32(of_rows.sum.as_ptr().add(at)),
                    vld1q_f32(of_rows.bias.as_ptr().add(at)),
                ]
            };
        });
        add_tile::<DOWN, ACROSS>(stream, first, whole, |down, i, across| {
            let [row_scale, row_sum, row_bias] = factors[down];
            let sums = times_lane(vcvtq_f32_s32(sums[down][across][i]), row_scale, i);
            let sum = times_lane(sum_gain[across], row_sum, i);
            let bias = times_lane(bias_gain[across], row_bias, i);
            vaddq_f32(vmulq_f32(sums, scale[across]), vaddq_f32(sum, bias))
        });
    });
}

/// `x` times number `lane` of `factors`, the last where there is no such number.
#[inline]
#[target_feature(enable = "neon")]
fn times_lane(x: float32x4_t, factors: float32x4_t, lane: usize) -> float32x4_t {
    match lane {
        0 => vmulq_laneq_f32::<0>(x, factors),
        1 => vmulq_laneq_f32::<1>(x, factors),
        2 => vmulq_laneq_f32::<2>(x, factors),
        _ => vmulq_laneq_f32::<3>(x, factors),
    }
}

#[target_feature(enable = "neon")]
pub(super) fn sums<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(p: Product, out: &mut [i32]) {
    let start = [[[vdupq_n_s32(0); 4]; ACROSS]; DOWN];
    for_each_tile!(T, p, |first| (first == 0).then_some(start), |first, sums, _whole| {
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
    let (layout, rows) = (T::LAYOUT, T::LAYOUT.rows as usize);
    let places: [_; ACROSS] = from_fn(|c| layout.index(rows, 0, 0, hidden.first + 4 * c));
    let table = Table { entries: columns.table, shift: vdupq_n_s16(8 - columns.shift as i16) };
    let (scale, requantise, zero) =
        (fours::<_, ACROSS>(columns.scale), fours::<_, ACROSS>(columns.requantise), fours::<_, ACROSS>(columns.zero));
    let coefficients: [_; ACROSS] = from_fn(|c| Gelu::new(scale[c], requantise[c], zero[c]));
    let start = [fours(columns.bias).map(|four| [load_i32(four); 4]); DOWN];
    for_each_tile!(T, p, |first| (first == 0).then_some(start), |first, sums, whole| {
        let mut x = [[[vdupq_n_s16(0); 2]; ACROSS]; DOWN];
        unroll!(D < DOWN => { unroll!(C < ACROSS => { x[D][C] = coefficients[C].scaled(sums[D][C]) }) });
        let corrections = table.corrections(&x);
        unroll!(D < DOWN => {
            if whole || 4 * D < rows || first + 4 * D < p.rows {
                let row = layout.index(rows, hidden.k, first + 4 * D, 0);
                let mut bytes = [vdupq_n_u8(0); ACROSS];
                unroll!(C < ACROSS => { bytes[C] = coefficients[C].activations(x[D][C], corrections[D][C]) });
                // SAFETY: the callers have checked that the hidden panels have these columns, and the row is in one of
                // them: in the tile's first, or in one that has wanted rows.
                unsafe { store_units(layout.group as usize, bytes, places, hidden.panels.as_mut_ptr().add(row)) };
            }
        });
    });
}

/// The coefficients of four columns, in each register as often as they fit.
#[derive(Clone, Copy)]
struct Gelu {
    scale: int32x4_t,
    requantise: int16x8_t,
    zero: int16x8_t,
}

impl Gelu {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(scale: [i32; 4], requantise: [i16; 4], zero: [i8; 4]) -> Self {
        Self {
            scale: load_i32(scale),
            requantise: vreinterpretq_s16_u64(vdupq_n_u64(bytemuck::cast(requantise))),
            zero: vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytemuck::cast(zero)))),
        }
    }

    /// In 16-bit GELU units.
    #[inline]
    #[target_feature(enable = "neon")]
    fn scaled(&self, unit: Unit) -> [int16x8_t; 2] {
        narrowed(unit.map(|sums| vqrdmulhq_s32(sums, self.scale)))
    }

    /// Bytes `[row][column]`.
    #[inline]
    #[target_feature(enable = "neon")]
    fn activations(&self, x: [int16x8_t; 2], corrections: uint8x16_t) -> uint8x16_t {
        let x = x.map(|x| vreinterpretq_u16_s16(vmaxq_s16(x, vdupq_n_s16(0))));
        let y = [vsubw_u8(x[0], vget_low_u8(corrections)), vsubw_high_u8(x[1], corrections)];
        let [top, bottom] = y.map(|y| vqaddq_s16(vqrdmulhq_s16(vreinterpretq_s16_u16(y), self.requantise), self.zero));
        vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(top), bottom))
    }
}

/// Limits to 16 bits: rows 0 and 1, rows 2 and 3.
#[inline]
#[target_feature(enable = "neon")]
fn narrowed([a, b, c, d]: [int32x4_t; 4]) -> [int16x8_t; 2] {
    [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)]
}

struct Table<'a> {
    entries: &'a [u8; GELU_ENTRIES],
    /// To the left: what makes the upper byte of `|x|` the index.
    shift: int16x8_t,
}

impl Table<'_> {
    /// The entries at `|x|`. A quarter of the table after the other is held in registers.
    #[inline]
    #[target_feature(enable = "neon")]
    fn corrections<const DOWN: usize, const ACROSS: usize>(
        &self,
        x: &[[[int16x8_t; 2]; ACROSS]; DOWN],
    ) -> [[uint8x16_t; ACROSS]; DOWN] {
        // SAFETY: each of four quarters has 64 bytes.
        let quarter = |index: usize| unsafe { vld1q_u8_x4(self.entries.as_ptr().add(64 * index)) };
        let first = quarter(0);
        let mut index = [[vdupq_n_u8(0); ACROSS]; DOWN];
        let mut found = index;
        unroll!(D < DOWN => {
            unroll!(C < ACROSS => {
                // As unsigned numbers: |-32768| is 32768. What is shifted out leaves 65535, whose upper byte is the last index.
                let [top, bottom] = x[D][C].map(|x| vqshlq_u16(vreinterpretq_u16_s16(vabsq_s16(x)), self.shift));
                index[D][C] = vuzp2q_u8(vreinterpretq_u8_u16(top), vreinterpretq_u8_u16(bottom));
                found[D][C] = vqtbl4q_u8(first, index[D][C]);
            });
        });
        let mut look_up = |quarter| {
            unroll!(D < DOWN => {
                unroll!(C < ACROSS => {
                    // What is out of a quarter's range keeps what was found before.
                    index[D][C] = vsubq_u8(index[D][C], vdupq_n_u8(64));
                    found[D][C] = vqtbx4q_u8(found[D][C], quarter, index[D][C]);
                });
            });
        };
        look_up(quarter(1));
        look_up(quarter(2));
        look_up(quarter(3));
        found
    }
}

/// Bytes `[row][column]` of four rows and columns of the stream.
///
/// # Safety
/// Each row has four elements.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quantised(rows: [*const f32; 4], scale: float32x4_t, offset: float32x4_t) -> uint8x16_t {
    // SAFETY: the caller's promise.
    let rows = rows.map(|x| unsafe { vld1q_f32(x) });
    let [top, bottom] = narrowed(rows.map(|x| vcvtnq_s32_f32(vaddq_f32(vmulq_f32(x, scale), offset))));
    vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(top), bottom))
}

/// Runs `$use` with every four rows of the stream, and how many of them there are: where some are missing, the last one takes
/// their place.
macro_rules! for_each_four_rows {
    ($stream:expr, |$first:ident, $rows:ident, $found:ident| $use:block) => {
        let (count, stride) = ($stream.rows(), $stream.stride());
        let mut row = $stream.row(0).as_ptr();
        let mut next = 0;
        while count - next >= 4 {
            let ($first, $found) = (next, 4);
            let $rows = [0, 1, 2, 3].map(|i| row.wrapping_add(i * stride));
            $use
            row = row.wrapping_add(4 * stride);
            next += 4;
        }
        if count > next {
            let ($first, $found) = (next, count - next);
            let $rows = [0, 1, 2, 3].map(|i: usize| row.wrapping_add(i.min($found - 1) * stride));
            $use
        }
    };
}

#[target_feature(enable = "neon")]
pub(super) fn quantise_rows<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    _: Layout,
    stream: &Block,
    q: Quantiser,
    out: &mut [u8],
) {
    let (panel, group, columns) = (T::LAYOUT.rows as usize, T::LAYOUT.group as usize, stream.columns());
    let (scale, offset) = (q.scale.as_ptr(), q.offset.as_ptr());
    for_each_four_rows!(stream, |first, rows, _found| {
        let mut place = out.as_mut_ptr().wrapping_add(T::LAYOUT.index(panel, columns, first, 0));
        for k in (0..columns).step_by(group) {
            unroll!(Q < group / 4 => {
                // SAFETY: rows and quantiser have `columns` elements, a multiple of the group, and the panels have room for all
                // rows, as the callers have checked.
                unsafe {
                    let k = k + 4 * Q;
                    let bytes = quantised(rows.map(|row| row.add(k)), vld1q_f32(scale.add(k)), vld1q_f32(offset.add(k)));
                    store_unit(group, bytes, place.add(4 * Q));
                }
            });
            place = place.wrapping_add(panel * group);
        }
    });
}

#[target_feature(enable = "neon")]
pub(super) fn quantise_columns<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    _: Layout,
    stream: &Block,
    q: Quantiser,
    out: &mut [u8],
) {
    let (panel, group) = (4 * ACROSS, T::LAYOUT.group as usize);
    let [scale, offset]: [[_; ACROSS]; 2] = [q.scale, q.offset].map(|values| fours(values).map(|four| load_f32(four)));
    // SAFETY: 16 bytes.
    let transpose = unsafe { vld1q_u8([0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15].as_ptr()) };
    for_each_four_rows!(stream, |first, rows, found| {
        let at = T::LAYOUT.index(panel, 0, 0, first);
        unroll!(C < ACROSS => {
            // SAFETY: the block has `4 * ACROSS` columns, as the callers have checked.
            let bytes = unsafe { quantised(rows.map(|row| row.add(4 * C)), scale[C], offset[C]) };
            let bytes = vqtbl1q_u8(bytes, transpose);
            if found >= 4 {
                // SAFETY: the panel has room for all rows, as the callers have checked: four bytes every `group` bytes.
                unsafe { store_unit(group, bytes, out.as_mut_ptr().add(at + 4 * C * group)) };
            } else {
                store_part(bytes, found, out.get_mut(at + 4 * C * group..).unwrap_or(&mut []).chunks_mut(group));
            }
        });
    });
}

/// Stores the first `found` of four bytes of each column.
#[inline(never)]
fn store_part<'o>(bytes: uint8x16_t, found: usize, columns: impl Iterator<Item = &'o mut [u8]>) {
    let mut of_columns = [[0u8; 4]; 4];
    // SAFETY: 16 bytes.
    unsafe { vst1q_u8(of_columns.as_mut_ptr().cast(), bytes) };
    for (out, bytes) in columns.zip(of_columns) {
        out.iter_mut().zip(bytes).take(found).for_each(|(out, byte)| *out = byte);
    }
}
