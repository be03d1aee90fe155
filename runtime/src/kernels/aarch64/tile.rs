//! Holds everything that an 8-bit table for 64-bit ARM does besides the products themselves.
//!
//! A table implements [`Tile`]: the sums of a few rows and a right panel, as *units* of four rows and four columns.
//! Loops over units are unrolled, so that the sums stay in registers. [`gelu`](super::gelu) holds what becomes of the
//! sums of hidden units.

use core::arch::aarch64::*;
use core::arch::asm;

use crate::format::Layout;
use crate::kernels::lanes::fours;
use crate::kernels::operands::{MixColumns, MixRows, Product, Quantiser, StreamColumns};
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

pub(super) use unroll;

/// Sums of four rows and four columns. A register holds a row.
pub(super) type Unit = [int32x4_t; 4];

/// The place of the right panel that comes next.
///
/// It is brought into the L2 cache while the present panel is in use, a little with each tile. If few tiles use a
/// panel, only a part of the next one is brought in.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    from: *const u8,
    /// Bytes to ask for with each 64 elements of the contraction.
    pub step: usize,
}

impl Ahead {
    /// Returns the place after a right panel that `tiles` tiles use.
    pub fn new(right: &[u8], columns: usize, tiles: usize) -> Self {
        Self { from: right.as_ptr_range().end, step: (64 * columns).div_ceil(tiles.max(1)) }
    }

    /// Returns where the next `k` elements of the contraction start to ask for memory, and moves on.
    pub fn next(&mut self, k: usize) -> *const u8 {
        let from = self.from;
        self.from = from.wrapping_add(k / 64 * self.step);
        from
    }
}

/// Asks for `len` bytes to be brought into the L2 cache, and returns where they end.
#[inline]
pub(super) fn prefetch(from: *const u8, len: usize) -> *const u8 {
    for at in (0..len).step_by(64) {
        // SAFETY: the instruction is a hint, which does nothing where there is no memory.
        unsafe {
            asm!("prfm pldl2keep, [{}]", in(reg) from.wrapping_add(at), options(nostack, readonly, preserves_flags))
        };
    }
    from.wrapping_add(len)
}

/// Products of `4 * DOWN` rows and `4 * ACROSS` columns, which is all columns of a right panel.
pub(super) trait Tile<const DOWN: usize, const ACROSS: usize> {
    /// The panels that the table reads. Their rows and groups are multiples of four.
    const LAYOUT: Layout;

    /// Whether a register of a unit holds two rows and two columns while products are summed: the left columns and the
    /// right columns of the upper rows, then those of the lower rows.
    const PAIRS: bool = false;

    /// Brings units into the order in which products are summed, or from it back into rows.
    #[inline(always)]
    fn arrange(units: [[Unit; ACROSS]; DOWN]) -> [[Unit; ACROSS]; DOWN] {
        units
    }

    /// Adds the products of `rows` rows, at least one, to `start`, and asks for the next right panel on the way.
    ///
    /// The units are arranged, and those after the wanted rows may hold arbitrary numbers afterwards.
    ///
    /// # Safety
    /// `left` must point to whole panels that contain these rows, at most `4 * DOWN` of them, and `right` to one panel.
    /// All panels must have `k` elements of the contraction.
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
pub(super) fn load_i32(v: [i32; 4]) -> int32x4_t {
    // SAFETY: the load reads the 16 bytes of the array.
    unsafe { vld1q_s32(v.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f32(v: [f32; 4]) -> float32x4_t {
    // SAFETY: the load reads the 16 bytes of the array.
    unsafe { vld1q_f32(v.as_ptr()) }
}

/// Stores bytes `[row][column]` of four rows and columns, so that each row's four bytes lie `group` bytes after those
/// of the previous row.
///
/// # Safety
/// `out` must point to `3 * group + 4` bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn store_unit(group: usize, bytes: uint8x16_t, out: *mut u8) {
    let words = vreinterpretq_u32_u8(bytes);
    // SAFETY: the caller promises that the bytes are there, and the stores take any address.
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

/// Runs `$use` with the first row and the arranged sums of every tile. `$whole` says whether all rows of the tile are
/// wanted. The sums begin with what `$start` makes of the first row, or if that is `None`, with what the tile before
/// began with.
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
        // SAFETY: the table's callers have checked the product's lengths, and `first` is the first row of a panel.
        let $sums = unsafe {
            let left = $product.left.as_ptr().add($first * $product.k);
            <$tile>::multiply(left, $product.right.as_ptr(), $product.k, $rows, &$begin, &mut $ahead)
        };
        $use
    };
}

pub(super) use for_each_tile;

/// Adds `term(down, row of the unit, across)` to the rows of the stream from `first` on. If `whole`, the stream has all
/// rows of the tile.
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
                // SAFETY: the row is in the block, and the table's callers have checked that the block is as wide as a
                // panel.
                unsafe { vst1q_f32(y.add(4 * C), vaddq_f32(vld1q_f32(y.add(4 * C)), term(D, I, C))) };
            });
            y = y.wrapping_add(stride);
        });
    });
}

/// Implements `Int8::add`.
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
        let sums = T::arrange(sums);
        add_tile::<DOWN, ACROSS>(stream, first, whole, |down, i, across| {
            vmulq_f32(vcvtq_f32_s32(sums[down][across][i]), scale[across])
        });
    });
}

