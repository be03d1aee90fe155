//! The table for CPUs with AMX (Sapphire Rapids and later): `tdpbusd` and `tdpbsud` on tiles of sixteen rows of 64
//! bytes.
//!
//! A left panel has one row, so that the left matrix lies row after row and a tile loads sixteen rows of 64 numbers as
//! they are. From a right panel a tile loads sixteen groups of sixteen columns. Sums leave the tiles through memory,
//! and AVX-512 does the rest.

mod tiles;

use core::arch::x86_64::*;
use core::ops::Range;

use tiles::{COLUMNS, Start, Sums, for_each_block};

use super::gelu_512::{Gelu, Table};
use super::tile_512::{add_to_row, everywhere, first_lanes, floats, mixed, of_row, quad, quantise_panel, round};
use super::{detect, f16_avx512};
use crate::format::Layout;
use crate::kernels::operands::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};
use crate::parallel::Block;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-amx",
    layout: Some(Layout::AMX),
    supported: detect::amx,
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

/// Implements `Int8::add`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn add(p: Product, columns: StreamColumns, stream: &mut Block) {
    let scale = [floats(columns.scale, 0), floats(columns.scale, 1)];
    for_each_block::<false>(p, &Start::of(columns.bias), |sums: Sums| {
        for row in sums.rows.clone() {
            for (across, (sum, scale)) in sums.of(row).into_iter().zip(scale).enumerate() {
                // SAFETY: the callers have checked that the stream has as many rows and columns as the product.
                unsafe { add_to_row(stream, row, across, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale)) };
            }
        }
    });
}

/// Implements `Int8::mix`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn mix(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let gains = |across| [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| floats(gains, across));
    let gains = [gains(0), gains(1)];
    for_each_block::<true>(p, &Start::ZERO, |sums: Sums| {
        for row in sums.rows.clone() {
            let (correction, of_row) = (_mm512_set1_epi32(of_row(rows.correction, row)), everywhere(rows.of(row)));
            for (across, (sum, gains)) in sums.of(row).into_iter().zip(gains).enumerate() {
                let x = mixed(_mm512_cvtepi32_ps(_mm512_add_epi32(sum, correction)), of_row, gains);
                // SAFETY: the callers have checked that the stream has as many rows and columns as the product.
                unsafe { add_to_row(stream, row, across, x) };
            }
        }
    });
}

/// Implements `Int8::sums`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn sums(p: Product, out: &mut [i32]) {
    let out = out.as_chunks_mut::<COLUMNS>().0;
    for_each_block::<false>(p, &Start::ZERO, |sums: Sums| {
        for (row, out) in sums.rows.clone().zip(out.iter_mut().skip(sums.rows.start)) {
            for (out, sum) in out.as_chunks_mut::<16>().0.iter_mut().zip(sums.of(row)) {
                // SAFETY: the store writes the 64 bytes of the array, at any address.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
            }
        }
    });
}

/// Implements `Int8::gelu`.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn gelu(p: Product, columns: GeluColumns, hidden: Hidden) {
    let table = Table::new(columns.table, columns.shift);
    let coefficients = [Gelu::new(&columns, 0), Gelu::new(&columns, 1)];
    let Hidden { panels, first: column } = hidden;
    for_each_block::<false>(p, &Start::of(columns.bias), |sums: Sums| {
        for row in sums.rows.clone().step_by(4) {
            let [a, b, c, d] = [row, row + 1, row + 2, row + 3].map(|row| sums.of(row));
            let left = coefficients[0].activations([a[0], b[0], c[0], d[0]], &table);
            let right = coefficients[1].activations([a[1], b[1], c[1], d[1]], &table);
            store_rows(left, right, panels, row..sums.rows.end, column);
        }
    });
}

/// Stores two quads, as [`quad`] makes them, from `column` on in the `wanted` rows, at most four.
#[inline]
#[target_feature(enable = "avx512f")]
fn store_rows(left: __m512i, right: __m512i, panels: &mut Block<u8>, wanted: Range<usize>, column: usize) {
    let first_two = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
    let last_two = _mm512_add_epi32(first_two, _mm512_set1_epi32(2));
    let rows = [first_two, last_two].map(|places| {
        let two = _mm512_permutex2var_epi32(left, places, right);
        [_mm512_castsi512_si256(two), _mm512_extracti64x4_epi64::<1>(two)]
    });
    for (row, bytes) in wanted.zip(rows.as_flattened()) {
        let Some(place) = panels.row_mut(row).get_mut(column..).and_then(|row| row.first_chunk_mut::<COLUMNS>()) else {
            return;
        };
        // SAFETY: the store writes the 32 bytes of the array, at any address.
        unsafe { _mm256_storeu_si256(place.as_mut_ptr().cast(), *bytes) };
    }
}

/// Implements `Int8::quantise_rows`.
#[target_feature(enable = "avx512f,avx512bw")]
fn quantise_rows(_: Layout, stream: &Block, q: Quantiser, out: &mut Block<u8>) {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for index in 0..stream.rows() {
        let (row, out) = (stream.row(index), out.row_mut(index));
        for (first, out) in (0..row.len()).step_by(64).zip(out.chunks_mut(64)) {
            let [a, b, c, d] = [0, 16, 32, 48].map(|from| {
                let from = first + from;
                let mask = first_lanes(row.len().saturating_sub(from));
                // SAFETY: the callers have checked that row and quantiser have the columns in the mask.
                let [x, scale, offset] = [row, q.scale, q.offset]
                    .map(|values| unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr().wrapping_add(from)) });
                round(_mm512_add_ps(_mm512_mul_ps(x, scale), offset), 127.0)
            });
            let bytes = quad(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            let mask = u64::MAX >> (64 - out.len().clamp(1, 64));
            // SAFETY: the mask has as many bytes as `out`.
            unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), mask, bytes) };
        }
    }
}

/// Implements `Int8::quantise_columns`.
#[target_feature(enable = "avx512f,avx512bw")]
fn quantise_columns(_: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    quantise_panel::<COLUMNS>(stream, q, out);
}
