//! The table for cores with dot products that issue two instructions at a time, in order: Cortex-A55.
//!
//! On these cores a dot product shares its cycle with one other instruction, such as a load of 64 bits or the insertion
//! of a register's upper half. A load of 128 bits takes two cycles and shares them with nothing. So the unrolled loop
//! loads all but the very first 16 bytes in halves, long before their use and between the products; the upper half
//! passes through a general register. Four elements of the contraction take 24 cycles in this way, and 36 with the
//! loads of `int8_dotprod`.
//!
//! The rules are from ncnn's `docs/developer-guide/arm-a53-a55-dual-issue.md`. ONNX Runtime (its pull request 10754),
//! ruy and XNNPACK load in this way on these cores.

use super::detect::issues_in_order;
use super::int8_dotprod::{self, bottom, row, step, top, top_step};
use super::tile::{self, Ahead, Tile, Unit};
use super::tile_8x12::{eight_times, multiply_8x12};
use super::{f16_native, gelu};
use crate::format::Layout;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-dotprod-in-order",
    layout: Some(InOrder::LAYOUT),
    supported: int8_dotprod::KERNELS.supported,
    suits: issues_in_order,
    int8: Int8 {
        quantise_rows: int8_dotprod::KERNELS.int8.quantise_rows,
        quantise_columns: int8_dotprod::KERNELS.int8.quantise_columns,
        add: tile::add::<InOrder, 2, 3>,
        mix: tile::mix::<InOrder, 2, 3>,
        gelu: gelu::gelu::<InOrder, 2, 3>,
        sums: int8_dotprod::KERNELS.int8.sums,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_native::FP16,
};

/// Tiles of eight rows and twelve columns, like those of `int8_dotprod`.
struct InOrder;

/// Multiplies one row by four columns.
macro_rules! product {
    ($sum:literal, $right:literal, $left:literal, $lane:literal) => {
        concat!("sdot v", $sum, ".4s, v", $right, ".16b, v", $left, ".4b[", $lane, "]\n")
    };
}

/// Emits one of the three instructions that load 16 bytes: a load of the lower half, a load of the upper half to a
/// general register, and the insertion of the upper half. Their place can also be empty, or hold the advance to the
/// next four steps.
macro_rules! part {
    ($part:tt, $by_way_of:literal, ()) => {
        ""
    };
    (lower, $by_way_of:literal, advance) => {
        "add {left}, {left}, #128\n"
    };
    (upper, $by_way_of:literal, advance) => {
        "add {right}, {right}, #192\n"
    };
    (insert, $by_way_of:literal, advance) => {
        ""
    };
    (lower, $by_way_of:literal, ($from:literal $to:literal $at:literal)) => {
        concat!("ldr d", $to, ", [{", $from, "}, #", $at, "]\n")
    };
    (upper, $by_way_of:literal, ($from:literal $to:literal $at:literal)) => {
        concat!("ldr {", $by_way_of, "}, [{", $from, "}, #", $at, " + 8]\n")
    };
    (insert, $by_way_of:literal, ($from:literal $to:literal $at:literal)) => {
        concat!("ins v", $to, ".d[1], {", $by_way_of, "}\n")
    };
}

/// Multiplies a right register by the rows of two left registers, and loads 16 bytes of either side meanwhile.
macro_rules! four_columns {
    ([$top:literal $bottom:literal] $right:literal, [$a:literal $b:literal $c:literal $d:literal] [$e:literal $f:literal $g:literal $h:literal], $from_right:tt $from_left:tt) => {
        concat!(
            product!($a, $right, $top, 0),
            part!(lower, "upper_right", $from_right),
            product!($b, $right, $top, 1),
            part!(upper, "upper_right", $from_right),
            product!($c, $right, $top, 2),
            part!(lower, "upper_left", $from_left),
            product!($d, $right, $top, 3),
            part!(upper, "upper_left", $from_left),
            product!($e, $right, $bottom, 0),
            product!($f, $right, $bottom, 1),
            part!(insert, "upper_right", $from_right),
            product!($g, $right, $bottom, 2),
            product!($h, $right, $bottom, 3),
            part!(insert, "upper_left", $from_left),
        )
    };
}

/// Multiplies four elements of the contraction. The arguments say what is loaded while each right register is in use.
macro_rules! ahead {
    ($left:tt, $a:literal $b:literal $c:literal, [$($first:tt)*] [$($second:tt)*] [$($third:tt)*]) => {
        concat!(
            four_columns!($left $a, [0 1 2 3] [12 13 14 15], $($first)*),
            four_columns!($left $b, [4 5 6 7] [16 17 18 19], $($second)*),
            four_columns!($left $c, [8 9 10 11] [20 21 22 23], $($third)*),
        )
    };
}

/// Does four steps.
///
/// Left rows are in v24 and v25 and in v26 and v27 by turns, and right columns pass through v28 to v31. At the start
/// v24, v25 and the first two right registers are loaded. The arguments load the same for the steps that come after
/// these.
macro_rules! four_steps {
    ($after_left:tt $after_right:tt $bottom_after_left:tt $second_after_right:tt) => {
        concat!(
            ahead!([24 25], 28 29 30, [("right" 30 32) ("left" 26 32)] [("right" 31 48) ("left" 27 48)] [("right" 28 64) ()]),
            ahead!([26 27], 31 28 29, [("right" 29 80) ("left" 24 64)] [("right" 30 96) ("left" 25 80)] [("right" 31 112) ()]),
            ahead!([24 25], 30 31 28, [("right" 28 128) ("left" 26 96)] [("right" 29 144) ("left" 27 112)] [("right" 30 160) ()]),
            ahead!([26 27], 29 30 31,
                [("right" 31 176) $after_left] [$after_right $bottom_after_left] [$second_after_right advance]),
        )
    };
}

impl Tile<2, 3> for InOrder {
    const LAYOUT: Layout = Layout::DEFAULT;

    multiply_8x12! {
        extension: "dotprod", step: 4, log_many: 4,
        top: {
            many: eight_times!(concat!(
                "ldr q24, [{left}], #32\n",
                "ldr q26, [{right}]\n",
                "ldr q27, [{right}, #16]\n",
                "ldr q28, [{right}, #32]\n",
                "ldr q25, [{left}], #32\n",
                "ldr q29, [{right}, #48]\n",
                "ldr q30, [{right}, #64]\n",
                "ldr q31, [{right}, #80]\n",
                top!(24, 26 27 28),
                "add {right}, {right}, #96\n",
                top!(25, 29 30 31),
            )),
            one: top_step!()
        },
        all: {
            begin: concat!("ldp q24, q25, [{left}]\n", "ldp q28, q29, [{right}]\n"),
            general: { upper_left = out(reg) _, upper_right = out(reg) _, after_left = out(reg) _, after_right = out(reg) _, },
            many: concat!(
                ".rept 3\n",
                four_steps!(("left" 24 128) ("right" 28 192) ("left" 25 144) ("right" 29 208)),
                ".endr\n",
                // No operands follow those of the last steps, which therefore load their own operands once more.
                "cmp {n}, #1\n",
                "add {after_left}, {left}, #128\n",
                "add {after_right}, {right}, #192\n",
                "csel {after_left}, {left}, {after_left}, eq\n",
                "csel {after_right}, {right}, {after_right}, eq\n",
                four_steps!(("after_left" 24 0) ("after_right" 28 0) ("after_left" 25 16) ("after_right" 29 16)),
            ),
            one: step!(),
        },
    }
}
