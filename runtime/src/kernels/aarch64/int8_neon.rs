//! The table for every 64-bit ARM core. It suits Cortex-A57 and A72 best.
//!
//! Two products of 8-bit numbers are summed in 16 bits, which cannot overflow because no weight is -128. Such sums are
//! added up in 32 bits.

use core::arch::aarch64::*;
use core::arch::asm;

use super::tile::{self, Ahead, Tile, Unit, prefetch};
use super::{f16_widening, gelu};
use crate::format::Layout;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-neon",
    layout: Some(Neon::LAYOUT),
    supported: || true,
    suits: || true,
    int8: Int8 {
        quantise_rows: tile::quantise_rows::<Neon, 4, 1>,
        quantise_columns: tile::quantise_columns::<Neon, 4, 1>,
        add: tile::add::<Neon, 4, 1>,
        mix: tile::mix::<Neon, 4, 1>,
        gelu: gelu::gelu::<Neon, 4, 1>,
        sums: tile::sums::<Neon, 4, 1>,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: f16_widening::NEON,
};

/// Tiles of four panels of four rows, and of four columns.
struct Neon;

/// Multiplies the first eight numbers.
macro_rules! first {
    ($to:literal, $left:literal $right:literal) => {
        concat!("smull v", $to, ".8h, v", $left, ".8b, v", $right, ".8b\n")
    };
}

/// Multiplies the last eight numbers and adds the products to those of the first eight.
macro_rules! second {
    ($to:literal, $left:literal $right:literal) => {
        concat!("smlal2 v", $to, ".8h, v", $left, ".16b, v", $right, ".16b\n")
    };
}

/// Adds neighbouring 16-bit sums to 32-bit sums.
macro_rules! add {
    ($to:literal, $from:literal) => {
        concat!("sadalp v", $to, ".4s, v", $from, ".8h\n")
    };
}

/// Multiplies sixteen elements of the contraction.
///
/// The left rows are in v16 to v19, the right columns in v20 to v23, and the sums of row `r` and column `c` in register
/// `4 * r + c`. Every addition comes three products after its own product, so that cores that execute in order need not
/// wait. The last three additions are left to the next sixteen elements.
macro_rules! sixteen {
    () => {
        concat!(
            "ldp q16, q17, [{left}], #64\n",
            "ldr q20, [{right}], #64\n",
            "ldp q18, q19, [{left}, #-32]\n",
            first!(24, 16 20),
            first!(25, 17 20),
            "ldr q21, [{right}, #-48]\n",
            first!(26, 18 20),
            first!(27, 19 20), second!(24, 16 20), add!(7, 29),
            first!(28, 16 21), second!(25, 17 20), add!(11, 30),
            first!(29, 17 21), second!(26, 18 20), add!(15, 31),
            "ldr q22, [{right}, #-32]\n",
            first!(30, 18 21), second!(27, 19 20), add!(0, 24),
            first!(31, 19 21), second!(28, 16 21), add!(4, 25),
            first!(24, 16 22), second!(29, 17 21), add!(8, 26),
            first!(25, 17 22), second!(30, 18 21), add!(12, 27),
            "ldr q23, [{right}, #-16]\n",
            first!(26, 18 22), second!(31, 19 21), add!(1, 28),
            first!(27, 19 22), second!(24, 16 22), add!(5, 29),
            first!(28, 16 23), second!(25, 17 22), add!(9, 30),
            first!(29, 17 23), second!(26, 18 22), add!(13, 31),
            first!(30, 18 23), second!(27, 19 22), add!(2, 24),
            first!(31, 19 23), second!(28, 16 23), add!(6, 25),
            second!(29, 17 23), add!(10, 26),
            second!(30, 18 23), add!(14, 27),
            second!(31, 19 23), add!(3, 28),
        )
    };
}

