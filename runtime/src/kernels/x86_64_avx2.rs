//! AVX2: 8-bit numbers are widened to 16 bits and multiplied in pairs (`vpmaddwd`), which is exact for all of them.
//!
//! Eight rows of the left operand are widened as they are loaded; the right operand is widened once for a block of rows, as
//! it is read from memory once for each of them.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::x86_64_f16c as f16c;
use super::x86_64_ymm::{self as ymm, COLUMNS, GROUP, ROWS, Sums, Tile, load, prefetch};
use super::{Int8, Kernels, Product, x86_64_detect};
use crate::format::Layout;

pub(super) static KERNELS: Kernels = Kernels {
    name: "x86_64-avx2",
    layout: Some(Avx2::LAYOUT),
    supported: x86_64_detect::avx2,
    suits: || true,
    int8: Int8 {
        quantise_rows: ymm::quantise_rows::<Avx2>,
        quantise_columns: ymm::quantise_columns::<Avx2>,
        add: ymm::add::<Avx2>,
        mix: ymm::mix::<Avx2>,
        gelu: ymm::gelu::<Avx2>,
        sums: ymm::sums::<Avx2>,
    },
    f16: f16c::F16C,
};

/// Pairs of 16-bit numbers.
struct Avx2;

/// Groups of the contraction that are widened at a time: 18 KB of the right operand, so that it stays in the L1 cache.
const CHUNK: usize = 192;

/// A group of a right panel, widened to 16 bits: one column an element.
type Wide = [i64; COLUMNS];
/// Sign-extends the groups in `bytes`, of which there are no more than `CHUNK`.
#[inline]
#[target_feature(enable = "avx2")]
fn widen<'b>(bytes: &[[u8; 48]], buffer: &'b mut [MaybeUninit<Wide>; CHUNK]) -> &'b [Wide] {
    for (bytes, wide) in bytes.iter().zip(buffer.iter_mut()) {
        for (bytes, out) in bytes.as_chunks().0.iter().zip((0..).step_by(4)) {
            let quads = _mm256_cvtepi8_epi16(load(bytes));
            // SAFETY: a group has twelve quads; three times four of them are written.
            unsafe { _mm256_storeu_si256(wide.as_mut_ptr().cast::<i64>().add(out).cast(), quads) };
        }
    }
    // SAFETY: the loop has written as many elements.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast(), bytes.len().min(CHUNK)) }
}

/// A column's number of the right operand times eight rows.
macro_rules! column {
    ($at:literal, $top:literal, $bottom:literal) => {
        concat!(
            "vpbroadcastq ymm14, qword ptr [{right} + ",
            $at,
            "]\n",
            "vpmaddwd ymm15, ymm12, ymm14\n",
            "vpmaddwd ymm14, ymm13, ymm14\n",
            "vpaddd ymm",
            $top,
            ", ymm",
            $top,
            ", ymm15\n",
            "vpaddd ymm",
            $bottom,
            ", ymm",
            $bottom,
            ", ymm14\n",
        )
    };
}

/// Adds the products of a left panel and columns `FIRST..FIRST + 6` of a right one, for a chunk of the contraction.
///
/// In assembly, since the loop runs up to a tenth slower where it happens to lie badly among the processor's cached lines.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply<const FIRST: usize>(left: &[[u8; 32]], right: &[Wide], sums: &mut Sums) {
    let groups = left.len().min(right.len());
    if groups == 0 {
        return;
    }
    let zero = _mm256_setzero_si256();
    let mut tops = [zero; COLUMNS / 2];
    let mut bottoms = tops;
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (&mut tops, &mut bottoms);
    // SAFETY: reads `groups` elements of each slice, of a right one six numbers from `FIRST`, which is 0 or 6, of twelve.
    unsafe {
        core::arch::asm!(
            ".p2align 6",
            "2:",
            "vpmovsxbw ymm12, xmmword ptr [{left}]",
            "vpmovsxbw ymm13, xmmword ptr [{left} + 16]",
            column!(0, 0, 6),
            column!(8, 1, 7),
            column!(16, 2, 8),
            column!(24, 3, 9),
            column!(32, 4, 10),
            column!(40, 5, 11),
            "add {left}, 32",
            "add {right}, 96",
            "dec {groups}",
            "jnz 2b",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr().cast::<i64>().add(FIRST) => _,
            groups = inout(reg) groups => _,
            inout("ymm0") *a, inout("ymm1") *b, inout("ymm2") *c, inout("ymm3") *d, inout("ymm4") *e, inout("ymm5") *f,
            inout("ymm6") *g, inout("ymm7") *h, inout("ymm8") *i, inout("ymm9") *j, inout("ymm10") *k, inout("ymm11") *l,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        );
    }
    for (sums, (top, bottom)) in sums[FIRST..].iter_mut().zip(tops.into_iter().zip(bottoms)) {
        *sums = _mm256_add_epi32(*sums, _mm256_hadd_epi32(top, bottom));
    }
}

/// The same for all columns and rows 0 to 3 alone; what is added for the others may be anything.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply_top(left: &[[u8; 32]], right: &[Wide], sums: &mut Sums) {
    let mut tops = [_mm256_setzero_si256(); COLUMNS];
    for (left, right) in left.iter().zip(right) {
        let left = _mm256_cvtepi8_epi16(load(left.first_chunk().unwrap_or(&[0; 16])));
        for (top, &right) in tops.iter_mut().zip(right) {
            *top = _mm256_add_epi32(*top, _mm256_madd_epi16(left, _mm256_set1_epi64x(right)));
        }
    }
    for (sums, top) in sums.iter_mut().zip(tops) {
        *sums = _mm256_add_epi32(*sums, _mm256_hadd_epi32(top, top));
    }
}

impl Tile for Avx2 {
    const LAYOUT: Layout = Layout::DEFAULT;

    #[target_feature(enable = "avx2")]
    unsafe fn sum_up<const RIGHT: bool>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]) {
        let mut buffer = [const { MaybeUninit::uninit() }; CHUNK];
        let panel = (ROWS * p.k).max(1);
        for (chunk, right) in p.right.as_chunks().0.chunks(CHUNK).enumerate() {
            let right = widen(right, &mut buffer);
            let share = (right.len() * COLUMNS * GROUP).div_ceil((left.len() / panel).max(1));
            let mut ahead = p.right.as_ptr().wrapping_add(p.right.len() + chunk * CHUNK * COLUMNS * GROUP);
            for (index, (panel, sums)) in left.chunks_exact(panel).zip(sums.iter_mut()).enumerate() {
                ahead = prefetch(ahead, share);
                let left = panel.as_chunks().0.chunks(CHUNK).nth(chunk).unwrap_or(&[]);
                if rows - index * ROWS <= ROWS / 2 {
                    multiply_top(left, right, sums);
                    continue;
                }
                multiply::<0>(left, right, sums);
                multiply::<{ COLUMNS / 2 }>(left, right, sums);
            }
        }
    }
}
