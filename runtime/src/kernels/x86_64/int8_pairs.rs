//! Holds everything but the products themselves for the tables that multiply 16-bit numbers in pairs (`vpmaddwd`).
//!
//! Both operands are widened to 16 bits, with the even and the odd numbers of a group apart, which takes two
//! instructions. A chunk of several right panels is widened once for a block of left panels, and three left panels are
//! widened once for all of these right panels. The L1 cache holds the three left panels and the right panel in use. A
//! broadcast costs as much as an addition, so each number of the right operand is broadcast to the rows of three left
//! panels. Rows that are left over are broadcast to the columns of a right panel.

mod ahead;

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::tile_256::{BLOCK, COLUMNS, GROUP, RIGHT_PANELS, ROWS, Sums, load};
use crate::kernels::operands::Product;
use ahead::Ahead;

/// Pairs of groups of the contraction that are widened at a time: 6 KB of a right panel, 12 KB of left ones.
const CHUNK: usize = 32;
/// Left panels that are multiplied at the same time.
pub(super) const AT_ONCE: usize = 3;

/// Two groups of a right panel in 16 bits: for each column, two numbers of the first group and two of the second.
///
/// The columns are in the order 0 1 4 5 2 3 6 7 8 …, in which unpacking leaves them. Their sums keep this order until
/// they are settled.
#[repr(C, align(64))]
pub(super) struct Right {
    /// The numbers 0 and 2 of a group.
    even: [[[i16; 2]; 2]; COLUMNS],
    /// The numbers 1 and 3.
    odd: [[[i16; 2]; 2]; COLUMNS],
}

/// A group of [`AT_ONCE`] left panels in 16 bits.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// The numbers 0 and 2 of a group.
    even: [__m256i; AT_ONCE],
    /// The numbers 1 and 3.
    odd: [__m256i; AT_ONCE],
}

/// Two groups of four rows in 16 bits: for each row, two numbers of the first group and two of the second.
#[repr(C, align(64))]
pub(super) struct Rows {
    /// The numbers 0 and 2 of a group.
    even: __m256i,
    /// The numbers 1 and 3.
    odd: __m256i,
}

/// Sums of the products of [`Rows`] and [`Right`], by unit of four columns and by row. Each column has two sums: one
/// over the first groups of pairs and one over the second groups.
pub(super) type RowSums = [[__m256i; 4]; COLUMNS / 4];

/// Products of even and odd numbers, which are multiplied in pairs and added up.
pub(super) trait Planes {
    /// Whether the sums contain the products of each row's and each column's own even and odd numbers, which then have
    /// to be subtracted.
    const OWN: bool;

    /// Adds the products of three left panels and columns `FIRST..FIRST + 4` of a right panel, for a chunk of the
    /// contraction.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    unsafe fn three_panels<const FIRST: usize>(left: &[Left], right: &[Right], sums: &mut [Sums; AT_ONCE]);

    /// Adds the products of four rows and a right panel, for a chunk of the contraction.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    unsafe fn four_rows(left: &[Rows], right: &[Right], sums: &mut RowSums);

    /// Adds the products of the first two of four rows and a right panel, for a chunk of the contraction.
    ///
    /// # Safety
    /// The CPU must have AVX2.
    unsafe fn two_rows(left: &[Rows], right: &[Right], sums: &mut RowSums);
}

/// Sums of the products of each column's own numbers: one over the first groups of pairs, and one over the second
/// groups.
type ColumnTerms = [__m256i; COLUMNS / 4];
/// A group of a left panel, eight rows.
type LeftBytes = [u8; ROWS * GROUP];
/// A group of a right panel.
type RightBytes = [u8; COLUMNS * GROUP];
/// Largest number of groups of four rows that remain after the panels that are multiplied three at a time.
const FOURS: usize = AT_ONCE * ROWS / 4 - 1;

