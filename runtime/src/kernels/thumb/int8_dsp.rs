//! The table for cores with the DSP extension (Cortex-M4, M7, most M33): `smlad` adds two products of 16-bit numbers to
//! a sum.
//!
//! A tile is three rows and two columns. Its six sums, the two columns' next weights and one row's activations fill the
//! fourteen registers. `sxtb16` widens bytes 0 and 2, or 1 and 3, of a word. It does so on both sides, so that the
//! products match.

use core::arch::{asm, naked_asm};

use super::detect::has_dsp;
use crate::format::{GELU_ENTRIES, Layout};
use crate::kernels::operands::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::kernels::scalar;
use crate::kernels::table::{Int8, Int8Tiles, Kernels, TileBytes};
use crate::parallel::Block;

pub(super) static KERNELS: Kernels = Kernels {
    name: "thumb-dsp",
    layout: Some(Layout::DSP),
    supported: has_dsp,
    suits: || true,
    int8: Int8 {
        quantise_rows,
        quantise_columns,
        add,
        mix,
        gelu,
        sums,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: scalar::PLAIN,
};

/// Rows of a left panel.
const ROWS: usize = Layout::DSP.rows as usize;
/// Columns of a right panel.
const COLUMNS: usize = Layout::DSP.columns as usize;
/// Elements of the contraction that lie together.
const GROUP: usize = Layout::DSP.group as usize;
/// Bytes from one group of a row of a left panel to the next.
const STEP: usize = ROWS * GROUP;

/// The sums of [`ROWS`] rows and [`COLUMNS`] columns.
type Sums = [[i32; COLUMNS]; ROWS];

/// Multiplies a row of the tile, whose word is in r2, by both columns and adds the products to two sums. `next` loads
/// r2 again.
#[rustfmt::skip]
macro_rules! row {
    ($first:literal $second:literal, $next:expr) => {
        concat!(
            "sxtb16 r3, r2, ror #8\n",
            "sxtb16 r2, r2\n",
            "smlad ", $first, ", r2, r10, ", $first, "\n",
            "smlad ", $second, ", r2, r11, ", $second, "\n",
            $next,
            "smlad ", $first, ", r3, r12, ", $first, "\n",
            "smlad ", $second, ", r3, lr, ", $second, "\n",
        )
    };
}

/// Widens the columns' words, in r10 and r11, and multiplies `rows` by them, for four elements of the contraction.
macro_rules! group {
    ($rows:expr) => {
        concat!(
            "sxtb16 r12, r10, ror #8\n",
            "sxtb16 lr, r11, ror #8\n",
            "sxtb16 r10, r10\n",
            "sxtb16 r11, r11\n",
            $rows,
        )
    };
}

/// Multiplies a group of the tile's three rows. `next` loads the next group's first words.
macro_rules! three_rows {
    ($next:expr) => {
        group!(concat!(
            row!("r4" "r5", "ldr r2, [r0], #4\n"),
            row!("r6" "r7", "ldr r2, [r0], #4\n"),
            row!("r8" "r9", $next),
        ))
    };
}

/// Multiplies a group of the first row alone.
macro_rules! one_row {
    ($next:expr) => {
        group!(row!("r4" "r5", $next))
    };
}

/// Adds the products of a left panel (r0) and a right panel (r1), of as many groups as r2 says, to the sums at r3.
/// `ahead` is how far the loads at the start of a group move on in the left panel.
macro_rules! multiply {
    ($group:ident, $ahead:literal) => {
        multiply!($group, $ahead, concat!("ldrd r10, r11, [r1], #8\nldr r2, [r0], #", $ahead, "\n"))
    };
    ($group:ident, $ahead:literal, $load:expr) => {
        naked_asm!(
            // Targets for ARMv8-M leave out these instructions, so the assembler has to be told to accept them.
            ".arch armv7e-m",
            "push {{r3-r11, lr}}",
            // The stack keeps two values of r0: the one after the groups that are multiplied by fours, and the one
            // after all groups but the last.
            "subs r2, #1",
            "bic r12, r2, #3",
            "add r12, r12, r12, lsl #1",
            "add r12, r0, r12, lsl #2",
            concat!("add r12, #", $ahead),
            "add r2, r2, r2, lsl #1",
            "add lr, r0, r2, lsl #2",
            concat!("add lr, #", $ahead),
            "push {{r12, lr}}",
            "ldm r3, {{r4-r9}}",
            $load,
            "b 3f",
            "2:",
            $group!($load),
            $group!($load),
            $group!($load),
            $group!($load),
            "3:",
            "ldr r3, [sp]",
            "cmp r0, r3",
            "bne 2b",
            "b 5f",
            "4:",
            $group!($load),
            "5:",
            "ldr r3, [sp, #4]",
            "cmp r0, r3",
            "bne 4b",
            // The last group loads nothing more, so that nothing is read after the panels' ends.
            $group!(""),
            "add sp, #8",
            "pop {{r3}}",
            "stm r3, {{r4-r9}}",
            "pop {{r4-r11, pc}}",
        )
    };
}

/// Adds the products of a left and a right panel of `groups` groups, at least one, to `sums`.
///
/// # Safety
/// The core must have the DSP extension. Both panels must have `groups` groups and start at multiples of four.
#[unsafe(naked)]
unsafe extern "C" fn multiply(left: *const u8, right: *const u8, groups: usize, sums: &mut Sums) {
    multiply!(three_rows, 4)
}

/// Adds the products of the first row of a left panel and a right panel, like [`multiply`]. The last panel has one row
/// if the number of tokens is a square that three does not divide.
///
/// # Safety
/// The core must have the DSP extension. Both panels must have `groups` groups and start at multiples of four.
#[unsafe(naked)]
unsafe extern "C" fn multiply_one(left: *const u8, right: *const u8, groups: usize, sums: &mut Sums) {
    multiply!(one_row, 12)
}

/// Returns whether the panels can be read by words. The engine's panels always can.
fn is_aligned(p: &Product) -> bool {
    [p.left, p.right].iter().all(|panels| panels.as_ptr().addr().is_multiple_of(4))
}

/// Runs `store` with the sums of every tile. The sums begin with what `start` makes of the tile's index.
#[inline(always)]
fn for_each_tile(p: &Product, mut start: impl FnMut(usize) -> Sums, mut store: impl FnMut(usize, Sums)) {
    for (tile, left) in p.left.chunks_exact((ROWS * p.k).max(1)).enumerate() {
        let mut sums = start(tile);
        let multiply = if p.rows == ROWS * tile + 1 { multiply_one } else { multiply };
        // SAFETY: holding the table proves that the core has the instructions. The table's callers and `is_aligned`
        // have checked that these are whole panels of `k` elements of the contraction, at multiples of four.
        unsafe { multiply(left.as_ptr(), p.right.as_ptr(), p.k / GROUP, &mut sums) };
        store(tile, sums);
    }
}

/// Returns the first `N` values. If there are fewer it returns zeros, but the table's callers have ruled that out.
fn few<T: Copy + Default, const N: usize>(values: &[T]) -> [T; N] {
    values.first_chunk().copied().unwrap_or([T::default(); N])
}

/// Divides `x` by 2^15, rounds down and limits the result to 8 bits with their sign.
#[inline(always)]
fn shifted(x: i32) -> u8 {
    let limited: i32;
    // SAFETY: the instruction only computes with its registers, and every core of these targets has it.
    unsafe { asm!("ssat {}, #8, {}, asr #15", out(reg) limited, in(reg) x, options(pure, nomem, nostack)) };
    limited as u8
}

/// Limits `x` to the numbers that have `BITS` bits with their sign.
#[inline(always)]
fn limited<const BITS: u32>(x: i32) -> i32 {
    let limited;
    // SAFETY: the instruction only computes with its registers, and every core of these targets has it.
    unsafe { asm!("ssat {}, #{}, {}", out(reg) limited, const BITS, in(reg) x, options(pure, nomem, nostack)) };
    limited
}

/// Limits `x` to 255.
#[inline(always)]
fn byte(x: u32) -> u8 {
    let limited: u32;
    // SAFETY: the instruction only computes with its registers, and every core of these targets has it.
    unsafe { asm!("usat {}, #8, {}", out(reg) limited, in(reg) x, options(pure, nomem, nostack)) };
    limited as u8
}

/// Computes `x · fraction / 2^32`, rounded to the nearest integer, ties upwards.
#[inline(always)]
fn times_fraction(x: i32, fraction: i32) -> i32 {
    let upper;
    // SAFETY: the instruction only computes with its registers, and holding the table proves that the core has it.
    unsafe {
        asm!(".arch armv7e-m", "smmulr {}, {}, {}", out(reg) upper, in(reg) x, in(reg) fraction, options(pure, nomem, nostack))
    };
    upper
}

/// Rounds `x` to the nearest integer, ties to even, and limits it to 8 bits.
#[inline(always)]
fn rounded(x: f32) -> i32 {
    // 1.5 · 2^23: within the limits, the lowest bits of the sum with this number are the integer. Beyond, they grow
    // with the sum.
    const MAGIC: f32 = 12_582_912.0;
    let mut bits = (x + MAGIC).to_bits() as i32;
    // A negative sum becomes zero, which is below the limits. NaN is above them, as its sign is clear where an Arm core
    // makes it. The instruction is written out since compilers take more of them.
    // SAFETY: the instruction only computes with its registers, and every core of these targets has it.
    unsafe { asm!("bic {0}, {0}, {0}, asr #31", inout(reg) bits, options(pure, nomem, nostack)) };
    limited::<8>(bits - MAGIC.to_bits() as i32)
}

/// Quantises a number of the stream to a stored byte.
#[inline(always)]
fn quantise(x: f32, scale: f32, offset: f32) -> u8 {
    rounded(x * scale + offset) as u8
}

/// Implements `Int8::quantise_rows`.
fn quantise_rows(layout: Layout, stream: &Block, q: Quantiser, out: &mut Block<u8>) {
    let coefficients = q.scale.as_chunks::<GROUP>().0.iter().zip(q.offset.as_chunks::<GROUP>().0);
    for row in 0..stream.rows() {
        let first = layout.index(ROWS, 0, row % ROWS, 0);
        let places = out.row_mut(row / ROWS).get_mut(first..).unwrap_or_default().chunks_mut(STEP);
        let groups = stream.row(row).as_chunks::<GROUP>().0.iter().zip(coefficients.clone());
        for (place, (x, (scale, offset))) in places.filter_map(|p| p.first_chunk_mut::<GROUP>()).zip(groups) {
            let ([a, b, c, d], [sa, sb, sc, sd], [oa, ob, oc, od]) = (*x, *scale, *offset);
            *place = [quantise(a, sa, oa), quantise(b, sb, ob), quantise(c, sc, oc), quantise(d, sd, od)];
        }
    }
}

/// Implements `Int8::quantise_columns`.
fn quantise_columns(_: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    let ([scale_a, scale_b], [offset_a, offset_b]) = (few(q.scale), few(q.offset));
    let groups = out.as_chunks_mut::<{ COLUMNS * GROUP }>().0;
    for (first, group) in (0..).step_by(GROUP).zip(groups) {
        for i in 0..GROUP {
            if let [a, b] = stream.row(first + i) {
                group[i] = quantise(*a, scale_a, offset_a);
                group[GROUP + i] = quantise(*b, scale_b, offset_b);
            }
        }
    }
}

/// Implements `Int8::add`.
#[expect(clippy::needless_range_loop, reason = "unrolled, which zipped iterators are not")]
fn add(p: Product, columns: StreamColumns, stream: &mut Block) {
    if !is_aligned(&p) {
        return scalar::add(p, columns, stream);
    }
    let bias: [i32; COLUMNS] = few(columns.bias);
    let [scale_a, scale_b] = few(columns.scale);
    for_each_tile(
        &p,
        |_| [bias; ROWS],
        |tile, sums| {
            for i in 0..ROWS {
                let [sum_a, sum_b] = sums[i];
                if let [a, b] = stream.row_mut(ROWS * tile + i) {
                    *a += sum_a as f32 * scale_a;
                    *b += sum_b as f32 * scale_b;
                }
            }
        },
    );
}

/// Implements `Int8::mix`.
fn mix(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    if !is_aligned(&p) {
        return scalar::mix(p, rows, columns, stream);
    }
    let [[scale_a, scale_b], sum_gain, bias_gain] = [columns.scale, columns.sum_gain, columns.bias_gain].map(few);
    let ([sum_gain_a, sum_gain_b], [bias_gain_a, bias_gain_b]) = (sum_gain, bias_gain);
    let mut corrections = rows.correction.as_chunks::<ROWS>().0.iter();
    let [scales, sums, biases] = [rows.scale, rows.sum, rows.bias].map(|v| v.as_chunks::<ROWS>().0.iter());
    let mut factors = scales.zip(sums).zip(biases);
    for_each_tile(
        &p,
        |_| corrections.next().copied().unwrap_or_default().map(|correction| [correction; COLUMNS]),
        |tile, sums| {
            let ((scales, row_sums), biases) = factors.next().unwrap_or(((&[0.0; ROWS], &[0.0; ROWS]), &[0.0; ROWS]));
            for i in 0..ROWS {
                let ([sum_a, sum_b], scale, sum, bias) = (sums[i], scales[i], row_sums[i], biases[i]);
                if let [a, b] = stream.row_mut(ROWS * tile + i) {
                    *a += sum_a as f32 * scale * scale_a + (sum_gain_a * sum + bias_gain_a * bias);
                    *b += sum_b as f32 * scale * scale_b + (sum_gain_b * sum + bias_gain_b * bias);
                }
            }
        },
    );
}

/// Implements `Int8::sums`.
fn sums(p: Product, out: &mut [i32]) {
    if !is_aligned(&p) {
        return scalar::sums(p, out);
    }
    for_each_tile(
        &p,
        |_| Sums::default(),
        |tile, sums| {
            let places = out.as_chunks_mut().0.iter_mut().skip(ROWS * tile);
            places.zip(sums).for_each(|(place, sums)| *place = sums);
        },
    );
}

/// The coefficients that make hidden activations of one column's sums.
struct Gelu<'a> {
    /// Fraction of 2^32.
    scale: i32,
    requantise: i32,
    /// Zero point and one half, which rounds to nearest, in units of 2^-15.
    offset: i32,
    table: &'a [u8; GELU_ENTRIES],
    shift: u32,
}

