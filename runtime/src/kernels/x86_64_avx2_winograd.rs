//! AVX2 with half of the multiplications, for CPUs that multiply once a cycle while they add three times: AMD's Zen to Zen 2.
//!
//! Winograd's inner product (IEEE Transactions on Computers C-17, 1968): with `a` on the left and `b` on the right,
//!
//! ```text
//! a0 b0 + a1 b1 = (a0 + b1) (a1 + b0) - a0 a1 - b0 b1
//! ```
//!
//! where the products that are taken away belong to a row or a column alone. In 16 bits the sums are exact.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86_64_f16c as f16c;
use super::x86_64_ymm::{self as ymm, BLOCK, COLUMNS, GROUP, ROWS, Sums, Tile, load, prefetch};
use super::{Int8, Kernels, Product, x86_64_detect};
use crate::format::Layout;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx2-winograd",
    layout: Some(Winograd::LAYOUT),
    supported: x86_64_detect::avx2,
    suits: x86_64_detect::multiplies_once_a_cycle,
    int8: Int8 {
        quantise_rows: ymm::quantise_rows::<Winograd>,
        quantise_columns: ymm::quantise_columns::<Winograd>,
        add: ymm::add::<Winograd>,
        mix: ymm::mix::<Winograd>,
        gelu: ymm::gelu::<Winograd>,
        sums: ymm::sums::<Winograd>,
    },
    f16: f16c::F16C,
};

/// Sums of two, multiplied in pairs.
struct Winograd;

/// Pairs of groups of the contraction that are widened at a time: 18 KB of the right operand, so that it stays in the L1 cache.
const CHUNK: usize = 96;

/// Two groups of a right panel in 16 bits; of each column, two numbers of the first and two of the second group. The columns are in
/// the order 0 1 4 5 2 3 6 7 8 …, in which unpacking leaves them, and so are their sums until they are settled.
#[repr(C, align(64))]
struct Wide {
    /// The numbers 1 and 3 of a group.
    odd: [[[i16; 2]; 2]; COLUMNS],
    /// The numbers 0 and 2.
    even: [[[i16; 2]; 2]; COLUMNS],
}

/// Of each column, the products of its own numbers: a sum over the first groups of pairs, and one over the second.
type ColumnTerms = [__m256i; COLUMNS / 4];

/// Four rows or columns of two groups, those of a row side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(first: __m128i, second: __m128i) -> __m256i {
    _mm256_set_m128i(_mm_unpackhi_epi32(first, second), _mm_unpacklo_epi32(first, second))
}

/// The numbers 0 and 2 of groups, and the numbers 1 and 3, in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn even_and_odd(numbers: __m256i) -> [__m256i; 2] {
    // Times 1 and 0, and shifted: a multiplication and a shift can start at the same time, two shifts cannot.
    [_mm256_maddubs_epi16(_mm256_set1_epi16(1), numbers), _mm256_srai_epi16::<8>(numbers)]
}

