//! The table for cores with matrix multiplication (Neoverse N2, V1, Cortex-A510, A710 and later): `smmla`, on
//! twenty-four registers of two rows and two columns each.

use core::arch::aarch64::*;

use super::detect::{Extension, has};
use super::tile::{self, Ahead, Tile, Unit};
use super::tile_8x12::{eight_times, multiply_8x12};
use super::{f16_native, gelu};
use crate::format::Layout;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-i8mm",
    layout: Some(I8mm::LAYOUT),
    // Every core with matrix multiplication has arithmetic with 16-bit floating-point numbers too.
    supported: || has(Extension::I8mm) && has(Extension::Fp16),
    suits: || true,
    int8: Int8 {
        quantise_rows: tile::quantise_rows::<I8mm, 2, 3>,
        quantise_columns: tile::quantise_columns::<I8mm, 2, 3>,
        add: tile::add::<I8mm, 2, 3>,
        mix: tile::mix::<I8mm, 2, 3>,
        gelu: gelu::gelu::<I8mm, 2, 3>,
        sums: tile::sums::<I8mm, 2, 3>,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_native::FP16,
};

/// Tiles of eight rows and twelve columns.
struct I8mm;

/// Multiplies two rows by two columns.
macro_rules! product {
    ($sum:literal, $left:literal, $right:literal) => {
        concat!("smmla v", $sum, ".4s, v", $left, ".16b, v", $right, ".16b\n")
    };
}

/// Multiplies four rows by four columns, whose sums are in four registers.
macro_rules! unit {
    ($a:literal $b:literal $c:literal $d:literal, $top:literal $bottom:literal, $left:literal $right:literal) => {
        concat!(
            product!($a, $top, $left),
            product!($b, $top, $right),
            product!($c, $bottom, $left),
            product!($d, $bottom, $right),
        )
    };
}

/// Multiplies eight elements of the contraction. The left rows are in v24 to v27, in pairs, and the right columns pass
/// through v28 to v31.
macro_rules! eight {
    () => {
        concat!(
            "ld1 {{v24.16b-v27.16b}}, [{left}], #64\n",
            "ld1 {{v28.16b-v31.16b}}, [{right}], #64\n",
            unit!(0 1 2 3, 24 25, 28 29),
            unit!(12 13 14 15, 26 27, 28 29),
            unit!(4 5 6 7, 24 25, 30 31),
            unit!(16 17 18 19, 26 27, 30 31),
            "ld1 {{v28.16b-v29.16b}}, [{right}], #32\n",
            unit!(8 9 10 11, 24 25, 28 29),
            unit!(20 21 22 23, 26 27, 28 29),
        )
    };
}

/// Multiplies eight elements of the contraction for the top four rows.
macro_rules! top_eight {
    () => {
        concat!(
            "ldp q24, q25, [{left}], #64\n",
            "ld1 {{v28.16b-v31.16b}}, [{right}], #64\n",
            unit!(0 1 2 3, 24 25, 28 29),
            unit!(4 5 6 7, 24 25, 30 31),
            "ld1 {{v28.16b-v29.16b}}, [{right}], #32\n",
            unit!(8 9 10 11, 24 25, 28 29),
        )
    };
}

impl Tile<2, 3> for I8mm {
    const LAYOUT: Layout = Layout::I8MM;
    const PAIRS: bool = true;

    /// Turns registers that hold a row into registers that hold two rows and two columns, and the other way round.
    #[inline(always)]
    fn arrange(mut units: [[Unit; 3]; 2]) -> [[Unit; 3]; 2] {
        for unit in units.as_flattened_mut() {
            // SAFETY: every aarch64 CPU has NEON.
            *unit = unsafe { turn(*unit) };
        }
        units
    }

    multiply_8x12! {
        extension: "i8mm", step: 8, log_many: 3,
        top: { many: eight_times!(top_eight!()), one: top_eight!() },
        all: { many: eight_times!(eight!()), one: eight!() },
    }
}

/// Turns a unit of rows into a unit of pairs, or the other way round.
#[inline]
#[target_feature(enable = "neon")]
fn turn([a, b, c, d]: Unit) -> Unit {
    let pair = |x, y| {
        let (x, y) = (vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y));
        [vreinterpretq_s32_s64(vzip1q_s64(x, y)), vreinterpretq_s32_s64(vzip2q_s64(x, y))]
    };
    let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
    [a, b, c, d]
}