/// Runs a loop of `$count` steps, whose instructions read vectors at `{vectors}` and numbers to be broadcast at
/// `{numbers}`. Twelve sums are in `ymm0` to `ymm11`.
macro_rules! multiply {
    ($count:expr, $vectors:expr, $numbers:expr, $step_of_vectors:literal, $step_of_numbers:literal, $sums:expr, $($body:expr,)*) => {
        let count: usize = $count;
        if count == 0 {
            return;
        }
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l]] = $sums;
        core::arch::asm!(
            ".p2align 6",
            "2:",
            $($body,)*
            concat!("add {vectors}, ", $step_of_vectors),
            concat!("add {numbers}, ", $step_of_numbers),
            "dec {count}",
            "jnz 2b",
            vectors = inout(reg) $vectors => _,
            numbers = inout(reg) $numbers => _,
            count = inout(reg) count => _,
            inout("ymm0") *a, inout("ymm1") *b, inout("ymm2") *c, inout("ymm3") *d, inout("ymm4") *e, inout("ymm5") *f,
            inout("ymm6") *g, inout("ymm7") *h, inout("ymm8") *i, inout("ymm9") *j, inout("ymm10") *k, inout("ymm11") *l,
            out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
            options(readonly, nostack),
        );
    };
}

/// Implements the functions of [`Planes`] with two macros of instructions.
///
/// `$vectors!(at)` begins a group. Its three vectors of even numbers lie at `{vectors} + at`, and those of odd numbers
/// 96 bytes after them. `$number!(instruction, number, odd, at, a, b, c)` broadcasts the even numbers at `{numbers} +
/// number` and the odd numbers `odd` bytes after them, multiplies the vectors by them, and adds the products to sums
/// `a`, `b` and `c`.
macro_rules! functions {
    ($vectors:ident, $number:ident) => {
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn three_panels<const FIRST: usize>(left: &[Left], right: &[Right], sums: &mut [Sums; AT_ONCE]) {
            let fours = sums.each_mut().map(|sums| sums.as_chunks_mut::<4>().0.get_mut(FIRST / 4));
            let [Some(a), Some(b), Some(c)] = fours else { return };
            // SAFETY: the loop reads no more elements of the right slice than it has, and twice as many of the left
            // slice, which has them too. Every element of the right slice has columns `FIRST..FIRST + 4`.
            unsafe {
                int8_pairs::multiply!(
                    right.len().min(left.len() / 2),
                    left.as_ptr(),
                    right.as_ptr().cast::<[i16; 4]>().add(FIRST),
                    384,
                    192,
                    [a, b, c],
                    $vectors!(0),
                    $number!("vpbroadcastd", 0, 96, 0, 0, 4, 8),
                    $number!("vpbroadcastd", 8, 96, 0, 1, 5, 9),
                    $number!("vpbroadcastd", 16, 96, 0, 2, 6, 10),
                    $number!("vpbroadcastd", 24, 96, 0, 3, 7, 11),
                    $vectors!(192),
                    $number!("vpbroadcastd", 4, 96, 192, 0, 4, 8),
                    $number!("vpbroadcastd", 12, 96, 192, 1, 5, 9),
                    $number!("vpbroadcastd", 20, 96, 192, 2, 6, 10),
                    $number!("vpbroadcastd", 28, 96, 192, 3, 7, 11),
                );
            }
        }

        int8_pairs::rows!(four_rows, $vectors, $number, (0, 0, 4, 8), (8, 1, 5, 9), (16, 2, 6, 10), (24, 3, 7, 11));
        int8_pairs::rows!(two_rows, $vectors, $number, (0, 0, 4, 8), (8, 1, 5, 9));
    };
}

/// Implements a function of [`Planes`] for rows. Each row is given with the place of its numbers and its three sums.
macro_rules! rows {
    ($name:ident, $vectors:ident, $number:ident, $(($at:literal, $a:literal, $b:literal, $c:literal)),*) => {
        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn $name(left: &[Rows], right: &[Right], [a, b, c]: &mut RowSums) {
            // SAFETY: the loop reads no more elements than both slices have.
            unsafe {
                int8_pairs::multiply!(
                    right.len().min(left.len()),
                    right.as_ptr(),
                    left.as_ptr(),
                    192,
                    64,
                    [a, b, c],
                    $vectors!(0),
                    $($number!("vpbroadcastq", $at, 32, 0, $a, $b, $c),)*
                );
            }
        }
    };
}
pub(super) use {functions, multiply, rows};