/// Defines `panel`, which multiplies one left and one right panel and gives four numbers to be added up for each row
/// and column.
///
/// The instructions find the panels at `{left}` and `{right}` and sixteen times `{sixteens}` elements of the
/// contraction. They leave the four numbers of row `r` and column `c` in register `4 * r + c`, which is zero at first.
/// They may use the other vector registers and `{n}`.
macro_rules! define_panel {
    ([$($instructions:expr),* $(,)?], $($registers:tt)*) => {
        /// # Safety
        /// `left` and `right` must point to panels of `k` elements of the contraction.
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn panel(left: *const u8, right: *const u8, k: usize) -> Panel {
            let (a0, a1, a2, a3);
            let (b0, b1, b2, b3);
            let (c0, c1, c2, c3);
            let (d0, d1, d2, d3);
            // SAFETY: for each sixteen elements the instructions read 64 bytes of each panel, which has that many.
            unsafe {
                asm!(
                    "movi v0.4s, #0", "movi v1.4s, #0", "movi v2.4s, #0", "movi v3.4s, #0",
                    "movi v4.4s, #0", "movi v5.4s, #0", "movi v6.4s, #0", "movi v7.4s, #0",
                    "movi v8.4s, #0", "movi v9.4s, #0", "movi v10.4s, #0", "movi v11.4s, #0",
                    "movi v12.4s, #0", "movi v13.4s, #0", "movi v14.4s, #0", "movi v15.4s, #0",
                    $($instructions,)*
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    sixteens = in(reg) k / 16,
                    n = out(reg) _,
                    $($registers)*
                    out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
                    out("v4") b0, out("v5") b1, out("v6") b2, out("v7") b3,
                    out("v8") c0, out("v9") c1, out("v10") c2, out("v11") c3,
                    out("v12") d0, out("v13") d1, out("v14") d2, out("v15") d3,
                    out("v16") _, out("v17") _, out("v18") _, out("v19") _,
                    out("v20") _, out("v21") _, out("v22") _, out("v23") _,
                    out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nostack, readonly),
                );
            }
            [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]]
        }
    };
}

define_panel!([
    // The first step adds three products of the step before, which are zeros.
    "movi v29.4s, #0",
    "movi v30.4s, #0",
    "movi v31.4s, #0",
    "lsr {n}, {sixteens}, #1",
    "cbz {n}, 3f",
    "2:",
    ".rept 2",
    sixteen!(),
    ".endr",
    "subs {n}, {n}, #1",
    "b.ne 2b",
    "3:",
    "tbz {sixteens}, #0, 4f",
    sixteen!(),
    "4:",
    add!(7, 29),
    add!(11, 30),
    add!(15, 31),
],);

/// Four numbers to be added up for each row and column.
pub(super) type Panel = [[int32x4_t; 4]; 4];

/// Implements the products of a [`Tile`] of four units, each of which is a left panel, with the `panel` that the file
/// defines.
macro_rules! multiply_by_panels {
    () => {
        #[inline(always)]
        unsafe fn multiply(
            left: *const u8,
            right: *const u8,
            k: usize,
            rows: usize,
            start: &[[Unit; 1]; 4],
            ahead: &mut Ahead,
        ) -> [[Unit; 1]; 4] {
            let mut sums = *start;
            let (mut from, share) = (ahead.next(k), k / 64 * ahead.step / 4);
            for (index, [unit]) in sums.iter_mut().enumerate().take(rows.div_ceil(4)) {
                from = prefetch(from, share);
                // SAFETY: the caller promises as many panels at `left` as there are units of wanted rows, and one panel
                // at `right`.
                unsafe { add_panel(unit, panel(left.add(index * 4 * k), right, k)) };
            }
            sums
        }
    };
}

impl Tile<4, 1> for Neon {
    const LAYOUT: Layout = Layout::NEON;

    multiply_by_panels!();
}

/// Adds up the four numbers of each row and column, and adds them to a unit.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add_panel(unit: &mut Unit, panel: Panel) {
    for (sums, [a, b, c, d]) in unit.iter_mut().zip(panel) {
        *sums = vaddq_s32(*sums, vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d)));
    }
}

pub(super) use {add, define_panel, first, multiply_by_panels, second, sixteen};
