//! The loop around products of eight rows and twelve columns, for instruction sets that multiply groups of a
//! contraction.

/// Implements the products of a [`Tile`](super::tile::Tile) of two by three units.
///
/// The sums are in v0 to v23. A unit takes four registers: three units of the top four rows come first, then three of
/// the bottom rows. A body `many` does `2^log_many` steps of `step` elements of the contraction, and a body `one` does
/// one of the steps that are left over. Both use v24 to v31 for operands and advance `{left}` and `{right}`. `{n}`
/// counts the `many` down to one.
///
/// There are bodies for the top rows alone and bodies for all rows. The latter may `begin` with instructions before the
/// first `many` and may have general registers of their own.
macro_rules! multiply_8x12 {
    (
        extension: $extension:literal, step: $step:literal, log_many: $log_many:literal,
        top: { many: $top_many:expr, one: $top_one:expr },
        all: { $(begin: $begin:expr, general: { $($general:tt)* },)? many: $all_many:expr, one: $all_one:expr $(,)? },
    ) => {
        #[inline(always)]
        unsafe fn multiply(
            left: *const u8,
            right: *const u8,
            k: usize,
            rows: usize,
            start: &[[Unit; 3]; 2],
            ahead: &mut Ahead,
        ) -> [[Unit; 3]; 2] {
            let (from, half_step) = (ahead.next(k), ahead.step.div_ceil(2));
            if rows <= 4 {
                // SAFETY: the instructions read the start and the `k` elements that the panels have; prefetches are
                // hints.
                let top = unsafe { multiply_8x12!(@top $extension $step $log_many $top_many, $top_one, left right k start from half_step) };
                return [top, start[1]];
            }
            // SAFETY: the instructions read the start and the `k` elements that the panels have; prefetches are hints.
            unsafe { multiply_8x12!(@all $extension $step $log_many concat!($($begin)?), $all_many, $all_one, left right k start from half_step, $($($general)*)?) }
        }
    };
    (@top $extension:literal $step:literal $log_many:literal $many:expr, $one:expr,
        $left:ident $right:ident $k:ident $start:ident $from:ident $half_step:ident) => {{
        let (a0, a1, a2, a3);
        let (b0, b1, b2, b3);
        let (c0, c1, c2, c3);
        multiply_8x12!(@loop $extension $step $log_many "", $many, $one, $left $right $k $start $from $half_step,
            "",
                out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
                out("v4") b0, out("v5") b1, out("v6") b2, out("v7") b3,
                out("v8") c0, out("v9") c1, out("v10") c2, out("v11") c3,
        );
        [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]]
    }};
    (@all $extension:literal $step:literal $log_many:literal $begin:expr, $many:expr, $one:expr,
        $left:ident $right:ident $k:ident $start:ident $from:ident $half_step:ident, $($general:tt)*) => {{
        let (a0, a1, a2, a3);
        let (b0, b1, b2, b3);
        let (c0, c1, c2, c3);
        let (d0, d1, d2, d3);
        let (e0, e1, e2, e3);
        let (f0, f1, f2, f3);
        multiply_8x12!(@loop $extension $step $log_many $begin, $many, $one, $left $right $k $start $from $half_step,
            concat!(
                "ld1 {{v12.4s-v15.4s}}, [{start}], #64\n",
                "ld1 {{v16.4s-v19.4s}}, [{start}], #64\n",
                "ld1 {{v20.4s-v23.4s}}, [{start}], #64\n",
            ),
                $($general)*
                out("v0") a0, out("v1") a1, out("v2") a2, out("v3") a3,
                out("v4") b0, out("v5") b1, out("v6") b2, out("v7") b3,
                out("v8") c0, out("v9") c1, out("v10") c2, out("v11") c3,
                out("v12") d0, out("v13") d1, out("v14") d2, out("v15") d3,
                out("v16") e0, out("v17") e1, out("v18") e2, out("v19") e3,
                out("v20") f0, out("v21") f1, out("v22") f2, out("v23") f3,
        );
        [
            [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]],
            [[d0, d1, d2, d3], [e0, e1, e2, e3], [f0, f1, f2, f3]],
        ]
    }};
    (@loop $extension:literal $step:literal $log_many:literal $begin:expr, $many:expr, $one:expr,
        $left:ident $right:ident $k:ident $start:ident $from:ident $half_step:ident, $load:expr, $($sums:tt)*) => {
        core::arch::asm!(
            concat!(".arch_extension ", $extension),
            "ld1 {{v0.4s-v3.4s}}, [{start}], #64",
            "ld1 {{v4.4s-v7.4s}}, [{start}], #64",
            "ld1 {{v8.4s-v11.4s}}, [{start}], #64",
            $load,
            concat!("lsr {n}, {steps}, #", $log_many),
            "cbz {n}, 3f",
            $begin,
            "2:",
            "prfm pldl2keep, [{from}]",
            "prfm pldl2keep, [{from}, {half_step}]",
            "add {from}, {from}, {half_step}, lsl #1",
            $many,
            "subs {n}, {n}, #1",
            "b.ne 2b",
            "3:",
            concat!("ands {n}, {steps}, #(1 << ", $log_many, ") - 1"),
            "b.eq 5f",
            "4:",
            $one,
            "subs {n}, {n}, #1",
            "b.ne 4b",
            "5:",
            left = inout(reg) $left => _,
            right = inout(reg) $right => _,
            start = inout(reg) $start.as_ptr() => _,
            from = inout(reg) $from => _,
            half_step = in(reg) $half_step,
            steps = in(reg) $k / $step,
            n = out(reg) _,
            $($sums)*
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack, readonly),
        )
    };
}

/// Repeats instructions eight times.
macro_rules! eight_times {
    ($instructions:expr) => {
        concat!(".rept 8\n", $instructions, ".endr\n")
    };
}

pub(super) use {eight_times, multiply_8x12};