/// Brings the groups of each of four rows or columns side by side.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(first: __m128i, second: __m128i) -> __m256i {
    _mm256_set_m128i(_mm_unpackhi_epi32(first, second), _mm_unpacklo_epi32(first, second))
}

/// Returns the numbers 0 and 2 of groups, and the numbers 1 and 3, in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn even_and_odd(numbers: __m256i) -> [__m256i; 2] {
    // The even numbers are multiplied by 1 and the odd ones by 0. A multiplication and a shift can start in the same
    // cycle, unlike two shifts.
    [_mm256_maddubs_epi16(_mm256_set1_epi16(1), numbers), _mm256_srai_epi16::<8>(numbers)]
}

/// Accumulates the products of each row's or column's own even and odd numbers, for tables that need them as correction
/// terms.
#[inline]
#[target_feature(enable = "avx2")]
fn add_own<P: Planes>(terms: &mut __m256i, [even, odd]: [__m256i; 2]) {
    if P::OWN {
        *terms = _mm256_add_epi32(*terms, _mm256_madd_epi16(even, odd));
    }
}

/// Sign-extends the groups of a right panel in `bytes`, at most `2 * CHUNK` of them.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_right<'b, P: Planes>(
    bytes: &[RightBytes],
    buffer: &'b mut [MaybeUninit<Right>; CHUNK],
    terms: &mut ColumnTerms,
) -> &'b [Right] {
    let (pairs, last) = bytes.as_chunks();
    for (pair, wide) in pairs.iter().zip(buffer.iter_mut()) {
        widen_pair::<P>(pair, wide, terms);
    }
    if let ([last], Some(wide)) = (last, buffer.get_mut(pairs.len())) {
        widen_pair::<P>(&[*last, [0; _]], wide, terms);
    }
    // SAFETY: the loop above has initialised as many elements, from the first one on.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast(), bytes.len().div_ceil(2).min(CHUNK)) }
}

/// Sign-extends two groups of a right panel.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_pair<P: Planes>(pair: &[RightBytes; 2], wide: &mut MaybeUninit<Right>, terms: &mut ColumnTerms) {
    let [first, second] = pair;
    let eight = |group: &RightBytes| {
        // SAFETY: the load reads 32 of the array's 48 bytes and takes any address; a prefetch is a hint.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(group.as_ptr().wrapping_add(6 * size_of_val(pair)).cast());
            _mm256_loadu_si256(group.as_ptr().cast())
        }
    };
    let four = |group: &RightBytes| load(group.last_chunk().unwrap_or(&[0; _]));
    let units = [
        _mm256_unpacklo_epi32(eight(first), eight(second)),
        _mm256_unpackhi_epi32(eight(first), eight(second)),
        interleave(four(first), four(second)),
    ];
    let wide = wide.as_mut_ptr();
    for (unit, (numbers, terms)) in units.into_iter().zip(terms).enumerate() {
        let [even, odd] = even_and_odd(numbers);
        add_own::<P>(terms, [even, odd]);
        // SAFETY: each of the three units stores 32 bytes, which are four of the element's twelve columns.
        unsafe {
            _mm256_storeu_si256((&raw mut (*wide).even).cast::<__m256i>().add(unit), even);
            _mm256_storeu_si256((&raw mut (*wide).odd).cast::<__m256i>().add(unit), odd);
        }
    }
}

