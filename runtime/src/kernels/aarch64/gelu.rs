//! GELU on 64-bit ARM: turns the sums of hidden units into 8-bit activations, with a table of 256 bytes in registers.

use core::arch::aarch64::*;
use core::array::from_fn;

use super::tile::{Ahead, Tile, Unit, for_each_tile, load_i32, narrowed, store_unit, unroll};
use crate::format::GELU_ENTRIES;
use crate::kernels::lanes::fours;
use crate::kernels::operands::{GeluColumns, Hidden, Product};

/// Implements `Int8::gelu`.
#[target_feature(enable = "neon")]
pub(super) fn gelu<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    p: Product,
    columns: GeluColumns,
    hidden: Hidden,
) {
    let (layout, rows) = (T::LAYOUT, T::LAYOUT.rows as usize);
    let (stride, panels) = (hidden.panels.stride(), hidden.panels.as_mut_ptr());
    let places: [_; ACROSS] = from_fn(|c| layout.index(rows, 0, 0, hidden.first + 4 * c));
    let table = Table { entries: columns.table, shift: vdupq_n_s16(8 - columns.shift as i16) };
    let (scale, requantise, zero) =
        (fours::<_, ACROSS>(columns.scale), fours::<_, ACROSS>(columns.requantise), fours::<_, ACROSS>(columns.zero));
    let coefficients: [_; ACROSS] = from_fn(|c| match T::PAIRS {
        true => Gelu::of_pairs(scale[c], requantise[c], zero[c]),
        false => Gelu::of_rows(scale[c], requantise[c], zero[c]),
    });
    let order = Order::new(places);
    let start = [fours(columns.bias).map(|four| [load_i32(four); 4]); DOWN];
    for_each_tile!(T, p, |first| (first == 0).then_some(start), |first, sums, whole| {
        let mut x = [[[vdupq_n_s16(0); 2]; ACROSS]; DOWN];
        unroll!(D < DOWN => { unroll!(C < ACROSS => { x[D][C] = coefficients[C].scaled(sums[D][C]) }) });
        let corrections = table.corrections(&x);
        unroll!(D < DOWN => {
            if whole || 4 * D < rows || first + 4 * D < p.rows {
                let row = first + 4 * D;
                let place = row / rows * stride + layout.index(rows, 0, row % rows, 0);
                let mut bytes = [vdupq_n_u8(0); ACROSS];
                unroll!(C < ACROSS => { bytes[C] = coefficients[C].activations(x[D][C], corrections[D][C]) });
                // SAFETY: the callers have checked that the hidden panels have these columns. The row is in one of the
                // panels: in the first of the tile, or in one that has wanted rows.
                unsafe { store_units::<T, DOWN, ACROSS>(bytes, places, &order, panels.add(place)) };
            }
        });
    });
}

/// The coefficients of four columns, repeated to fill each register.
#[derive(Clone, Copy)]
struct Gelu {
    /// Scales of a unit's first and third register, and scales of its second and fourth.
    scale: [int32x4_t; 2],
    requantise: int16x8_t,
    zero: int16x8_t,
}

impl Gelu {
    /// Returns the coefficients for units whose registers hold a row.
    #[inline]
    #[target_feature(enable = "neon")]
    fn of_rows(scale: [i32; 4], requantise: [i16; 4], zero: [i8; 4]) -> Self {
        Self {
            scale: [load_i32(scale); 2],
            requantise: vreinterpretq_s16_u64(vdupq_n_u64(bytemuck::cast(requantise))),
            zero: vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytemuck::cast(zero)))),
        }
    }

    /// Returns the coefficients for units whose registers hold two rows and two columns.
    #[inline]
    #[target_feature(enable = "neon")]
    fn of_pairs(scale: [i32; 4], requantise: [i16; 4], zero: [i8; 4]) -> Self {
        let Self { scale: [scale, _], requantise, zero } = Self::of_rows(scale, requantise, zero);
        let scale = vreinterpretq_s64_s32(scale);
        let twice = |x| {
            let x = vreinterpretq_s32_s16(x);
            vreinterpretq_s16_s32(vzip1q_s32(x, x))
        };
        Self {
            scale: [vzip1q_s64(scale, scale), vzip2q_s64(scale, scale)].map(|x| vreinterpretq_s32_s64(x)),
            requantise: twice(requantise),
            zero: twice(zero),
        }
    }

    /// Brings a unit's sums to GELU units of 16 bits.
    #[inline]
    #[target_feature(enable = "neon")]
    fn scaled(&self, [a, b, c, d]: Unit) -> [int16x8_t; 2] {
        let [first, second] = self.scale;
        narrowed([vqrdmulhq_s32(a, first), vqrdmulhq_s32(b, second), vqrdmulhq_s32(c, first), vqrdmulhq_s32(d, second)])
    }

    /// Returns a unit's activations as bytes, in the order of its sums.
    #[inline]
    #[target_feature(enable = "neon")]
    fn activations(&self, x: [int16x8_t; 2], corrections: uint8x16_t) -> uint8x16_t {
        let x = x.map(|x| vreinterpretq_u16_s16(vmaxq_s16(x, vdupq_n_s16(0))));
        let y = [vsubw_u8(x[0], vget_low_u8(corrections)), vsubw_high_u8(x[1], corrections)];
        let [top, bottom] = y.map(|y| vqaddq_s16(vqrdmulhq_s16(vreinterpretq_s16_u16(y), self.requantise), self.zero));
        vreinterpretq_u8_s8(vqmovn_high_s16(vqmovn_s16(top), bottom))
    }
}

