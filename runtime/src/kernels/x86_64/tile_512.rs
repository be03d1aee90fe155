//! Holds what the tables with 512-bit registers share: access to rows of the stream, and panels of quantised
//! activations.
//!
//! A *quad* of rows and sixteen columns becomes bytes `[four columns][row][column]`: half a group of a left panel of
//! eight rows in each 128 bits. Activations are stored with 128 added, since `vpdpbusd` wants one operand unsigned.

use core::arch::x86_64::*;

use crate::kernels::operands::Quantiser;
use crate::parallel::Block;

/// Numbers of a group.
const GROUP: usize = 4;

/// Returns sixteen values, from number `16 * across` on, or zeros if there are fewer.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn floats(values: &[f32], across: usize) -> __m512 {
    match values.as_chunks::<16>().0.get(across) {
        // SAFETY: the load reads the 64 bytes of the array, at any address.
        Some(values) => unsafe { _mm512_loadu_ps(values.as_ptr()) },
        None => _mm512_setzero_ps(),
    }
}

/// Returns sixteen values, from number `16 * across` on, or zeros if there are fewer.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn integers(values: &[i32], across: usize) -> __m512i {
    match values.as_chunks::<16>().0.get(across) {
        // SAFETY: the load reads the 64 bytes of the array, at any address.
        Some(values) => unsafe { _mm512_loadu_si512(values.as_ptr().cast()) },
        None => _mm512_setzero_si512(),
    }
}

/// Returns value number `row`, or zero if there is none.
pub(super) fn of_row<T: Copy + Default>(values: &[T], row: usize) -> T {
    values.get(row).copied().unwrap_or_default()
}

/// Returns a mask of the first `len` of sixteen lanes.
pub(super) fn first_lanes(len: usize) -> __mmask16 {
    (1u32 << len.min(16)).wrapping_sub(1) as __mmask16
}

/// Adds to columns `16 * across..` of a row of the stream.
///
/// # Safety
/// The stream must have this row and these sixteen columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn add_to_row(stream: &mut Block, row: usize, across: usize, x: __m512) {
    // SAFETY: the caller promises that the stream has the row and the columns.
    unsafe {
        let y = stream.as_mut_ptr().add(row * stream.stride() + 16 * across);
        _mm512_storeu_ps(y, _mm512_add_ps(_mm512_loadu_ps(y), x));
    }
}

/// Returns each of a row's numbers in all places of a register.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn everywhere<const N: usize>(of_row: [f32; N]) -> [__m512; N] {
    of_row.map(|x| _mm512_set1_ps(x))
}

/// Computes what patch mixing adds to the stream, as [`numerics::mixed`](crate::numerics::mixed) does.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn mixed(sum: __m512, of_row: [__m512; 3], gains: [__m512; 3]) -> __m512 {
    let ([row_scale, row_sum, row_bias], [scale, sum_gain, bias_gain]) = (of_row, gains);
    let constant = _mm512_add_ps(_mm512_mul_ps(sum_gain, row_sum), _mm512_mul_ps(bias_gain, row_bias));
    _mm512_add_ps(_mm512_mul_ps(_mm512_mul_ps(sum, row_scale), scale), constant)
}

/// Packs 16-bit numbers, of two rows each, to a quad of bytes with 128 added.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn quad(top: __m512i, bottom: __m512i) -> __m512i {
    _mm512_xor_si512(_mm512_packs_epi16(top, bottom), _mm512_set1_epi8(-128))
}

/// Limits numbers to `high` and rounds to nearest, ties to even. Numbers below the range of `i32` become the least
/// `i32`, which packing saturates.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn round(x: __m512, high: f32) -> __m512i {
    _mm512_cvtps_epi32(_mm512_min_ps(x, _mm512_set1_ps(high)))
}

/// Quantises a quad of the stream: rows at four addresses, of which the columns in `mask` are read.
///
/// # Safety
/// The rows must have the columns in the mask.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn quantised(rows: [*const f32; 4], mask: __mmask16, scale: __m512, offset: __m512) -> __m512i {
    let round = |row| {
        // SAFETY: the caller promises that the row has the columns in the mask.
        let x = unsafe { _mm512_maskz_loadu_ps(mask, row) };
        round(_mm512_add_ps(_mm512_mul_ps(x, scale), offset), 127.0)
    };
    let [a, b, c, d] = rows;
    quad(_mm512_packs_epi32(round(a), round(b)), _mm512_packs_epi32(round(c), round(d)))
}

/// Returns the addresses of rows `first..first + 4`, from column `column` on. The last row takes the place of missing
/// ones.
pub(super) fn four_rows(stream: &Block, first: usize, column: usize) -> [*const f32; 4] {
    let (start, stride, last) = (stream.as_ptr(), stream.stride(), stream.rows().saturating_sub(1));
    let row = |i: usize| start.wrapping_add((first + i).min(last) * stride + column);
    [row(0), row(1), row(2), row(3)]
}

/// Quantises the columns of `stream` into a right panel whose groups have four elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn quantise_panel<const COLUMNS: usize>(stream: &Block, q: Quantiser, out: &mut [u8]) {
    let transpose = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let transpose = _mm512_broadcast_i32x4(transpose);
    for (first, out) in (0..stream.rows()).step_by(GROUP).zip(out.chunks_exact_mut(COLUMNS * GROUP)) {
        // The mask has the bytes of each group whose rows exist.
        let found = 0x1111_1111_1111_1111 * ((1u64 << (stream.rows() - first).min(GROUP)) - 1);
        for (across, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let (scale, offset) = (floats(q.scale, across), floats(q.offset, across));
            // SAFETY: the callers have checked that the block has `COLUMNS` columns.
            let bytes = unsafe { quantised(four_rows(stream, first, 16 * across), !0, scale, offset) };
            let bytes = _mm512_shuffle_epi8(bytes, transpose);
            // SAFETY: the store writes the 64 bytes of the array, at any address.
            unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), found, bytes) };
        }
    }
}