/// Sign-extends the groups of left panels, at most `2 * CHUNK` of them, and adds a group of zeros after an odd number
/// of groups.
///
/// The panels come from the L2 cache, so the loop prefetches later groups on the way.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_left<'b, P: Planes>(
    panels: [&[LeftBytes]; AT_ONCE],
    buffer: &'b mut [MaybeUninit<Left>; 2 * CHUNK],
    terms: &mut [__m256i; AT_ONCE],
) -> &'b [Left] {
    let groups = panels.iter().fold(2 * CHUNK, |groups, panel| groups.min(panel.len()));
    for (index, (panel, terms)) in panels.into_iter().zip(terms).enumerate() {
        let mut sum = *terms;
        for (bytes, wide) in panel.iter().take(groups).zip(buffer.iter_mut()) {
            // SAFETY: the load reads the 32 bytes of the array; a prefetch is a hint.
            let numbers = unsafe {
                _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().wrapping_add(512).cast());
                _mm256_loadu_si256(bytes.as_ptr().cast())
            };
            let [even, odd] = even_and_odd(numbers);
            add_own::<P>(&mut sum, [even, odd]);
            let wide = wide.as_mut_ptr();
            // SAFETY: `index` is below `AT_ONCE`, the length of both arrays.
            unsafe {
                (&raw mut (*wide).even).cast::<__m256i>().add(index).write(even);
                (&raw mut (*wide).odd).cast::<__m256i>().add(index).write(odd);
            }
        }
        *terms = sum;
    }
    if let (1, Some(behind)) = (groups % 2, buffer.get_mut(groups)) {
        let none = [_mm256_setzero_si256(); AT_ONCE];
        behind.write(Left { even: none, odd: none });
    }
    // SAFETY: the loop above has initialised as many elements, from the first one on.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast(), groups.next_multiple_of(2)) }
}

/// Sign-extends the first or the last four rows of a left panel, at most `2 * CHUNK` groups.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_rows<'b, P: Planes>(
    panel: &[LeftBytes],
    is_last: bool,
    buffer: &'b mut [MaybeUninit<Rows>; CHUNK],
    terms: &mut __m256i,
) -> &'b [Rows] {
    let at = if is_last { ROWS * GROUP / 2 } else { 0 };
    let four =
        |group: Option<&LeftBytes>| load(group.and_then(|group| group.get(at..)?.first_chunk()).unwrap_or(&[0; _]));
    for (pair, rows) in panel.chunks(2).zip(buffer.iter_mut()) {
        let [even, odd] = even_and_odd(interleave(four(pair.first()), four(pair.get(1))));
        add_own::<P>(terms, [even, odd]);
        rows.write(Rows { even, odd });
    }
    // SAFETY: the loop above has initialised as many elements, from the first one on.
    unsafe { core::slice::from_raw_parts(buffer.as_ptr().cast(), panel.len().div_ceil(2).min(CHUNK)) }
}

/// Subtracts the rows' and columns' own products, and brings rows and columns into order.
#[inline]
#[target_feature(enable = "avx2")]
fn settle<P: Planes>(sums: &mut Sums, row_terms: __m256i, column_terms: &ColumnTerms) {
    let column_terms: [[i32; 2]; COLUMNS] = bytemuck::cast(*column_terms);
    for (sums, [first, second]) in sums.iter_mut().zip(column_terms) {
        if P::OWN {
            let own = _mm256_add_epi32(row_terms, _mm256_set1_epi32(first.wrapping_add(second)));
            *sums = _mm256_sub_epi32(*sums, own);
        }
        *sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(*sums);
    }
    sums.swap(2, 4);
    sums.swap(3, 5);
}

