//! The table for cores with dot products (Cortex-A76 and later, Neoverse): `sdot` by element, on twenty-four registers
//! of sums.

use super::detect::{Extension, has};
use super::tile::{self, Ahead, Tile, Unit};
use super::tile_8x12::{eight_times, multiply_8x12};
use super::{f16_native, gelu};
use crate::format::Layout;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-dotprod",
    layout: Some(Dotprod::LAYOUT),
    // Every core with dot products has arithmetic with 16-bit floating-point numbers too.
    supported: || has(Extension::Dotprod) && has(Extension::Fp16),
    suits: || true,
    int8: Int8 {
        quantise_rows: tile::quantise_rows::<Dotprod, 2, 3>,
        quantise_columns: tile::quantise_columns::<Dotprod, 2, 3>,
        add: tile::add::<Dotprod, 2, 3>,
        mix: tile::mix::<Dotprod, 2, 3>,
        gelu: gelu::gelu::<Dotprod, 2, 3>,
        sums: tile::sums::<Dotprod, 2, 3>,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_native::FP16,
};

/// Tiles of eight rows and twelve columns.
struct Dotprod;

/// Multiplies one row by twelve columns.
macro_rules! row {
    ($left:literal [$lane:literal], $a:literal $b:literal $c:literal, $sum_a:literal $sum_b:literal $sum_c:literal) => {
        concat!(
            "sdot v", $sum_a, ".4s, v", $a, ".16b, v", $left, ".4b[", $lane, "]\n", "sdot v", $sum_b, ".4s, v", $b,
            ".16b, v", $left, ".4b[", $lane, "]\n", "sdot v", $sum_c, ".4s, v", $c, ".16b, v", $left, ".4b[", $lane,
            "]\n",
        )
    };
}

/// Multiplies the top four rows, in a left register, by three right registers.
macro_rules! top {
    ($left:literal, $a:literal $b:literal $c:literal) => {
        concat!(
            row!($left[0], $a $b $c, 0 4 8),
            row!($left[1], $a $b $c, 1 5 9),
            row!($left[2], $a $b $c, 2 6 10),
            row!($left[3], $a $b $c, 3 7 11),
        )
    };
}

/// Multiplies the bottom four rows, in a left register, by three right registers.
macro_rules! bottom {
    ($left:literal, $a:literal $b:literal $c:literal) => {
        concat!(
            row!($left[0], $a $b $c, 12 16 20),
            row!($left[1], $a $b $c, 13 17 21),
            row!($left[2], $a $b $c, 14 18 22),
            row!($left[3], $a $b $c, 15 19 23),
        )
    };
}

/// Multiplies four elements of the contraction for the top rows.
macro_rules! top_step {
    () => {
        concat!(
            "ldr q24, [{left}], #32\n",
            "ldp q26, q27, [{right}], #48\n",
            "ldr q28, [{right}, #-16]\n",
            top!(24, 26 27 28),
        )
    };
}

/// Multiplies four elements of the contraction for all rows.
macro_rules! step {
    () => {
        concat!(
            "ldp q24, q25, [{left}], #32\n",
            "ld1 {{v28.16b-v30.16b}}, [{right}], #48\n",
            top!(24, 28 29 30),
            bottom!(25, 28 29 30),
        )
    };
}

pub(super) use {bottom, row, step, top, top_step};

impl Tile<2, 3> for Dotprod {
    const LAYOUT: Layout = Layout::DEFAULT;

    multiply_8x12! {
        extension: "dotprod", step: 4, log_many: 4,
        top: {
            many: eight_times!(concat!(
                "ldr q24, [{left}], #32\n",
                "ldp q26, q27, [{right}], #48\n",
                "ldr q28, [{right}, #-16]\n",
                top!(24, 26 27 28),
                "ldr q25, [{left}], #32\n",
                "ldp q29, q30, [{right}], #48\n",
                "ldr q31, [{right}, #-16]\n",
                top!(25, 29 30 31),
            )),
            one: top_step!()
        },
        all: {
            many: eight_times!(concat!(
                "ld1 {{v24.16b-v27.16b}}, [{left}], #64\n",
                "ld1 {{v28.16b-v30.16b}}, [{right}], #48\n",
                top!(24, 28 29 30),
                bottom!(25, 28 29 30),
                "ld1 {{v28.16b-v30.16b}}, [{right}], #48\n",
                top!(26, 28 29 30),
                bottom!(27, 28 29 30),
            )),
            one: step!()
        },
    }
}
