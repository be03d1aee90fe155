//! The table for CPUs with AVX-VNNI (Alder Lake and its small cores, Zen 5): `vpdpbusd` on eight rows and twelve
//! columns at a time.
//!
//! A register holds a group of a left panel, which is four numbers of eight rows. A column's four numbers are broadcast
//! to all rows. The instruction requires one unsigned operand, so activations are stored with 128 added.

use core::arch::x86_64::*;

use super::tile_256::{self, COLUMNS, GROUP, ROWS, Sums, Tile};
use super::{detect, f16_f16c};
use crate::format::Layout;
use crate::kernels::operands::Product;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx-vnni",
    layout: Some(AvxVnni::LAYOUT),
    supported: detect::avx_vnni,
    suits: || true,
    int8: Int8 {
        quantise_rows: tile_256::quantise_rows::<AvxVnni>,
        quantise_columns: tile_256::quantise_columns::<AvxVnni>,
        add: tile_256::add::<AvxVnni>,
        mix: tile_256::mix::<AvxVnni>,
        gelu: tile_256::gelu::<AvxVnni>,
        sums: tile_256::sums::<AvxVnni>,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::LARGE_CACHE },
    },
    f16: f16_f16c::F16C,
};

/// Dot products of four numbers, with one operand unsigned.
struct AvxVnni;

/// Multiplies a column's numbers by those of eight rows. The first factor is unsigned and holds the activations.
macro_rules! column {
    (left, $column:literal) => {
        column!($column, "ymm12, ymm13")
    };
    (right, $column:literal) => {
        column!($column, "ymm13, ymm12")
    };
    ($column:literal, $factors:literal) => {
        concat!(
            "vpbroadcastd ymm13, dword ptr [{right} + 4 * ",
            $column,
            "]\n{{vex}} vpdpbusd ymm",
            $column,
            ", ",
            $factors,
            "\n",
        )
    };
}

/// Runs the loop over groups, with activations on the side that `$activations` names.
macro_rules! multiply {
    ($activations:tt, $left:ident, $right:ident, $sums:ident, $ahead:ident, $step:ident) => {{
        let [a, b, c, d, e, f, g, h, i, j, k, l] = $sums;
        core::arch::asm!(
            ".p2align 6",
            "2:",
            "vmovdqu ymm12, ymmword ptr [{left}]",
            "prefetcht1 [{ahead}]",
            column!($activations, 0),
            column!($activations, 1),
            column!($activations, 2),
            column!($activations, 3),
            column!($activations, 4),
            column!($activations, 5),
            column!($activations, 6),
            column!($activations, 7),
            column!($activations, 8),
            column!($activations, 9),
            column!($activations, 10),
            column!($activations, 11),
            "add {ahead}, {step}",
            "add {left}, 32",
            "add {right}, 48",
            "dec {groups}",
            "jnz 2b",
            left = inout(reg) $left.as_ptr() => _,
            right = inout(reg) $right.as_ptr() => _,
            groups = inout(reg) $left.len() => _,
            ahead = inout(reg) $ahead => _,
            step = in(reg) $step,
            inout("ymm0") *a, inout("ymm1") *b, inout("ymm2") *c, inout("ymm3") *d, inout("ymm4") *e, inout("ymm5") *f,
            inout("ymm6") *g, inout("ymm7") *h, inout("ymm8") *i, inout("ymm9") *j, inout("ymm10") *k, inout("ymm11") *l,
            out("ymm12") _, out("ymm13") _,
            options(readonly, nostack),
        );
    }};
}

impl Tile for AvxVnni {
    const LAYOUT: Layout = Layout::AVX_VNNI;

    /// The next right panel is fetched while this one is in use, a little with each group.
    #[target_feature(enable = "avx2")]
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], _rows: usize, sums: &mut [Sums]) {
        let right = p.right.as_chunks::<{ COLUMNS * GROUP }>().0;
        let panels = left.chunks_exact((ROWS * p.k).max(1));
        let step = (COLUMNS * GROUP).div_ceil(panels.len().max(1));
        let mut ahead = p.right.as_ptr_range().end;
        for (panel, sums) in panels.zip(sums) {
            let left = panel.as_chunks::<{ ROWS * GROUP }>().0;
            let left = left.get(..left.len().min(right.len())).unwrap_or(&[]);
            if left.is_empty() {
                continue;
            }
            // SAFETY: the caller promises that the CPU has the instructions. Both sides have as many groups as `left`,
            // which is at least one. A prefetch is a hint.
            unsafe {
                match RIGHT {
                    false => multiply!(left, left, right, sums, ahead, step),
                    true => multiply!(right, left, right, sums, ahead, step),
                }
            }
            ahead = ahead.wrapping_add(left.len() * step);
            for sums in sums {
                *sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(*sums);
            }
        }
    }
}
