//! The table for CPUs with AVX-512, VNNI and VBMI (Ice Lake, Zen 4 and later): `vpdpbusd` on eight rows and forty-eight
//! columns at a time.
//!
//! The instruction requires one unsigned operand, so activations are stored with 128 added.

mod multiply;

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use multiply::{ACROSS, Ahead, ROWS, Sums, multiply};

use super::gelu_512::{Gelu, Table};
use super::tile_512::{
    add_to_row, everywhere, first_lanes, floats, four_rows, integers, mixed, of_row, quantise_panel, quantised,
};
use super::{detect, f16_avx512};
use crate::format::Layout;
use crate::kernels::operands::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};
use crate::parallel::Block;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx512-vnni",
    layout: Some(LAYOUT),
    supported: detect::avx512,
    suits: || true,
    int8: Int8 {
        quantise_rows,
        quantise_columns,
        add,
        mix,
        gelu,
        sums,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::LARGE_CACHE },
    },
    f16: f16_avx512::AVX512,
};

/// The panels that the table reads.
const LAYOUT: Layout = Layout::VNNI;
/// Columns of a right panel.
const COLUMNS: usize = LAYOUT.columns as usize;
/// Elements of the contraction that lie together.
const GROUP: usize = LAYOUT.group as usize;

/// Runs `$use` with the first row and the sums of every left panel. The sums of each row begin with `$start`.
///
/// Every tile reads the weights once, one right panel after the other. The next panel is fetched while the present one
/// is in use, a little with each group.
macro_rules! for_each_panel {
    ($product:expr, $right:literal, $start:expr, $use:expr) => {
        let mut sums = MaybeUninit::uninit();
        let groups = $product.k / GROUP;
        let mut from = $product.right.as_ptr_range().end;
        let step = (COLUMNS * GROUP).div_ceil($product.rows.div_ceil(ROWS).max(1));
        for first in (0..$product.rows).step_by(ROWS) {
            let panels = [$product.left.as_ptr().wrapping_add(first * $product.k), $product.right.as_ptr()];
            let (rows, ahead) = ($product.rows - first, Ahead { from, step });
            // SAFETY: the callers have checked the product's lengths, and `first` is the first row of a panel.
            let sums = unsafe { multiply::<$right>(panels, groups, rows, &$start, &mut sums, ahead) };
            from = from.wrapping_add(groups * step);
            $use(first, sums);
        }
    };
}

/// Implements `Int8::add`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add(p: Product, columns: StreamColumns, stream: &mut Block) {
    let bias = [integers(columns.bias, 0), integers(columns.bias, 1), integers(columns.bias, 2)];
    let scale = [floats(columns.scale, 0), floats(columns.scale, 1), floats(columns.scale, 2)];
    for_each_panel!(p, false, bias, |first, sums: &Sums| {
        for (row, sums) in (first..p.rows).zip(sums) {
            for (across, (&sum, scale)) in sums.iter().zip(scale).enumerate() {
                // SAFETY: the callers have checked that the stream has as many rows and columns as the product.
                unsafe { add_to_row(stream, row, across, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)) };
            }
        }
    });
}

/// Implements `Int8::mix`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn mix(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let gains = |across| [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| floats(gains, across));
    let gains = [gains(0), gains(1), gains(2)];
    let zeros = [_mm512_setzero_si512(); ACROSS];
    for_each_panel!(p, true, zeros, |first, sums: &Sums| {
        for (row, sums) in (first..p.rows).zip(sums) {
            let (correction, of_row) = (_mm512_set1_epi32(of_row(rows.correction, row)), everywhere(rows.of(row)));
            for (across, (&sum, gains)) in sums.iter().zip(gains).enumerate() {
                let x = mixed(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, correction)), of_row, gains);
                // SAFETY: the callers have checked that the stream has as many rows and columns as the product.
                unsafe { add_to_row(stream, row, across, x) };
            }
        }
    });
}

