//! aarch64 with dot products (Cortex-A76 and later, Neoverse): `sdot` by element, twenty-four sums of four columns at a time.

use core::arch::asm;

use super::aarch64::{self, Tile, Unit};
use super::{Int8, Kernels, Product, aarch64_f16};
use crate::format::Layout;

pub(super) static KERNELS: Kernels = Kernels {
    name: "aarch64-dotprod",
    layout: Some(Dotprod::LAYOUT),
    supported,
    int8: Int8 {
        quantise_rows: aarch64::quantise_rows,
        quantise_columns: aarch64::quantise_columns::<Dotprod, 2, 3>,
        add: aarch64::add::<Dotprod, 2, 3>,
        mix: aarch64::mix::<Dotprod, 2, 3>,
        gelu: aarch64::gelu::<Dotprod, 2, 3>,
        sums: aarch64::sums::<Dotprod, 2, 3>,
    },
    f16: aarch64_f16::NEON,
};

fn supported() -> bool {
    #[cfg(feature = "std")]
    let found = std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(feature = "std"))]
    let found = cfg!(target_feature = "dotprod");
    found
}

/// Eight rows and twelve columns.
struct Dotprod;

/// Twelve products of one row.
macro_rules! row {
    ($left:literal [$lane:literal], $a:literal $b:literal $c:literal, $sum_a:literal $sum_b:literal $sum_c:literal) => {
        concat!(
            "sdot v", $sum_a, ".4s, v", $a, ".16b, v", $left, ".4b[", $lane, "]\n",
            "sdot v", $sum_b, ".4s, v", $b, ".16b, v", $left, ".4b[", $lane, "]\n",
            "sdot v", $sum_c, ".4s, v", $c, ".16b, v", $left, ".4b[", $lane, "]\n",
        )
    };
}

/// Four rows of the left register times three right ones.
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

/// Runs `$two` on two groups of the contraction after the other, and `$one` on the last of an odd number. The sums of the
/// units' rows are in v0 to v23, and the bodies use v24 to v29.
macro_rules! groups {
    ($two:expr, $one:expr, $left:expr, $right:expr, $groups:expr, $($sums:tt)*) => {
        asm!(
            ".arch_extension dotprod",
            "lsr {n}, {groups}, #3",
            "cbz {n}, 3f",
            "2:",
            ".rept 4",
            $two,
            ".endr",
            "subs {n}, {n}, #1",
            "b.ne 2b",
            "3:",
            "ands {n}, {groups}, #7",
            "b.eq 5f",
            "4:",
            $one,
            "subs {n}, {n}, #1",
            "b.ne 4b",
            "5:",
            left = inout(reg) $left => _,
            right = inout(reg) $right => _,
            groups = in(reg) $groups,
            n = out(reg) _,
            $($sums)*
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _,
            options(nostack, readonly),
        )
    };
}

impl Tile<2, 3> for Dotprod {
    const LAYOUT: Layout = Layout { rows: 8, columns: 12, group: 4, offset: 0 };

    #[inline(always)]
    fn multiply(p: &Product, first: usize, rows: usize, [top, bottom]: &mut [[Unit; 3]; 2]) {
        let groups = p.k / 4;
        let Some(left) = p.left.get(first * p.k..).and_then(|l| l.get(..32 * groups)) else { return };
        let Some(right) = p.right.get(..48 * groups) else { return };
        let [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]] = top;
        if rows <= 4 {
            // SAFETY: reads 32 bytes of `left` and 48 of `right` for each group, which is what they have.
            unsafe {
                groups!(
                    concat!(
                        "ldr q24, [{left}], #64\n",
                        "ldp q26, q27, [{right}], #96\n",
                        "ldp q28, q29, [{right}, #-64]\n",
                        top!(24, 26 27 28),
                        "ldr q25, [{left}, #-32]\n",
                        "ldp q26, q27, [{right}, #-32]\n",
                        top!(25, 29 26 27),
                    ),
                    concat!(
                        "ldr q24, [{left}], #32\n",
                        "ldp q26, q27, [{right}], #48\n",
                        "ldr q28, [{right}, #-16]\n",
                        top!(24, 26 27 28),
                    ),
                    left.as_ptr(), right.as_ptr(), groups,
                    inout("v0") *a0, inout("v1") *a1, inout("v2") *a2, inout("v3") *a3,
                    inout("v4") *b0, inout("v5") *b1, inout("v6") *b2, inout("v7") *b3,
                    inout("v8") *c0, inout("v9") *c1, inout("v10") *c2, inout("v11") *c3,
                );
            }
            return;
        }
        let [[d0, d1, d2, d3], [e0, e1, e2, e3], [f0, f1, f2, f3]] = bottom;
        // SAFETY: reads 32 bytes of `left` and 48 of `right` for each group, which is what they have.
        unsafe {
            groups!(
                concat!(
                    "ldp q24, q25, [{left}], #64\n",
                    "ldp q26, q27, [{right}], #96\n",
                    "ldp q28, q29, [{right}, #-64]\n",
                    top!(24, 26 27 28),
                    bottom!(25, 26 27 28),
                    "ldp q24, q25, [{left}, #-32]\n",
                    "ldp q26, q27, [{right}, #-32]\n",
                    top!(24, 29 26 27),
                    bottom!(25, 29 26 27),
                ),
                concat!(
                    "ldp q24, q25, [{left}], #32\n",
                    "ldp q26, q27, [{right}], #48\n",
                    "ldr q28, [{right}, #-16]\n",
                    top!(24, 26 27 28),
                    bottom!(25, 26 27 28),
                ),
                left.as_ptr(), right.as_ptr(), groups,
                inout("v0") *a0, inout("v1") *a1, inout("v2") *a2, inout("v3") *a3,
                inout("v4") *b0, inout("v5") *b1, inout("v6") *b2, inout("v7") *b3,
                inout("v8") *c0, inout("v9") *c1, inout("v10") *c2, inout("v11") *c3,
                inout("v12") *d0, inout("v13") *d1, inout("v14") *d2, inout("v15") *d3,
                inout("v16") *e0, inout("v17") *e1, inout("v18") *e2, inout("v19") *e3,
                inout("v20") *f0, inout("v21") *f1, inout("v22") *f2, inout("v23") *f3,
            );
        }
    }
}