/// Sign-extends the groups in `bytes`, of which there are no more than `2 * CHUNK`, and adds up their columns' own products.
#[inline]
#[target_feature(enable = "avx2")]
fn widen<'b>(
    bytes: &[[u8; COLUMNS * GROUP]],
    buffer: &'b mut [MaybeUninit<Wide>; CHUNK],
    terms: &mut ColumnTerms,
) -> &'b [Wide] {
    let (pairs, last) = bytes.as_chunks();
    for (pair, wide) in pairs.iter().zip(buffer.iter_mut()) {
        widen_pair(pair, wide, terms);
    }
    if let ([last], Some(wide)) = (last, buffer.get_mut(pairs.len())) {
        widen_pair(&[*last, [0; _]], wide, terms);
    }
    // SAFETY: as many elements were written.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast(), bytes.len().div_ceil(2).min(CHUNK)) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_pair(pair: &[[u8; COLUMNS * GROUP]; 2], wide: &mut MaybeUninit<Wide>, terms: &mut ColumnTerms) {
    let [first, second] = pair;
    // SAFETY: 32 of 48 bytes.
    let eight = unsafe { [_mm256_loadu_si256(first.as_ptr().cast()), _mm256_loadu_si256(second.as_ptr().cast())] };
    let four = |group: &[u8; COLUMNS * GROUP]| load(group.last_chunk().unwrap_or(&[0; _]));
    let units = [
        _mm256_unpacklo_epi32(eight[0], eight[1]),
        _mm256_unpackhi_epi32(eight[0], eight[1]),
        interleave(four(first), four(second)),
    ];
    let wide = wide.as_mut_ptr();
    for (unit, (numbers, terms)) in units.into_iter().zip(terms).enumerate() {
        let [even, odd] = even_and_odd(numbers);
        *terms = _mm256_add_epi32(*terms, _mm256_madd_epi16(even, odd));
        // SAFETY: a unit is four of the twelve columns, which are 32 bytes.
        unsafe {
            _mm256_storeu_si256((&raw mut (*wide).odd).cast::<__m256i>().add(unit), odd);
            _mm256_storeu_si256((&raw mut (*wide).even).cast::<__m256i>().add(unit), even);
        }
    }
}

/// A column's numbers of the right operand with eight rows.
macro_rules! column {
    ($column:literal) => {
        concat!(
            "vpbroadcastd ymm14, dword ptr [{right} + 8 * ",
            $column,
            "]\n",
            "vpaddw ymm14, ymm14, ymm12\n",
            "vpbroadcastd ymm15, dword ptr [{right} + 96 + 8 * ",
            $column,
            "]\n",
            "vpaddw ymm15, ymm15, ymm13\n",
            "vpmaddwd ymm14, ymm14, ymm15\n",
            "vpaddd ymm",
            $column,
            ", ymm",
            $column,
            ", ymm14\n",
        )
    };
}

/// Adds the products of a left panel and a right one for a chunk of the contraction, and to `terms` the rows' own products.
///
/// The left panel comes from the L2 cache, which this loop would wait for.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply(left: &[[u8; ROWS * GROUP]], right: &[Wide], terms: &mut __m256i, sums: &mut Sums) {
    let groups = left.len().min(2 * right.len());
    if groups == 0 {
        return;
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l] = sums;
    // SAFETY: reads `groups` elements of the left slice and half as many of the right one, each of them in two steps; reads and
    // writes `terms`; a prefetch is a hint.
    unsafe {
        core::arch::asm!(
            ".p2align 6",
            "2:",
            "prefetcht0 [{left} + 256]",
            "vmovdqu ymm12, ymmword ptr [{left}]",
            "vpsraw ymm13, ymm12, 8",
            "vpsllw ymm12, ymm12, 8",
            "vpsraw ymm12, ymm12, 8",
            "vpmaddwd ymm14, ymm12, ymm13",
            "vpaddd ymm14, ymm14, ymmword ptr [{terms}]",
            "vmovdqu ymmword ptr [{terms}], ymm14",
            column!(0),
            column!(1),
            column!(2),
            column!(3),
            column!(4),
            column!(5),
            column!(6),
            column!(7),
            column!(8),
            column!(9),
            column!(10),
            column!(11),
            "add {left}, 32",
            "add {right}, {step}",
            "xor {step}, {other_step}",
            "dec {groups}",
            "jnz 2b",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            step = inout(reg) size_of::<[i16; 2]>() => _,
            other_step = const size_of::<[i16; 2]>() ^ (size_of::<Wide>() - size_of::<[i16; 2]>()),
            groups = inout(reg) groups => _,
            terms = in(reg) &raw mut *terms,
            inout("ymm0") *a, inout("ymm1") *b, inout("ymm2") *c, inout("ymm3") *d, inout("ymm4") *e, inout("ymm5") *f,
            inout("ymm6") *g, inout("ymm7") *h, inout("ymm8") *i, inout("ymm9") *j, inout("ymm10") *k, inout("ymm11") *l,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(nostack),
        );
    }
}