/// Implements `Int8::sums`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sums(p: Product, out: &mut [i32]) {
    let zeros = [_mm512_setzero_si512(); ACROSS];
    for_each_panel!(p, false, zeros, |first, sums: &Sums| {
        for (out, sums) in out.as_chunks_mut::<COLUMNS>().0.iter_mut().skip(first).zip(sums) {
            for (out, &sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums) {
                // SAFETY: the store writes the 64 bytes of the array, at any address.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
            }
        }
    });
}

/// Implements `Int8::gelu`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
fn gelu(p: Product, columns: GeluColumns, hidden: Hidden) {
    let table = Table::new(columns.table, columns.shift);
    let coefficients = [Gelu::new(&columns, 0), Gelu::new(&columns, 1), Gelu::new(&columns, 2)];
    let bias = [integers(columns.bias, 0), integers(columns.bias, 1), integers(columns.bias, 2)];
    let Hidden { panels, first: column } = hidden;
    for_each_panel!(p, false, bias, |first: usize, sums: &Sums| {
        let groups = panels.row_mut(first / ROWS).get_mut(column * ROWS..).unwrap_or(&mut []).as_chunks_mut().0;
        let [x, y, z] = &coefficients;
        let Some([x_out, y_out, z_out]) = groups.first_chunk_mut() else { return };
        // All six quads go through one step after the other, as each step waits for the one before. Loops would not be
        // unrolled.
        let scaled = [x.scaled(sums, 0), y.scaled(sums, 1), z.scaled(sums, 2)];
        let corrections = [table.corrections(scaled[0]), table.corrections(scaled[1]), table.corrections(scaled[2])];
        store(x, scaled[0], corrections[0], x_out);
        store(y, scaled[1], corrections[1], y_out);
        store(z, scaled[2], corrections[2], z_out);
    });
}

/// Stores the activations of eight rows and sixteen columns as four groups of a left panel.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(gelu: &Gelu, [a, b, c, d]: [__m512i; 4], [top, bottom]: [__m512i; 2], out: &mut [u8; 128]) {
    store_quads(out, gelu.requantised(a, b, top), gelu.requantised(c, d, bottom));
}

/// Stores two quads as four groups of a left panel. The last four rows may hold arbitrary numbers if they are not
/// wanted.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_quads(out: &mut [u8; 128], top: __m512i, bottom: __m512i) {
    let low = _mm512_permutex2var_epi64(top, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), bottom);
    let high = _mm512_permutex2var_epi64(top, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), bottom);
    // SAFETY: the stores write both 64-byte halves of the array, at any address.
    unsafe {
        _mm512_storeu_si512(out.as_mut_ptr().cast(), low);
        _mm512_storeu_si512(out.as_mut_ptr().add(64).cast(), high);
    }
}

/// Implements `Int8::quantise_rows`.
#[target_feature(enable = "avx512f,avx512bw")]
fn quantise_rows(_: Layout, stream: &Block, q: Quantiser, out: &mut Block<u8>) {
    let columns = stream.columns();
    for (panel, first) in (0..stream.rows()).step_by(ROWS).enumerate() {
        for (column, out) in (0..columns).step_by(16).zip(out.row_mut(panel).chunks_mut(16 * ROWS)) {
            let mask = first_lanes(columns - column);
            let rows = [first, first + 4].map(|first| four_rows(stream, first, column));
            // SAFETY: the callers have checked that rows and quantiser have the columns in the mask.
            let [top, bottom] = unsafe {
                let scale = _mm512_maskz_loadu_ps(mask, q.scale.as_ptr().add(column));
                let offset = _mm512_maskz_loadu_ps(mask, q.offset.as_ptr().add(column));
                [quantised(rows[0], mask, scale, offset), quantised(rows[1], mask, scale, offset)]
            };
            match out.first_chunk_mut() {
                Some(out) => store_quads(out, top, bottom),
                None => {
                    let mut groups = [0; 16 * ROWS];
                    store_quads(&mut groups, top, bottom);
                    out.iter_mut().zip(groups).for_each(|(out, byte)| *out = byte);
                }
            }
        }
    }
}

/// Implements `Int8::quantise_columns`.
#[target_feature(enable = "avx512f,avx512bw")]
fn quantise_columns(_: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    quantise_panel::<COLUMNS>(stream, q, out);
}
