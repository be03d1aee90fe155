//! The table for AVX2 CPUs that multiply once a cycle and add three times: AMD's Zen to Zen 2. It needs half of the
//! multiplications.
//!
//! The kernels compute Winograd's inner product (IEEE Transactions on Computers C-17, 1968). With `a` on the left and
//! `b` on the right,
//!
//! ```text
//! a0 b0 + a1 b1 = (a0 + b1) (a1 + b0) - a0 a1 - b0 b1
//! ```
//!
//! where the products that are subtracted belong to a row or a column alone. The sums in parentheses are exact in 16
//! bits.

use super::int8_pairs::{self, AT_ONCE, Left, Planes, Right, RowSums, Rows};
use super::tile_256::{self, RIGHT_PANELS, Sums, Tile};
use super::{detect, f16_f16c};
use crate::format::Layout;
use crate::kernels::operands::Product;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx2-winograd",
    layout: Some(Winograd::LAYOUT),
    supported: detect::avx2,
    suits: detect::multiplies_once_a_cycle,
    int8: Int8 {
        quantise_rows: tile_256::quantise_rows::<Winograd>,
        quantise_columns: tile_256::quantise_columns::<Winograd>,
        add: tile_256::add::<Winograd>,
        mix: tile_256::mix::<Winograd>,
        gelu: tile_256::gelu::<Winograd>,
        sums: tile_256::sums::<Winograd>,
        tiles: Int8Tiles { right_panels: RIGHT_PANELS, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_f16c::F16C,
};

/// Products of pairs of sums.
struct Winograd;

/// Loads no vector beforehand, since no register is free.
macro_rules! vectors {
    ($at:literal) => {
        ""
    };
}

/// Adds odd numbers to the vectors' even numbers, and even numbers to their odd numbers.
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

/// Adds the numbers in `ymm12` and `ymm13` to a vector's, multiplies, and adds the products to sums. `$x` and `$y` are
/// overwritten.
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

    int8_pairs::functions!(vectors, number);
}

impl Tile for Winograd {
    const LAYOUT: Layout = Layout::DEFAULT;

    #[target_feature(enable = "avx2")]
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]) {
        int8_pairs::sum_up::<Self>(p, left, rows, sums);
    }
}
