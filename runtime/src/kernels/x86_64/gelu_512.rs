//! GELU with 512-bit registers: turns the sums of hidden units into 8-bit activations, with a table of 256 bytes in
//! registers.

use core::arch::x86_64::*;

use super::tile_512::integers;
use crate::format::GELU_ENTRIES;
use crate::kernels::lanes::fours;
use crate::kernels::operands::GeluColumns;

/// The coefficients of sixteen columns. Those of 16 bits are repeated, as a register then holds two rows.
pub(super) struct Gelu {
    scale: Fractions,
    requantise: __m512i,
    zero: __m512i,
}

impl Gelu {
    /// Returns the coefficients of columns `16 * across..`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn new(columns: &GeluColumns, across: usize) -> Self {
        let twice = |fours: [[i16; 4]; 4]| {
            let [a, b, c, d] = fours.map(bytemuck::cast);
            _mm512_setr_epi64(a, a, b, b, c, c, d, d)
        };
        let sixteen = 16 * across..;
        Self {
            scale: Fractions::new(integers(columns.scale, across)),
            requantise: twice(fours(columns.requantise.get(sixteen.clone()).unwrap_or(&[]))),
            zero: twice(
                fours(columns.zero.get(sixteen).unwrap_or(&[])).map(|four| four.map(|zero| i16::from(zero) + 128)),
            ),
        }
    }

    /// Returns the activations of four rows, a quad, from their sums.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub fn activations(&self, [a, b, c, d]: [__m512i; 4], table: &Table) -> __m512i {
        let top = _mm512_packs_epi32(self.scale.of(a), self.scale.of(b));
        let bottom = _mm512_packs_epi32(self.scale.of(c), self.scale.of(d));
        self.requantised(top, bottom, table.look_up(top, bottom))
    }

    /// Brings the sums of eight rows and columns `16 * across..` to GELU units of 16 bits. A register of the result
    /// holds two rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn scaled<const ACROSS: usize>(
        &self,
        [a, b, c, d, e, f, g, h]: &[[__m512i; ACROSS]; 8],
        across: usize,
    ) -> [__m512i; 4] {
        let pair = |a: &[__m512i; ACROSS], b: &[__m512i; ACROSS]| {
            _mm512_packs_epi32(self.scale.of(a[across]), self.scale.of(b[across]))
        };
        [pair(a, b), pair(c, d), pair(e, f), pair(g, h)]
    }

    /// Returns a quad of activations from GELU units and corrections.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn requantised(&self, top: __m512i, bottom: __m512i, corrections: __m512i) -> __m512i {
        let none = _mm512_setzero_si512();
        let requantised = |x, correction| {
            let y = _mm512_sub_epi16(_mm512_max_epi16(x, none), correction);
            _mm512_adds_epi16(_mm512_mulhrs_epi16(y, self.requantise), self.zero)
        };
        _mm512_packus_epi16(
            requantised(top, _mm512_unpacklo_epi8(corrections, none)),
            requantised(bottom, _mm512_unpackhi_epi8(corrections, none)),
        )
    }
}

/// Factors of sixteen sums, as fractions of 2^32.
struct Fractions {
    /// Factors of the first, third … sum, in the lower halves of 64 bits.
    even: __m512i,
    /// Factors of the other sums, in the same places.
    odd: __m512i,
}

impl Fractions {
    /// Returns the factors from fractions of 2^31 below 2^30.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(fractions: __m512i) -> Self {
        let even = _mm512_slli_epi32::<1>(fractions);
        Self { even, odd: _mm512_srli_epi64::<32>(even) }
    }

    /// Multiplies sixteen sums, and rounds to nearest, ties upwards.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn of(&self, x: __m512i) -> __m512i {
        let half = _mm512_set1_epi64(1 << 31);
        let even = _mm512_add_epi64(_mm512_mul_epi32(x, self.even), half);
        let odd = _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64::<32>(x), self.odd), half);
        let upper_halves = _mm512_setr_epi32(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
        _mm512_permutex2var_epi32(even, upper_halves, odd)
    }
}

/// The table of corrections. Each register holds a quarter of the entries.
pub(super) struct Table {
    quarters: [__m512i; 4],
    /// Shift of each 16-bit number that makes an index of it.
    shift: __m512i,
}

impl Table {
    /// Loads a table.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new(table: &[u8; GELU_ENTRIES], shift: u32) -> Self {
        let mut quarters = [_mm512_setzero_si512(); 4];
        for (quarter, bytes) in quarters.iter_mut().zip(table.as_chunks::<64>().0) {
            // SAFETY: the load reads the 64 bytes of the array, at any address.
            *quarter = unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        }
        Self { quarters, shift: _mm512_set1_epi16(shift as i16) }
    }

    /// Returns the entries for two quads.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    pub fn corrections(&self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 2] {
        [self.look_up(a, b), self.look_up(c, d)]
    }

    /// Returns the entries at `|x|` of 16-bit numbers, packed.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    fn look_up(&self, top: __m512i, bottom: __m512i) -> __m512i {
        // The numbers are unsigned from here on, so that |-32768| is 32768.
        let index = |x| _mm512_min_epu16(_mm512_srlv_epi16(_mm512_abs_epi16(x), self.shift), _mm512_set1_epi16(255));
        let index = _mm512_packus_epi16(index(top), index(bottom));
        let [a, b, c, d] = self.quarters;
        let (low, high) = (_mm512_permutex2var_epi8(a, index, b), _mm512_permutex2var_epi8(c, index, d));
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high)
    }
}
