//! The table for cores without dot products that issue two instructions at a time, in order: Cortex-A53 and the first
//! Cortex-A55.
//!
//! On these cores an instruction on 128 bits shares its cycle only with a load to a general register or an integer
//! instruction after it. A load of 128 bits takes two cycles and shares them with nothing. A load of 64 bits takes one
//! cycle, which it can share with the insertion of the upper half of another register. So every 16 bytes are loaded in
//! halves, and the upper half passes through a general register. Sixteen elements of the contraction take 56 cycles in
//! this way, and 64 with the loads of `int8_neon`.
//!
//! The rules were measured on a Cortex-A53. They are from ncnn's `docs/developer-guide/arm-a53-a55-dual-issue.md` and
//! the instruction benchmarks of <https://github.com/daniestevez/qsdr>.

use core::arch::asm;

use super::detect::issues_in_order;
use super::int8_neon::{self, Panel, add, add_panel, define_panel, first, multiply_by_panels, second, sixteen};
use super::tile::{self, Ahead, Tile, Unit, prefetch};
use super::{f16_widening, gelu};
use crate::format::Layout;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-neon-in-order",
    layout: Some(InOrder::LAYOUT),
    supported: || true,
    suits: issues_in_order,
    int8: Int8 {
        quantise_rows: int8_neon::KERNELS.int8.quantise_rows,
        quantise_columns: int8_neon::KERNELS.int8.quantise_columns,
        add: tile::add::<InOrder, 4, 1>,
        mix: tile::mix::<InOrder, 4, 1>,
        gelu: gelu::gelu::<InOrder, 4, 1>,
        sums: int8_neon::KERNELS.int8.sums,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_widening::NEON,
};

/// Tiles of four panels of four rows, and of four columns, like those of `int8_neon`.
struct InOrder;

/// Begins to load 16 bytes, and completes the load that was begun before it. The upper halves of both pass through
/// general registers.
macro_rules! load {
    ($to:literal, $from:literal, $at:literal, $by_way_of:literal, completes $completed:literal $by_way_of_last:literal) => {
        concat!(
            "ldr ",
            $by_way_of,
            ", [",
            $from,
            ", #",
            $at,
            " + 8]\n",
            "ins v",
            $completed,
            ".d[1], ",
            $by_way_of_last,
            "\n",
            "ldr d",
            $to,
            ", [",
            $from,
            ", #",
            $at,
            "]\n",
        )
    };
}

/// Multiplies a right column by four rows, in v16 to v19. The last of the second halves and three additions are left to
/// the next column, and those of the column before are done here. `loads` are the loads of a right column and of a left
/// row.
macro_rules! column {
    (
        [$a:literal $b:literal $c:literal $d:literal] $right:literal, behind [$last:literal $last_right:literal],
        sums: [$sum_b:literal $sum_c:literal $sum_d:literal] $sum_a:literal,
        loads: $right_load:expr, $left_load:expr
    ) => {
        concat!(
            first!(16, $a $right),
            $right_load,
            second!(19, $last $last_right), add!($sum_b, 17),
            first!(17, $b $right), second!(16, $a $right), add!($sum_c, 18),
            first!(18, $c $right),
            $left_load,
            second!(17, $b $right), add!($sum_d, 19),
            first!(19, $d $right), second!(18, $c $right), add!($sum_a, 16),
        )
    };
}

/// Begins to load a right column, and completes a left row.
macro_rules! right {
    ($to:literal, $at:literal, completes $row:literal) => {
        load!($to, "{right}", $at, "{upper_right}", completes $row "{upper_left}")
    };
}

/// Begins to load a left row, and completes a right column.
macro_rules! left {
    ($to:literal, $at:literal, completes $column:literal) => {
        load!($to, "{left}", $at, "{upper_left}", completes $column "{upper_right}")
    };
}

/// Multiplies twice sixteen elements of the contraction.
///
/// Left rows are in v20 to v23, then in v24 to v27, right columns in v28 to v31, and the sums of row `r` and column `c`
/// in register `4 * r + c`. At the start the first right column and the first four rows are loaded, except that the
/// upper half of the second row is still in `{upper_left}`. From the middle on, those of the next 128 bytes are loaded.
/// The last time, the same ones are loaded once more, so that nothing after the panels is read.
macro_rules! thirty_two {
    () => {
        concat!(
            column!([20 21 22 23] 28, behind [27 31], sums: [7 11 15] 0,
                loads: right!(29, 16, completes 21), left!(27, 112, completes 29)),
            "subs {n}, {n}, #1\n",
            column!([20 21 22 23] 29, behind [23 28], sums: [4 8 12] 1,
                loads: right!(30, 32, completes 27), left!(26, 96, completes 30)),
            "csel {step}, {step}, xzr, ne\n",
            column!([20 21 22 23] 30, behind [23 29], sums: [5 9 13] 2,
                loads: right!(31, 48, completes 26), left!(24, 64, completes 31)),
            column!([20 21 22 23] 31, behind [23 30], sums: [6 10 14] 3,
                loads: right!(28, 64, completes 24), left!(25, 80, completes 28)),
            "add {left}, {left}, {step}\n",
            column!([24 25 26 27] 28, behind [23 31], sums: [7 11 15] 0,
                loads: right!(29, 80, completes 25), left!(23, 48, completes 29)),
            // Left panels come from the L2 cache, so that the next lines are asked for early.
            "prfm pldl1keep, [{left}, #256]\n",
            column!([24 25 26 27] 29, behind [27 28], sums: [4 8 12] 1,
                loads: right!(30, 96, completes 23), left!(22, 32, completes 30)),
            "prfm pldl1keep, [{left}, #320]\n",
            column!([24 25 26 27] 30, behind [27 29], sums: [5 9 13] 2,
                loads: right!(31, 112, completes 22), left!(20, 0, completes 31)),
            "add {right}, {right}, {step}\n",
            column!([24 25 26 27] 31, behind [27 30], sums: [6 10 14] 3,
                loads: right!(28, 0, completes 20), left!(21, 16, completes 28)),
        )
    };
}

define_panel!(
    [
        "lsr {n}, {sixteens}, #1",
        "cbz {n}, 3f",
        // The first column adds up and completes the products of a column before it, which are zeros.
        "movi v17.4s, #0", "movi v18.4s, #0", "movi v19.4s, #0", "movi v31.4s, #0",
        "ldp q20, q21, [{left}]",
        "ldp q22, q23, [{left}, #32]",
        "ldr q28, [{right}]",
        "ldr {upper_left}, [{left}, #24]",
        "mov {step}, #128",
        "2:",
        thirty_two!(),
        "b.ne 2b",
        second!(19, 27 31),
        add!(7, 17), add!(11, 18), add!(15, 19),
        "add {left}, {left}, #128",
        "add {right}, {right}, #128",
        "3:",
        "tbz {sixteens}, #0, 4f",
        "movi v29.4s, #0", "movi v30.4s, #0", "movi v31.4s, #0",
        sixteen!(),
        add!(7, 29), add!(11, 30), add!(15, 31),
        "4:",
    ],
    step = out(reg) _,
    upper_left = out(reg) _,
    upper_right = out(reg) _,
);

impl Tile<4, 1> for InOrder {
    const LAYOUT: Layout = Layout::NEON;

    multiply_by_panels!();
}
