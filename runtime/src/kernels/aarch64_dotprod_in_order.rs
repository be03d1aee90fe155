//! Dot products for cores that take one instruction after the other (Cortex-A55). What the loop in `aarch64_dotprod` loads by threes and
//! fours, which is fewer instructions, holds such a core up. Here, where the loop is unrolled, every load stands by itself and, but for a
//! block's first ones, eight instructions or more before its use.

use super::aarch64::{self, Ahead, Tile, Unit};
use super::aarch64_8x12::{eight_times, multiply_8x12};
use super::aarch64_detect::is_cortex_a55;
use super::aarch64_dotprod::{self, bottom, row, step, top, top_step};
use super::{Int8, Kernels, aarch64_fp16, aarch64_gelu};
use crate::format::Layout;

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-dotprod-in-order",
    layout: Some(InOrder::LAYOUT),
    supported: aarch64_dotprod::KERNELS.supported,
    suits: is_cortex_a55,
    int8: Int8 {
        right_panels: 1,
        quantise_rows: aarch64_dotprod::KERNELS.int8.quantise_rows,
        quantise_columns: aarch64_dotprod::KERNELS.int8.quantise_columns,
        add: aarch64::add::<InOrder, 2, 3>,
        mix: aarch64::mix::<InOrder, 2, 3>,
        gelu: aarch64_gelu::gelu::<InOrder, 2, 3>,
        sums: aarch64_dotprod::KERNELS.int8.sums,
    },
    f16: aarch64_fp16::FP16,
};

/// Eight rows and twelve columns, as `Dotprod`.
struct InOrder;

/// Loads 16 bytes.
macro_rules! load {
    ($to:literal, $from:literal, $at:literal) => {
        concat!("ldr q", $to, ", [{", $from, "}, #", $at, "]\n")
    };
}

/// A right register times the rows of two left ones, with loads in between.
macro_rules! four_columns {
    ([$top:literal $bottom:literal] $right:literal, [$a:literal $b:literal $c:literal $d:literal] [$e:literal $f:literal $g:literal $h:literal], $loads:expr) => {
        concat!(
            product!($a, $right, $top, 0),
            $loads,
            product!($b, $right, $top, 1),
            product!($c, $right, $top, 2),
            product!($d, $right, $top, 3),
            product!($e, $right, $bottom, 0),
            product!($f, $right, $bottom, 1),
            product!($g, $right, $bottom, 2),
            product!($h, $right, $bottom, 3),
        )
    };
}

macro_rules! product {
    ($sum:literal, $right:literal, $left:literal, $lane:literal) => {
        concat!("sdot v", $sum, ".4s, v", $right, ".16b, v", $left, ".4b[", $lane, "]\n")
    };
}

/// Four columns of the contraction, with what is loaded while a right register is in use.
macro_rules! ahead {
    ($left:tt, $a:literal $b:literal $c:literal, $first:expr, $second:expr, $third:expr) => {
        concat!(
            four_columns!($left $a, [0 1 2 3] [12 13 14 15], $first),
            four_columns!($left $b, [4 5 6 7] [16 17 18 19], $second),
            four_columns!($left $c, [8 9 10 11] [20 21 22 23], $third),
        )
    };
}

/// Four steps. Left registers alternate between v24, v25 and v26, v27; v28 to v31 pass on to the right ones, of which two are loaded when
/// this begins. The last three arguments load what comes after it.
macro_rules! four_steps {
    ($first:expr, $second:expr, $third:expr) => {
        concat!(
            ahead!([24 25], 28 29 30,
                concat!(load!(30, "right", 32), load!(26, "left", 32)),
                concat!(load!(31, "right", 48), load!(27, "left", 48)),
                load!(28, "right", 64)),
            ahead!([26 27], 31 28 29,
                concat!(load!(29, "right", 80), load!(24, "left", 64)),
                concat!(load!(30, "right", 96), load!(25, "left", 80)),
                load!(31, "right", 112)),
            ahead!([24 25], 30 31 28,
                concat!(load!(28, "right", 128), load!(26, "left", 96)),
                concat!(load!(29, "right", 144), load!(27, "left", 112)),
                load!(30, "right", 160)),
            ahead!([26 27], 29 30 31, concat!(load!(31, "right", 176), $first), $second, $third),
            "add {left}, {left}, #128\n",
            "add {right}, {right}, #192\n",
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
            many: concat!(
                load!(24, "left", 0),
                load!(28, "right", 0),
                load!(25, "left", 16),
                load!(29, "right", 16),
                ".rept 3\n",
                four_steps!(
                    load!(24, "left", 128),
                    concat!(load!(28, "right", 192), load!(25, "left", 144)),
                    load!(29, "right", 208)
                ),
                ".endr\n",
                four_steps!("", "", ""),
            ),
            one: step!()
        },
    }
}