/// Implements `Int8::mix`.
#[target_feature(enable = "neon")]
pub(super) fn mix<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    of_rows: MixRows,
    columns: MixColumns,
    stream: &mut Block,
) {
    let [scale, sum_gain, bias_gain]: [[_; ACROSS]; 3] =
        [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| fours(gains).map(|four| load_f32(four)));
    // A tile may have rows that no panel has. The last four rows are repeated in their place.
    let at = |row: usize| row.min(of_rows.scale.len() - 4);
    let start = |first| {
        let mut start = [[[vdupq_n_s32(0); 4]; ACROSS]; DOWN];
        unroll!(D < DOWN => {
            // SAFETY: the callers have checked that the vectors are as long as the panels have rows.
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
        let sums = T::arrange(sums);
        let mut factors = [[vdupq_n_f32(0.0); 3]; DOWN];
        unroll!(D < DOWN => {
            let at = at(first + 4 * D);
            // SAFETY: these vectors too are as long as the panels have rows.
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

/// Multiplies `x` by number `lane` of `factors`, or by the last number if there is no such lane.
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

/// Implements `Int8::sums`.
#[target_feature(enable = "neon")]
pub(super) fn sums<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(p: Product, out: &mut [i32]) {
    let start = [[[vdupq_n_s32(0); 4]; ACROSS]; DOWN];
    for_each_tile!(T, p, |first| (first == 0).then_some(start), |first, sums, _whole| {
        let sums = T::arrange(sums);
        let mut rows = out.as_chunks_mut::<4>().0.chunks_exact_mut(ACROSS).skip(first);
        for (units, i) in sums.iter().flat_map(|units| (0..4).map(move |i| (units, i))) {
            for (out, unit) in rows.next().unwrap_or(&mut []).iter_mut().zip(units) {
                // SAFETY: the store writes the 16 bytes of the array.
                unsafe { vst1q_s32(out.as_mut_ptr(), unit[i]) };
            }
        }
    });
}

/// Limits numbers to 16 bits: rows 0 and 1, then rows 2 and 3.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn narrowed([a, b, c, d]: [int32x4_t; 4]) -> [int16x8_t; 2] {
    [vqmovn_high_s32(vqmovn_s32(a), b), vqmovn_high_s32(vqmovn_s32(c), d)]
}

/// Returns the quantised bytes `[row][column]` of four rows and columns of the stream.
///
/// # Safety
/// Each address must point to four numbers.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn quantised(rows: [*const f32; 4], scale: float32x4_t, offset: float32x4_t) -> uint8x16_t {
    // SAFETY: the caller promises four numbers at each address.
    let rows = rows.map(|x| unsafe { vld1q_f32(x) });
    let [top, bottom] = narrowed(rows.map(|x| vcvtnq_s32_f32(vaddq_f32(vmulq_f32(x, scale), offset))));
    vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(top), bottom))
}

/// Runs `$use` with every four rows of the stream and the number of those that exist. The last row is repeated in place
/// of missing rows.
macro_rules! for_each_four_rows {
    ($stream:expr, |$first:ident, $rows:ident, $found:ident| $use:block) => {
        let (count, stride) = ($stream.rows(), $stream.stride());
        let mut row = $stream.as_ptr();
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

/// Implements `Int8::quantise_rows`.
#[target_feature(enable = "neon")]
pub(super) fn quantise_rows<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    _: Layout,
    stream: &Block,
    q: Quantiser,
    out: &mut Block<u8>,
) {
    let (panel, group, columns) = (T::LAYOUT.rows as usize, T::LAYOUT.group as usize, stream.columns());
    let (stride, out) = (out.stride(), out.as_mut_ptr());
    let (scale, offset) = (q.scale.as_ptr(), q.offset.as_ptr());
    for_each_four_rows!(stream, |first, rows, _found| {
        let mut place = out.wrapping_add(first / panel * stride + T::LAYOUT.index(panel, 0, first % panel, 0));
        for k in (0..columns).step_by(group) {
            unroll!(Q < group / 4 => {
                // SAFETY: the callers have checked that rows and quantiser have `columns` elements, a multiple of the
                // group, and that the panels have room for all rows.
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

/// Implements `Int8::quantise_columns`.
#[target_feature(enable = "neon")]
pub(super) fn quantise_columns<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    _: Layout,
    stream: &Block,
    q: Quantiser,
    out: &mut [u8],
) {
    let (panel, group) = (4 * ACROSS, T::LAYOUT.group as usize);
    let [scale, offset]: [[_; ACROSS]; 2] = [q.scale, q.offset].map(|values| fours(values).map(|four| load_f32(four)));
    // SAFETY: the load reads the 16 bytes of the array.
    let transpose = unsafe { vld1q_u8([0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15].as_ptr()) };
    for_each_four_rows!(stream, |first, rows, found| {
        let at = T::LAYOUT.index(panel, 0, 0, first);
        unroll!(C < ACROSS => {
            // SAFETY: the callers have checked that the block has `4 * ACROSS` columns.
            let bytes = unsafe { quantised(rows.map(|row| row.add(4 * C)), scale[C], offset[C]) };
            let bytes = vqtbl1q_u8(bytes, transpose);
            if found >= 4 {
                // SAFETY: the callers have checked that the panel has room for all rows, which take four bytes every
                // `group` bytes.
                unsafe { store_unit(group, bytes, out.as_mut_ptr().add(at + 4 * C * group)) };
            } else {
                store_part(bytes, found, out.get_mut(at + 4 * C * group..).unwrap_or(&mut []).chunks_mut(group));
            }
        });
    });
}

/// Stores the first `found` of the four bytes of each column.
#[inline(never)]
fn store_part<'o>(bytes: uint8x16_t, found: usize, columns: impl Iterator<Item = &'o mut [u8]>) {
    let mut of_columns = [[0u8; 4]; 4];
    // SAFETY: the store writes the 16 bytes of the array.
    unsafe { vst1q_u8(of_columns.as_mut_ptr().cast(), bytes) };
    for (out, bytes) in columns.zip(of_columns) {
        out.iter_mut().zip(bytes).take(found).for_each(|(out, byte)| *out = byte);
    }
}