/// The same for rows 0 to 3 alone, two groups at a time: of each row, a sum over the first and one over the second groups.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply_top(left: &[[u8; ROWS * GROUP]], right: &[Wide], terms: &mut __m256i, sums: &mut Sums) {
    for (pair, right) in left.chunks(2).zip(right) {
        let half = |group: Option<&[u8; _]>| load(group.and_then(|group| group.first_chunk()).unwrap_or(&[0; _]));
        let [even, odd] = even_and_odd(interleave(half(pair.first()), half(pair.get(1))));
        *terms = _mm256_add_epi32(*terms, _mm256_madd_epi16(even, odd));
        for (sums, (&right_odd, &right_even)) in sums.iter_mut().zip(right.odd.iter().zip(&right.even)) {
            let x = _mm256_add_epi16(even, _mm256_set1_epi64x(bytemuck::cast(right_odd)));
            let y = _mm256_add_epi16(odd, _mm256_set1_epi64x(bytemuck::cast(right_even)));
            *sums = _mm256_add_epi32(*sums, _mm256_madd_epi16(x, y));
        }
    }
}

/// Takes the rows' and columns' own products away and brings rows and columns into order; of the top rows alone, it adds up the two
/// sums.
#[inline]
#[target_feature(enable = "avx2")]
fn settle(sums: &mut Sums, row_terms: __m256i, column_terms: &ColumnTerms, is_half: bool) {
    let column_terms: [[i32; 2]; COLUMNS] = bytemuck::cast(*column_terms);
    for (sums, [first, second]) in sums.iter_mut().zip(column_terms) {
        let products = _mm256_sub_epi32(*sums, row_terms);
        let products = match is_half {
            true => _mm256_hadd_epi32(products, products),
            false => _mm256_permute4x64_epi64::<0b11_01_10_00>(products),
        };
        *sums = _mm256_sub_epi32(products, _mm256_set1_epi32(first.wrapping_add(second)));
    }
    sums.swap(2, 4);
    sums.swap(3, 5);
}

impl Tile for Winograd {
    const LAYOUT: Layout = Layout::DEFAULT;

    #[target_feature(enable = "avx2")]
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]) {
        let mut buffer = [const { MaybeUninit::uninit() }; CHUNK];
        let zero = _mm256_setzero_si256();
        let (mut row_terms, mut column_terms) = ([zero; BLOCK], [zero; COLUMNS / 4]);
        let panel = (ROWS * p.k).max(1);
        let is_half = |index| rows - index * ROWS <= ROWS / 2;
        for (chunk, right) in p.right.as_chunks().0.chunks(2 * CHUNK).enumerate() {
            let share = (right.len() * COLUMNS * GROUP).div_ceil((left.len() / panel).max(1));
            let mut ahead = p.right.as_ptr().wrapping_add(p.right.len() + chunk * 2 * CHUNK * COLUMNS * GROUP);
            let right = widen(right, &mut buffer, &mut column_terms);
            let panels = left.chunks_exact(panel).zip(sums.iter_mut().zip(&mut row_terms)).enumerate();
            for (index, (panel, (sums, terms))) in panels {
                ahead = prefetch(ahead, share);
                let left = panel.as_chunks().0.chunks(2 * CHUNK).nth(chunk).unwrap_or(&[]);
                match is_half(index) {
                    true => multiply_top(left, right, terms, sums),
                    false => multiply(left, right, terms, sums),
                }
            }
        }
        let panels = sums.iter_mut().zip(row_terms).take(left.len() / panel).enumerate();
        panels.for_each(|(index, (sums, terms))| settle(sums, terms, &column_terms, is_half(index)));
    }
}