/// Subtracts own products from the sums of the first or the last four rows of a panel, and writes the sums to their
/// places in `sums`.
#[inline]
#[target_feature(enable = "avx2")]
fn settle_rows<P: Planes>(
    [first, second, last]: &RowSums,
    row_terms: __m256i,
    column_terms: &ColumnTerms,
    is_last: bool,
    sums: &mut Sums,
) {
    let own: [i64; 4] = bytemuck::cast(row_terms);
    let [first_own, second_own, last_own] = *column_terms;
    let mut rows = [[_mm256_setzero_si256(); 2]; 4];
    for ((row, own), ((&a, &b), &c)) in rows.iter_mut().zip(own).zip(first.iter().zip(second).zip(last)) {
        let own = _mm256_set1_epi64x(own);
        let settle = |sums, column_terms| match P::OWN {
            true => _mm256_sub_epi32(sums, _mm256_add_epi32(column_terms, own)),
            false => sums,
        };
        let last = settle(c, last_own);
        *row = [_mm256_hadd_epi32(settle(a, first_own), settle(b, second_own)), _mm256_hadd_epi32(last, last)];
    }
    let [a, b, c, d] = rows;
    let half = usize::from(is_last);
    for ((sums, top), bottom) in sums.iter_mut().zip(pairs_of_columns(a, b)).zip(pairs_of_columns(c, d)) {
        // The pairs belong to rows 0 1, 4 5, 2 3 and 6 7.
        let pairs: &mut [[i32; 2]; 4] = bytemuck::cast_mut(sums);
        for (pair, settled) in pairs.iter_mut().skip(half).step_by(2).zip([top, bottom]) {
            *pair = settled;
        }
    }
}