impl Gelu<'_> {
    #[inline(always)]
    fn activation(&self, sum: i32) -> u8 {
        let x = limited::<16>(times_fraction(sum, self.scale));
        let index = byte(x.unsigned_abs() >> self.shift);
        let correction = self.table.get(usize::from(index)).copied().unwrap_or(0);
        let y = x.max(0) - i32::from(correction);
        shifted(y * self.requantise + self.offset)
    }
}

/// Implements `Int8::gelu`.
fn gelu(p: Product, columns: GeluColumns, hidden: Hidden) {
    if !is_aligned(&p) {
        return scalar::gelu(p, columns, hidden);
    }
    let bias: [i32; COLUMNS] = few(columns.bias);
    let [a, b] = [0, 1].map(|i| Gelu {
        scale: few::<i32, COLUMNS>(columns.scale)[i] << 1,
        requantise: i32::from(few::<i16, COLUMNS>(columns.requantise)[i]),
        offset: (i32::from(few::<i8, COLUMNS>(columns.zero)[i]) << 15) + (1 << 14),
        table: columns.table,
        shift: columns.shift,
    });
    let first = Layout::DSP.index(ROWS, 0, 0, hidden.first);
    let mut panels = 0..hidden.panels.rows();
    for_each_tile(
        &p,
        |_| [bias; ROWS],
        |_, sums| {
            let panel = panels.next().unwrap_or(usize::MAX);
            let places = hidden.panels.row_mut(panel).get_mut(first..).unwrap_or_default();
            let [[sum_0a, sum_0b], [sum_1a, sum_1b], [sum_2a, sum_2b]] = sums;
            // The panel's rows lie a group apart, and an even number of columns lies before these two in each group.
            if let [row_0a, row_0b, _, _, row_1a, row_1b, _, _, row_2a, row_2b, ..] = places {
                (*row_0a, *row_0b) = (a.activation(sum_0a), b.activation(sum_0b));
                (*row_1a, *row_1b) = (a.activation(sum_1a), b.activation(sum_1b));
                (*row_2a, *row_2b) = (a.activation(sum_2a), b.activation(sum_2b));
            }
        },
    );
}
