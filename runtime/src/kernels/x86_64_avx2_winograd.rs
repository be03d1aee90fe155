//! AVX2 with half of the multiplications, for CPUs that multiply once a cycle while they add three times: AMD's Zen to Zen 2.
//!
//! Winograd's inner product (IEEE Transactions on Computers C-17, 1968): with `a` on the left and `b` on the right,
//!
//! ```text
//! a0 b0 + a1 b1 = (a0 + b1) (a1 + b0) - a0 a1 - b0 b1
//! ```
//!
//! where the products that are taken away belong to a row or a column alone. In 16 bits the sums are exact.

use super::x86_64_f16c as f16c;
use super::x86_64_planes::{self as planes, AT_ONCE, Left, Planes, Right, RowSums, Rows};
use super::x86_64_ymm::{self as ymm, RIGHT_PANELS, Sums, Tile};
use super::{Int8, Kernels, Product, x86_64_detect};
use crate::format::Layout;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx2-winograd",
    layout: Some(Winograd::LAYOUT),
    supported: x86_64_detect::avx2,
    suits: x86_64_detect::multiplies_once_a_cycle,
    int8: Int8 {
        right_panels: RIGHT_PANELS,
        quantise_rows: ymm::quantise_rows::<Winograd>,
        quantise_columns: ymm::quantise_columns::<Winograd>,
        add: ymm::add::<Winograd>,
        mix: ymm::mix::<Winograd>,
        gelu: ymm::gelu::<Winograd>,
        sums: ymm::sums::<Winograd>,
    },
    f16: f16c::F16C,
};

/// Sums of two, multiplied in pairs.
struct Winograd;

/// Vectors stay where they are, since there are no registers for them.
macro_rules! vectors {
    ($at:literal) => {
        ""
    };
}

/// Odd numbers are added to even ones in the vectors and even ones to odd ones.
macro_rules! number {
    ($broadcast:literal, $number:literal, $odd:literal, $at:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            $broadcast,
            " ymm12, [{numbers} + ",
            $number,
            " + ",
            $odd,
            "]\n",
            $broadcast,
            " ymm13, [{numbers} + ",
            $number,
            "]\n",
            sums!($at, 0, $a, 14, 15),
            sums!($at, 32, $b, 14, 15),
            sums!($at, 64, $c, 12, 13),
        )
    };
}

/// The numbers in `ymm12` and `ymm13` with a vector; `$x` and `$y` are overwritten.
macro_rules! sums {
    ($at:literal, $vector:literal, $sums:literal, $x:literal, $y:literal) => {
        concat!(
            "vpaddw ymm",
            $x,
            ", ymm12, [{vectors} + ",
            $at,
            " + ",
            $vector,
            "]\nvpaddw ymm",
            $y,
            ", ymm13, [{vectors} + ",
            $at,
            " + ",
            $vector,
            " + 96]\nvpmaddwd ymm",
            $x,
            ", ymm",
            $x,
            ", ymm",
            $y,
            "\nvpaddd ymm",
            $sums,
            ", ymm",
            $sums,
            ", ymm",
            $x,
            "\n",
        )
    };
}

impl Planes for Winograd {
    const OWN: bool = true;

    planes::functions!(vectors, number);
}

impl Tile for Winograd {
    const LAYOUT: Layout = Layout::DEFAULT;

    #[target_feature(enable = "avx2")]
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]) {
        planes::sum_up::<Self>(p, left, rows, sums);
    }
}