/// The table of corrections.
struct Table<'a> {
    entries: &'a [u8; GELU_ENTRIES],
    /// Shift to the left that makes the upper byte of `|x|` the index.
    shift: int16x8_t,
}

impl Table<'_> {
    /// Returns the entries at `|x|`. The quarters of the table are held in registers one after the other.
    #[inline]
    #[target_feature(enable = "neon")]
    fn corrections<const DOWN: usize, const ACROSS: usize>(
        &self,
        x: &[[[int16x8_t; 2]; ACROSS]; DOWN],
    ) -> [[uint8x16_t; ACROSS]; DOWN] {
        // SAFETY: each of the four quarters has 64 bytes.
        let quarter = |index: usize| unsafe { vld1q_u8_x4(self.entries.as_ptr().add(64 * index)) };
        let first = quarter(0);
        let mut index = [[vdupq_n_u8(0); ACROSS]; DOWN];
        let mut found = index;
        unroll!(D < DOWN => {
            unroll!(C < ACROSS => {
                // The numbers are unsigned from here on, so that |-32768| is 32768. A shift that overflows gives 65535,
                // whose upper byte is the last index.
                let [top, bottom] = x[D][C].map(|x| vqshlq_u16(vreinterpretq_u16_s16(vabsq_s16(x)), self.shift));
                index[D][C] = vuzp2q_u8(vreinterpretq_u8_u16(top), vreinterpretq_u8_u16(bottom));
                found[D][C] = vqtbl4q_u8(first, index[D][C]);
            });
        });
        let mut look_up = |quarter| {
            unroll!(D < DOWN => {
                unroll!(C < ACROSS => {
                    // An index outside the quarter keeps the entry that was found before.
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

/// The places of the bytes of three neighbouring units of pairs. Two of the units make up a group of eight columns of
/// each row, and the third is half a group.
struct Order {
    /// Order of the bytes of rows 0 and 1 of the two units. Those of rows 2 and 3 lie eight bytes further.
    two: uint8x16_t,
    /// Order of the bytes of the third unit.
    one: uint8x16_t,
    /// Place of the two units and place of the third.
    places: [usize; 2],
}

impl Order {
    /// Returns the order for units at `places`. The third unit comes last if the first unit begins a group, and
    /// first elsewhere.
    #[inline]
    #[target_feature(enable = "neon")]
    fn new<const ACROSS: usize>(places: [usize; ACROSS]) -> Self {
        // The bytes of a unit are two columns of rows 0 and 1, the other two columns of these rows, and then rows 2 and
        // 3 likewise.
        const TWO: [u8; 16] = [0, 1, 4, 5, 16, 17, 20, 21, 2, 3, 6, 7, 18, 19, 22, 23];
        const ONE: [u8; 16] = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        let (two, one) = if places[0].is_multiple_of(8) { (0, ACROSS - 1) } else { (1 % ACROSS, 0) };
        // SAFETY: each array has 16 bytes.
        let [twos, ones] = [TWO, ONE].map(|order| unsafe { vld1q_u8(order.as_ptr()) });
        Self {
            two: vaddq_u8(twos, vdupq_n_u8(16 * two as u8)),
            one: vaddq_u8(ones, vdupq_n_u8(16 * one as u8)),
            places: [places[two], places[one]],
        }
    }
}

/// Stores units of the same four rows at `places` from `out`.
///
/// # Safety
/// Each place must fulfil the conditions of [`store_unit`].
#[inline]
#[target_feature(enable = "neon")]
unsafe fn store_units<T: Tile<DOWN, ACROSS>, const DOWN: usize, const ACROSS: usize>(
    units: [uint8x16_t; ACROSS],
    places: [usize; ACROSS],
    order: &Order,
    out: *mut u8,
) {
    let group = T::LAYOUT.group as usize;
    // SAFETY: the caller promises room for each unit. Two units of pairs fill the four rows' whole groups, which are 32
    // bytes.
    unsafe {
        if T::PAIRS {
            const { assert!(!T::PAIRS || (ACROSS == 3 && T::LAYOUT.group == 8)) }
            let units = uint8x16x3_t(units[0], units[1 % ACROSS], units[ACROSS - 1]);
            let [two, one] = order.places;
            vst1q_u8(out.add(two), vqtbl3q_u8(units, order.two));
            vst1q_u8(out.add(two + 16), vqtbl3q_u8(units, vaddq_u8(order.two, vdupq_n_u8(8))));
            return store_unit(group, vqtbl3q_u8(units, order.one), out.add(one));
        }
        unroll!(C < ACROSS => { store_unit(group, units[C], out.add(places[C])) });
    }
}
