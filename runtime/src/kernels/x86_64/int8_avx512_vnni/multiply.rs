//! The inner loop with `vpdpbusd`, which keeps the sums of eight rows and forty-eight columns in 24 registers.
//!
//! The loop is in assembly so that it starts at a cache line and asks for a little of the memory ahead in each step.
//! Requests that all come at once, as from a separate loop, delay the loads after them.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

/// Registers that hold the columns of a row.
pub(super) const ACROSS: usize = 3;
/// Rows of a left panel.
pub(super) const ROWS: usize = 8;

/// A row's sums.
pub(super) type Row = [__m512i; ACROSS];
/// Sums of a left and a right panel.
pub(super) type Sums = [Row; ROWS];

/// The memory that the loop asks for while it runs: the address where it starts, and the number of bytes for each
/// group.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub from: *const u8,
    pub step: usize,
}

/// Sets a row's sums to their start.
macro_rules! start {
    ($row:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vmovdqa64 zmm",
            $a,
            ", zmmword ptr [{start}]\n",
            "vmovdqa64 zmm",
            $b,
            ", zmmword ptr [{start} + 64]\n",
            "vmovdqa64 zmm",
            $c,
            ", zmmword ptr [{start} + 128]\n",
        )
    };
}

/// Stores a row's sums.
macro_rules! store {
    ($row:literal, $a:literal, $b:literal, $c:literal) => {
        concat!(
            "vmovdqa64 zmmword ptr [{sums} + 192 * ",
            $row,
            "], zmm",
            $a,
            "\nvmovdqa64 zmmword ptr [{sums} + 192 * ",
            $row,
            " + 64], zmm",
            $b,
            "\nvmovdqa64 zmmword ptr [{sums} + 192 * ",
            $row,
            " + 128], zmm",
            $c,
            "\n",
        )
    };
}

/// Multiplies a row's group of the left panel by 48 columns. The first factor is unsigned and holds the activations.
macro_rules! row {
    (left, $row:literal, $a:literal, $b:literal, $c:literal) => {
        row!($row, $a ", zmm27, zmm24", $b ", zmm27, zmm25", $c ", zmm27, zmm26")
    };
    (right, $row:literal, $a:literal, $b:literal, $c:literal) => {
        row!($row, $a ", zmm24, zmm27", $b ", zmm25, zmm27", $c ", zmm26, zmm27")
    };
    ($row:literal, $a:literal $a_factors:literal, $b:literal $b_factors:literal, $c:literal $c_factors:literal) => {
        concat!(
            "vpbroadcastd zmm27, dword ptr [{left} + 4 * ",
            $row,
            "]\nvpdpbusd zmm",
            $a,
            $a_factors,
            "\nvpdpbusd zmm",
            $b,
            $b_factors,
            "\nvpdpbusd zmm",
            $c,
            $c_factors,
            "\n",
        )
    };
}

/// Defines the loop for some of eight rows. All eight are given with the numbers of their registers.
macro_rules! rows {
    ($name:ident, $activations:tt, [$(($($row:tt)*))*] of [$(($($any:tt)*))*]) => {
        /// # Safety
        /// `left` and `right` must point to panels of `groups` groups, at least one.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        unsafe fn $name(
            left: *const u8,
            right: *const u8,
            groups: usize,
            start: &Row,
            sums: &mut MaybeUninit<Sums>,
            ahead: Ahead,
        ) {
            // SAFETY: the instructions read `groups` groups, each of four bytes of eight rows and of forty-eight
            // columns, and write all of the sums. A prefetch is a hint.
            unsafe {
                core::arch::asm!(
                    $(start!($($any)*),)*
                    ".p2align 6",
                    "2:",
                    "vmovdqu64 zmm24, zmmword ptr [{right}]",
                    "vmovdqu64 zmm25, zmmword ptr [{right} + 64]",
                    "vmovdqu64 zmm26, zmmword ptr [{right} + 128]",
                    "prefetcht1 [{ahead}]",
                    // The L1 cache does not hold a long panel, so that groups are asked for eight groups ahead.
                    "prefetcht0 [{right} + 8 * 192]",
                    "prefetcht0 [{right} + 8 * 192 + 64]",
                    "prefetcht0 [{right} + 8 * 192 + 128]",
                    $(row!($activations, $($row)*),)*
                    "add {ahead}, {step}",
                    "add {left}, 32",
                    "add {right}, 192",
                    "dec {groups}",
                    "jnz 2b",
                    $(store!($($any)*),)*
                    left = inout(reg) left => _,
                    right = inout(reg) right => _,
                    groups = inout(reg) groups => _,
                    ahead = inout(reg) ahead.from => _,
                    step = in(reg) ahead.step,
                    start = in(reg) start,
                    sums = in(reg) sums.as_mut_ptr(),
                    out("zmm0") _, out("zmm1") _, out("zmm2") _, out("zmm3") _, out("zmm4") _, out("zmm5") _,
                    out("zmm6") _, out("zmm7") _, out("zmm8") _, out("zmm9") _, out("zmm10") _, out("zmm11") _,
                    out("zmm12") _, out("zmm13") _, out("zmm14") _, out("zmm15") _, out("zmm16") _, out("zmm17") _,
                    out("zmm18") _, out("zmm19") _, out("zmm20") _, out("zmm21") _, out("zmm22") _, out("zmm23") _,
                    out("zmm24") _, out("zmm25") _, out("zmm26") _, out("zmm27") _,
                    options(nostack),
                );
            }
        }
    };
}

/// Defines the loops for four and for eight rows, with activations on the side that `$activations` names.
macro_rules! four_and_eight_rows {
    ($four:ident, $eight:ident, $activations:tt, [$($top:tt)*], [$($bottom:tt)*]) => {
        rows!($four, $activations, [$($top)*] of [$($top)* $($bottom)*]);
        rows!($eight, $activations, [$($top)* $($bottom)*] of [$($top)* $($bottom)*]);
    };
    ($four:ident, $eight:ident, $activations:tt) => {
        four_and_eight_rows!(
            $four,
            $eight,
            $activations,
            [(0, 0, 1, 2) (1, 3, 4, 5) (2, 6, 7, 8) (3, 9, 10, 11)],
            [(4, 12, 13, 14) (5, 15, 16, 17) (6, 18, 19, 20) (7, 21, 22, 23)]
        );
    };
}

four_and_eight_rows!(four_left, eight_left, left);
four_and_eight_rows!(four_right, eight_right, right);

/// Multiplies a left and a right panel, and returns the sums. The sums of each row begin with `start`.
///
/// If at most four `rows` are wanted, the last four rows are not multiplied. Activations are the left matrix, or if
/// `RIGHT`, the right matrix.
///
/// # Safety
/// `left` and `right` must point to panels of `groups` groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn multiply<'s, const RIGHT: bool>(
    [left, right]: [*const u8; 2],
    groups: usize,
    rows: usize,
    start: &Row,
    sums: &'s mut MaybeUninit<Sums>,
    ahead: Ahead,
) -> &'s Sums {
    if groups == 0 {
        return sums.write([*start; ROWS]);
    }
    // SAFETY: the caller promises panels of `groups` groups, there is at least one group, and every loop writes all of
    // the sums.
    unsafe {
        match (RIGHT, rows > ROWS / 2) {
            (false, true) => eight_left(left, right, groups, start, sums, ahead),
            (false, false) => four_left(left, right, groups, start, sums, ahead),
            (true, true) => eight_right(left, right, groups, start, sums, ahead),
            (true, false) => four_right(left, right, groups, start, sums, ahead),
        }
        sums.assume_init_ref()
    }
}
