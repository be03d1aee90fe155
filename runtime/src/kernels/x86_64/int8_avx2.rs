//! The table for CPUs with AVX2. 8-bit numbers are widened to 16 bits and multiplied in pairs (`vpmaddwd`), which is
//! exact for all of them.

use super::int8_pairs::{self, AT_ONCE, Left, Planes, Right, RowSums, Rows};
use super::tile_256::{self, RIGHT_PANELS, Sums, Tile};
use super::{detect, f16_f16c};
use crate::format::Layout;
use crate::kernels::operands::Product;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx2",
    layout: Some(Avx2::LAYOUT),
    supported: detect::avx2,
    suits: || true,
    int8: Int8 {
        quantise_rows: tile_256::quantise_rows::<Avx2>,
        quantise_columns: tile_256::quantise_columns::<Avx2>,
        add: tile_256::add::<Avx2>,
        mix: tile_256::mix::<Avx2>,
        gelu: tile_256::gelu::<Avx2>,
        sums: tile_256::sums::<Avx2>,
        tiles: Int8Tiles { right_panels: RIGHT_PANELS, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_f16c::F16C,
};

/// Products of pairs of 16-bit numbers.
struct Avx2;

/// Keeps the even numbers of the first vector in a register, so that the loop does not wait for loads.
macro_rules! vectors {
    ($at:literal) => {
        concat!("vmovdqa ymm14, [{vectors} + ", $at, "]\n")
    };
}

/// Multiplies even numbers by even numbers, and odd numbers by odd numbers.
macro_rules! number {
    ($broadcast:literal, $number:literal, $odd:literal, $at:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            $broadcast,
            " ymm12, [{numbers} + ",
            $number,
            "]\n",
            sums!("ymm14", $a),
            sums!("[{vectors} + ", $at, " + 32]", $b),
            sums!("[{vectors} + ", $at, " + 64]", $c),
            $broadcast,
            " ymm12, [{numbers} + ",
            $number,
            " + ",
            $odd,
            "]\n",
            sums!("[{vectors} + ", $at, " + 96]", $a),
            sums!("[{vectors} + ", $at, " + 128]", $b),
            sums!("[{vectors} + ", $at, " + 160]", $c),
        )
    };
}

/// Multiplies the numbers in `ymm12` by a vector, and adds the products to sums.
macro_rules! sums {
    ($vector:literal, $sums:literal) => {
        sums!($vector, "", "", $sums)
    };
    ($vector:literal, $at:literal, $behind:literal, $sums:literal) => {
        concat!("vpmaddwd ymm13, ymm12, ", $vector, $at, $behind, "\nvpaddd ymm", $sums, ", ymm", $sums, ", ymm13\n")
    };
}

impl Planes for Avx2 {
    const OWN: bool = false;

    int8_pairs::functions!(vectors, number);
}

impl Tile for Avx2 {
    const LAYOUT: Layout = Layout::DEFAULT;

    #[target_feature(enable = "avx2")]
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]) {
        int8_pairs::sum_up::<Self>(p, left, rows, sums);
    }
}