/// Returns two rows' sums by column. The arguments hold the sums of columns 0 to 7, and those of columns 8 9 8 9 | 10
/// 11 10 11, which is the order in which adding neighbours leaves them.
#[inline]
#[target_feature(enable = "avx2")]
fn pairs_of_columns([eight, last]: [__m256i; 2], [other_eight, other_last]: [__m256i; 2]) -> [[i32; 2]; COLUMNS] {
    let [a, b, e, f]: [[i32; 2]; 4] = bytemuck::cast(_mm256_unpacklo_epi32(eight, other_eight));
    let [c, d, g, h]: [[i32; 2]; 4] = bytemuck::cast(_mm256_unpackhi_epi32(eight, other_eight));
    let [i, j, k, l]: [[i32; 2]; 4] = bytemuck::cast(_mm256_unpacklo_epi32(last, other_last));
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// Implements [`Tile::sum_up`](super::tile_256::Tile::sum_up) for signed activations.
#[target_feature(enable = "avx2")]
pub(super) fn sum_up<P: Planes>(p: &Product, left: &[u8], rows: usize, sums: &mut [Sums]) {
    let mut right_buffers = [const { [const { MaybeUninit::uninit() }; CHUNK] }; RIGHT_PANELS];
    let mut left_buffer = [const { MaybeUninit::uninit() }; 2 * CHUNK];
    let mut rows_buffer = [const { MaybeUninit::uninit() }; CHUNK];
    let zero = _mm256_setzero_si256();
    let (mut row_terms, mut column_terms) = ([zero; BLOCK], [[zero; COLUMNS / 4]; RIGHT_PANELS]);
    let panels = (left.len() / (ROWS * p.k).max(1)).min(BLOCK);
    let chunks = (p.k / GROUP).div_ceil(2 * CHUNK);
    let rows = rows.min(panels * ROWS);
    // Five groups of four rows take less time than three panels, and six groups take as much, so six groups become
    // three panels.
    let threes = (rows + 3) / (AT_ONCE * ROWS);
    let behind_threes = threes * AT_ONCE * ROWS;
    let fours = rows.saturating_sub(behind_threes).div_ceil(4);
    let mut four_sums = [const { MaybeUninit::uninit() }; FOURS];
    let four_sums = zeros(&mut four_sums, fours);
    let mut four_terms = [zero; FOURS];
    for chunk in 0..chunks {
        let mut ahead = Ahead::new(p, 2 * CHUNK, chunk, threes + fours);
        let mut wide = [&[][..]; RIGHT_PANELS];
        let rights = p.right.chunks_exact((COLUMNS * p.k).max(1)).map(|panel| part(panel, chunk));
        for (((wide, right), buffer), terms) in
            wide.iter_mut().zip(rights).zip(&mut right_buffers).zip(&mut column_terms)
        {
            *wide = widen_right::<P>(right, buffer, terms);
        }
        let mut parts = left.chunks_exact((ROWS * p.k).max(1)).map(|panel| part(panel, chunk));
        for (three, terms) in row_terms.as_chunks_mut().0.iter_mut().take(threes).enumerate() {
            ahead.prefetch();
            let left = [parts.next(), parts.next(), parts.next()].map(|part| part.unwrap_or(&[]));
            let left = widen_left::<P>(left, &mut left_buffer, terms);
            for (right, sums) in wide.iter().zip(sums.chunks_exact_mut(panels.max(1))) {
                let Some(sums) = sums.as_chunks_mut().0.get_mut(three) else { continue };
                // SAFETY: the attribute of this function requires AVX2, so the CPU has it.
                unsafe {
                    P::three_panels::<0>(left, right, sums);
                    P::three_panels::<4>(left, right, sums);
                    P::three_panels::<8>(left, right, sums);
                }
            }
        }
        let halves = parts.flat_map(|panel| [(panel, false), (panel, true)]).take(fours);
        let fours = halves.zip(&mut four_terms).zip(&mut *four_sums).zip((behind_threes..).step_by(4));
        for ((((panel, is_last), terms), sums), first) in fours {
            ahead.prefetch();
            let left = widen_rows::<P>(panel, is_last, &mut rows_buffer, terms);
            for (right, sums) in wide.iter().zip(sums) {
                let multiply = if rows - first <= 2 { P::two_rows } else { P::four_rows };
                // SAFETY: the attribute of this function requires AVX2, so the CPU has it.
                unsafe { multiply(left, right, sums) };
            }
        }
    }
    let four_sums = four_sums.iter().zip(four_terms);
    for (right, (sums, column_terms)) in sums.chunks_exact_mut(panels.max(1)).zip(&column_terms).enumerate() {
        let fours = four_sums.clone().filter_map(|(rows, terms)| Some((rows.get(right)?, terms)));
        settle_panel::<P>(sums, row_terms.into_iter().take(threes * AT_ONCE), fours, column_terms);
    }
}

/// Settles a right panel's sums: first those of the left panels that `row_terms` belong to, and then those of `fours`
/// of rows.
#[inline]
#[target_feature(enable = "avx2")]
fn settle_panel<'s, P: Planes>(
    sums: &mut [Sums],
    row_terms: impl Iterator<Item = __m256i>,
    fours: impl Iterator<Item = (&'s RowSums, __m256i)>,
    column_terms: &ColumnTerms,
) {
    let mut sums = sums.iter_mut();
    for (row_terms, sums) in row_terms.zip(&mut sums) {
        settle::<P>(sums, row_terms, column_terms);
    }
    let sums = sums.into_slice();
    for (four, (rows, row_terms)) in fours.enumerate() {
        let Some(sums) = sums.get_mut(four / 2) else { continue };
        settle_rows::<P>(rows, row_terms, column_terms, four % 2 == 1, sums);
    }
}

/// Sets the first `count` sums to 0 and returns them.
#[inline]
#[target_feature(enable = "avx2")]
fn zeros(sums: &mut [MaybeUninit<[RowSums; RIGHT_PANELS]>; FOURS], count: usize) -> &mut [[RowSums; RIGHT_PANELS]] {
    let count = count.min(FOURS);
    for sums in sums.iter_mut().take(count) {
        sums.write([[[_mm256_setzero_si256(); 4]; COLUMNS / 4]; RIGHT_PANELS]);
    }
    // SAFETY: the loop above has initialised as many elements, from the first one on.
    unsafe { core::slice::from_raw_parts_mut(sums.as_mut_ptr().cast(), count) }
}

/// Returns the groups of a panel that are in a chunk of the contraction.
#[inline]
fn part<const LEN: usize>(panel: &[u8], chunk: usize) -> &[[u8; LEN]] {
    panel.as_chunks().0.chunks(2 * CHUNK).nth(chunk).unwrap_or(&[])
}
