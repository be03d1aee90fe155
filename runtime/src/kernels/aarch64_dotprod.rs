//! aarch64 with dot products (Cortex-A76 and later, Neoverse): `sdot` by element, twenty-four sums of four columns at a time.

use core::arch::asm;

use super::aarch64::{self, Tile, Unit};
use super::{Int8, Kernels, aarch64_f16};
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
            "sdot v", $sum_a, ".4s, v", $a, ".16b, v", $left, ".4b[", $lane, "]\n", "sdot v", $sum_b, ".4s, v", $b,
            ".16b, v", $left, ".4b[", $lane, "]\n", "sdot v", $sum_c, ".4s, v", $c, ".16b, v", $left, ".4b[", $lane,
            "]\n",
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

/// Runs `$two` on two groups of the contraction after the other, and `$one` on those that are left. The sums are in v0 to v23,
/// a unit in four registers; the bodies use v24 to v30 for operands.
macro_rules! groups {
    ($two:expr, $one:expr, $left:ident, $right:ident, $groups:ident, $start:ident, $load:expr, $($sums:tt)*) => {
        asm!(
            ".arch_extension dotprod",
            $load,
            "lsr {n}, {groups}, #4",
            "cbz {n}, 3f",
            "2:",
            ".rept 8",
            $two,
            ".endr",
            "subs {n}, {n}, #1",
            "b.ne 2b",
            "3:",
            "ands {n}, {groups}, #15",
            "b.eq 5f",
            "4:",
            $one,
            "subs {n}, {n}, #1",
            "b.ne 4b",
            "5:",
            left = inout(reg) $left => _,
            right = inout(reg) $right => _,
            start = inout(reg) $start.as_ptr() => _,
            groups = in(reg) $groups,
            n = out(reg) _,
            $($sums)*
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _,
            options(nostack, readonly),
        )
    };
}

/// Four rows and twelve columns' sums from memory.
macro_rules! load {
    ($a:literal $b:literal $c:literal) => {
        concat!(load!($a), load!($b), load!($c))
    };
    ($registers:literal) => {
        concat!("ld1 {{", $registers, "}}, [{start}], #64\n")
    };
}

impl Tile<2, 3> for Dotprod {
    const LAYOUT: Layout = Layout { rows: 8, columns: 12, group: 4, offset: 0 };

    #[inline(always)]
    unsafe fn multiply(
        left: *const u8,
        right: *const u8,
        k: usize,
        rows: usize,
        start: &[[Unit; 3]; 2],
    ) -> [[Unit; 3]; 2] {
        let groups = k / 4;
        if rows <= 4 {
            let (a0, a1, a2, a3);
            let (b0, b1, b2, b3);
            let (c0, c1, c2, c3);
            // SAFETY: reads the start, and 32 bytes at `left` and 48 at `right` for each group, which is what a panel has.
            unsafe {
                groups!(
                    concat!(
                        "ldr q24, [{left}], #64\n",
                        "ldp q26, q27, [{right}], #96\n",
                        "ldp q28, q29, [{right}, #-64]\n",
                        top!(24, 26 27 28),
                        "ldr q24, [{left}, #-32]\n",
                        "ldp q26, q27, [{right}, #-32]\n",
                        top!(24, 29 26 27),
                    ),
                    concat!(
                        "ldr q24, [{left}], #32\n",
                        "ldp q26, q27, [{right}], #48\n",
                        "ldr q28, [{right}, #-16]\n",
                        top!(24, 26 27 28),
                    ),
                    left, right, groups, start, load!("v0.4s-v3.4s" "v4.4s-v7.4s" "v8.4s-v11.4s"),
                out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
                out("v4") b0, out("v5") b1, out("v6") b2, out("v7") b3,
                out("v8") c0, out("v9") c1, out("v10") c2, out("v11") c3,
                );
            }
            return [[[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]], start[1]];
        }
        let (a0, a1, a2, a3);
        let (b0, b1, b2, b3);
        let (c0, c1, c2, c3);
        let (d0, d1, d2, d3);
        let (e0, e1, e2, e3);
        let (f0, f1, f2, f3);
        // SAFETY: as above.
        unsafe {
            groups!(
                            concat!(
                                "ld1 {{v24.16b-v27.16b}}, [{left}], #64\n",
                                "ld1 {{v28.16b-v30.16b}}, [{right}], #48\n",
                                top!(24, 28 29 30),
                                bottom!(25, 28 29 30),
                                "ld1 {{v28.16b-v30.16b}}, [{right}], #48\n",
                                top!(26, 28 29 30),
                                bottom!(27, 28 29 30),
                            ),
                            concat!(
                                "ldp q24, q25, [{left}], #32\n",
                                "ld1 {{v28.16b-v30.16b}}, [{right}], #48\n",
                                top!(24, 28 29 30),
                                bottom!(25, 28 29 30),
                            ),
            left, right, groups, start, concat!(load!("v0.4s-v3.4s" "v4.4s-v7.4s" "v8.4s-v11.4s"), load!("v12.4s-v15.4s" "v16.4s-v19.4s" "v20.4s-v23.4s")),
                            out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
                            out("v4") b0, out("v5") b1, out("v6") b2, out("v7") b3,
                            out("v8") c0, out("v9") c1, out("v10") c2, out("v11") c3,
                            out("v12") d0, out("v13") d1, out("v14") d2, out("v15") d3,
                            out("v16") e0, out("v17") e1, out("v18") e2, out("v19") e3,
                            out("v20") f0, out("v21") f1, out("v22") f2, out("v23") f3,
                        );
        }
        [[[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]], [[d0, d1, d2, d3], [e0, e1, e2, e3], [f0, f1, f2, f3]]]
    }
}
