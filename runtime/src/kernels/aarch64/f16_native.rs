//! Kernels for 16-bit weights on cores with arithmetic in that format (Cortex-A55, A76 and later): `fmla` on eight
//! numbers.
//!
//! Activations become 16-bit numbers too. Each row, and in patch mixing each channel, is first divided by a power of
//! two that makes its numbers no larger than 2^[`LARGEST`], so that no sum overflows. A sum of [`SHORT`] products is a
//! 16-bit number, and so is the sum of four of those; longer sums are `f32`.

use core::arch::aarch64::*;
use core::arch::asm;
use core::ops::Range;

use super::f16_widening::{self, COLUMNS, Eight, ROWS, TILES_OF_TOKENS, floats, load, zeros};
use crate::kernels::operands::{FloatColumns, MixColumns, MixRows, RightFloats, RightHalves, Rows};
use crate::kernels::table::F16;
use crate::kernels::{lanes, scalar};
use crate::numerics;
use crate::parallel::Block;

pub(super) const FP16: F16 = F16 { add, gelu, gelu_tanh, relu, mix, rounds_sums: true, tiles: TILES_OF_TOKENS };

/// Number of products in a 16-bit sum. Four such sums are added up in 16 bits before they are widened. The converter's
/// weights are at most 2, so the sums stay below 2^14.
const SHORT: usize = 16;
/// Exponent of the power of two that bounds activations. A number that is 2^19 times smaller than its row's largest
/// keeps all its bits.
const LARGEST: i32 = 6;
/// Number of elements of the contraction that are converted at a time. For all [`PANELS`] they take 24 KB.
const CHUNK: usize = 384;
/// Number of left panels that are converted at a time.
const PANELS: usize = 4;

/// Numbers of eight rows or columns, for one element of the contraction.
type Halves = [u16; 8];

#[inline]
#[target_feature(enable = "neon")]
fn load_halves(halves: &Halves) -> float16x8_t {
    // SAFETY: the load reads the 16 bytes of the array.
    vreinterpretq_f16_u16(unsafe { vld1q_u16(halves.as_ptr()) })
}

#[inline]
#[target_feature(enable = "neon")]
fn to_halves(v: Eight) -> Halves {
    let mut halves = [0; 8];
    let v = vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(v[0]), v[1]));
    // SAFETY: the store writes the 16 bytes of the array.
    unsafe { vst1q_u16(halves.as_mut_ptr(), v) };
    halves
}

/// Adds the products of eight rows and eight columns to 16-bit sums, for one element of the contraction.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_products([a, b, c, d, e, f, g, h]: &mut [float16x8_t; ROWS], left: &Halves, right: &Halves) {
    let (left, right) = (load_halves(left), load_halves(right));
    *a = vfmaq_laneq_f16::<0>(*a, right, left);
    *b = vfmaq_laneq_f16::<1>(*b, right, left);
    *c = vfmaq_laneq_f16::<2>(*c, right, left);
    *d = vfmaq_laneq_f16::<3>(*d, right, left);
    *e = vfmaq_laneq_f16::<4>(*e, right, left);
    *f = vfmaq_laneq_f16::<5>(*f, right, left);
    *g = vfmaq_laneq_f16::<6>(*g, right, left);
    *h = vfmaq_laneq_f16::<7>(*h, right, left);
}

/// Applies `$op` to an element of eight rows, in register `$left`, an element of a right panel, in `$right`, and the
/// rows' sums.
macro_rules! element {
    ($op:literal, $left:literal, $right:literal, [$($row:literal $sum:literal),*]) => {
        concat!($($op, " v", $sum, ".8h, v", $right, ".8h, v", $left, ".h[", $row, "]\n",)*)
    };
}

/// Multiplies two elements of the contraction, and loads with `$load` what the next two need.
macro_rules! pair {
    ($op:literal, $load:expr, [$left:literal $next_left:literal], [$right:literal $next_right:literal], $sums:tt) => {
        concat!(element!($op, $left, $right, $sums), $load, element!("fmla", $next_left, $next_right, $sums))
    };
}

/// Sums [`SHORT`] products, which are sixteen. The first two elements are in v0 and v1 and in v4 and v5, and `$last`
/// loads the two after the last.
macro_rules! short_sum {
    ($last:expr, $sums:tt) => {
        concat!(
            pair!("fmul", load!(2 3, 6 7), [0 1], [4 5], $sums),
            pair!("fmla", load!(0 1, 4 5), [2 3], [6 7], $sums),
            ".rept 2\n",
            pair!("fmla", load!(2 3, 6 7), [0 1], [4 5], $sums),
            pair!("fmla", load!(0 1, 4 5), [2 3], [6 7], $sums),
            ".endr\n",
            pair!("fmla", load!(2 3, 6 7), [0 1], [4 5], $sums),
            pair!("fmla", $last, [2 3], [6 7], $sums),
        )
    };
}

/// Loads the next two elements of both operands.
macro_rules! load {
    ($a:literal $b:literal, $c:literal $d:literal) => {
        concat!("ldp q", $a, ", q", $b, ", [{left}], #32\n", "ldp q", $c, ", q", $d, ", [{right}], #32\n")
    };
}

/// Adds 16-bit numbers of registers to those of others.
macro_rules! add {
    ($($to:literal $from:literal),*) => {
        concat!($("fadd v", $to, ".8h, v", $to, ".8h, v", $from, ".8h\n",)*)
    };
}

/// Adds a row's 16-bit sums, in register `$short`, to its `f32` sums, which lie `$at` bytes after `{sums}`.
macro_rules! widen {
    ($($short:literal $at:literal),*) => {
        concat!($(
            "ldp q0, q1, [{sums}, #", $at, "]\n",
            "fcvtl v2.4s, v", $short, ".4h\n",
            "fcvtl2 v3.4s, v", $short, ".8h\n",
            "fadd v0.4s, v0.4s, v2.4s\n",
            "fadd v1.4s, v1.4s, v3.4s\n",
            "stp q0, q1, [{sums}, #", $at, "]\n",
        )*)
    };
}

/// Adds the products of eight rows and eight columns, four times [`SHORT`] elements at a time.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn add_fours(left: &[[Halves; 4 * SHORT]], right: &[[Halves; 4 * SHORT]], sums: &mut [Eight; ROWS]) {
    let count = left.len().min(right.len());
    if count == 0 {
        return;
    }
    // SAFETY: both operands have `count` elements, which the instructions read. The instructions read and write no
    // other memory except the sums.
    unsafe {
        asm!(
            ".arch_extension fp16",
            "2:",
            load!(0 1, 4 5),
            short_sum!(load!(0 1, 4 5), [0 16, 1 17, 2 18, 3 19, 4 20, 5 21, 6 22, 7 23]),
            short_sum!(load!(0 1, 4 5), [0 24, 1 25, 2 26, 3 27, 4 28, 5 29, 6 30, 7 31]),
            add!(16 24, 17 25, 18 26, 19 27, 20 28, 21 29, 22 30, 23 31),
            short_sum!(load!(0 1, 4 5), [0 24, 1 25, 2 26, 3 27, 4 28, 5 29, 6 30, 7 31]),
            short_sum!("", [0 8, 1 9, 2 10, 3 11, 4 12, 5 13, 6 14, 7 15]),
            add!(24 8, 25 9, 26 10, 27 11, 28 12, 29 13, 30 14, 31 15),
            add!(16 24, 17 25, 18 26, 19 27, 20 28, 21 29, 22 30, 23 31),
            widen!(16 0, 17 32, 18 64, 19 96, 20 128, 21 160, 22 192, 23 224),
            "subs {count}, {count}, #1",
            "b.ne 2b",
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            sums = in(reg) sums,
            count = inout(reg) count => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}

/// Multiplies eight rows by eight columns. Elements that one operand has beyond the other are not read.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn multiply(left: &[Halves], right: &[Halves]) -> [Eight; ROWS] {
    let mut sums = zeros();
    let len = left.len().min(right.len());
    let [(left_fours, left), (right_fours, right)] =
        [left, right].map(|elements| elements.get(..len).unwrap_or(&[]).as_chunks());
    add_fours(left_fours, right_fours, &mut sums);
    for (left, right) in left.chunks(SHORT).zip(right.chunks(SHORT)) {
        let mut short = [vreinterpretq_f16_u16(vdupq_n_u16(0)); ROWS];
        for (left, right) in left.iter().zip(right) {
            add_products(&mut short, left, right);
        }
        for (sums, short) in sums.iter_mut().zip(short) {
            sums[0] = vaddq_f32(sums[0], vcvt_f32_f16(vget_low_f16(short)));
            sums[1] = vaddq_f32(sums[1], vcvt_high_f32_f16(short));
        }
    }
    sums
}

/// Returns the power of two that brings numbers up to `largest` below 2^[`LARGEST`], and its inverse.
///
/// Both are 1 if `largest` is not finite, so that rows with such numbers stay unchanged.
fn normaliser(largest: f32) -> [f32; 2] {
    let exponent = (largest.to_bits() >> 23 & 0xff) as i32 - 127;
    // The bound keeps both powers normal numbers. Activations below 2^-100 hardly differ from zero.
    let exponent = if exponent == 128 { 0 } else { (LARGEST - 1 - exponent).min(100) };
    [exponent, -exponent].map(|exponent| f32::from_bits(((exponent + 127) as u32) << 23))
}

/// Left panels of [`ROWS`] rows, converted to 16-bit numbers, for a part of the contraction.
struct Left {
    panels: [[Halves; CHUNK]; PANELS],
    /// Factors by which the sums of each row have to be multiplied.
    scale: [[f32; ROWS]; PANELS],
}

impl Left {
    /// Converts elements `part` of the rows from `first` on. The places of missing rows are not changed.
    #[target_feature(enable = "neon")]
    fn convert(&mut self, left: &Rows, first: usize, part: Range<usize>) {
        for row in 0..(left.rows - first).min(ROWS * PANELS) {
            let start = (first + row) * left.stride;
            let values = left.data.get(start + part.start..start + part.end).unwrap_or(&[]);
            let [factor, inverse] = normaliser(values.iter().fold(0.0, |largest, x| x.abs().max(largest)));
            let (Some(panel), Some(scale)) = (self.panels.get_mut(row / ROWS), self.scale.get_mut(row / ROWS)) else {
                return;
            };
            let (row, factor) = (row % ROWS, vdupq_n_f32(factor));
            scale[row] = inverse;
            let convert = |eight: &[f32; 8], out: &mut [Halves; 8]| {
                let halves = to_halves(load(eight).map(|x| vmulq_f32(x, factor)));
                out.iter_mut().zip(halves).for_each(|(out, half)| out[row] = half);
            };
            let ((eights, rest), outs) = (values.as_chunks(), panel.as_chunks_mut().0);
            eights.iter().zip(&mut *outs).for_each(|(eight, out)| convert(eight, out));
            if let Some(out) = outs.get_mut(eights.len()) {
                let mut eight = [0.0; 8];
                eight.iter_mut().zip(rest).for_each(|(eight, &x)| *eight = x);
                convert(&eight, out);
            }
        }
    }
}

/// The place of a part in the contraction.
#[derive(Clone, Copy)]
struct Part {
    is_first: bool,
    is_last: bool,
}

/// Calls `store` with each row's output and `scale · (left · right) + bias`, once for each part of the contraction. The
/// bias is in the first part.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn affine(
    left: Rows,
    right: RightHalves,
    columns: FloatColumns,
    out: &mut Block,
    store: impl Fn(&mut [f32; COLUMNS], [f32; COLUMNS], Part),
) {
    let mut converted = Left { panels: [[[0; ROWS]; CHUNK]; PANELS], scale: [[0.0; ROWS]; PANELS] };
    let k = right.data.len() / out.columns().max(1);
    let width = out.columns();
    for first in (0..left.rows).step_by(ROWS * PANELS) {
        for start in (0..k).step_by(CHUNK) {
            let end = k.min(start + CHUNK);
            converted.convert(&left, first, start..end);
            let part = Part { is_first: start == 0, is_last: end == k };
            let rows = left.rows.min(first + ROWS * PANELS);
            right.for_each_panel(&mut out.part(first..rows, 0..width), |right, of_panel, out| {
                let right = right.as_chunks().0.get(start..end).unwrap_or(&[]);
                let columns = columns.part(&of_panel);
                let [Some(scale), Some(bias)] = [columns.scale, columns.bias].map(|c| c.first_chunk()) else { return };
                let bias = if part.is_first { load(bias) } else { [vdupq_n_f32(0.0); 2] };
                let scale = load(scale);
                for (i, (left, factors)) in converted.panels.iter().zip(&converted.scale).enumerate() {
                    if i * ROWS >= out.rows() {
                        return;
                    }
                    let sums = multiply(left, right);
                    for (row, (sums, &factor)) in (i * ROWS..).zip(sums.iter().zip(factors)) {
                        let Some(out) = out.row_mut(row).first_chunk_mut() else { return };
                        let x = [0, 1].map(|h| vfmaq_f32(bias[h], vmulq_n_f32(sums[h], factor), scale[h]));
                        store(out, floats(x), part);
                    }
                }
            });
        }
    }
}

/// Implements `F16::add`.
#[target_feature(enable = "neon,fp16")]
fn add(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    if right.width != COLUMNS {
        return scalar::add_f16(left, right, columns, stream);
    }
    affine(left, right, columns, stream, |y, x, _| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
}

/// Implements `F16::gelu`.
#[target_feature(enable = "neon,fp16")]
fn gelu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_f16(left, right, columns, hidden);
    }
    activated(left, right, columns, hidden, |x| x.map(numerics::gelu));
}

/// Implements `F16::gelu_tanh`.
#[target_feature(enable = "neon,fp16")]
fn gelu_tanh(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::gelu_tanh_f16(left, right, columns, hidden);
    }
    activated(left, right, columns, hidden, lanes::gelu_tanh);
}

/// Implements `F16::relu`.
#[target_feature(enable = "neon,fp16")]
fn relu(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    if right.width != COLUMNS {
        return scalar::relu_f16(left, right, columns, hidden);
    }
    activated(left, right, columns, hidden, |x| x.map(numerics::relu));
}

/// Computes `hidden = activation(scale · (left · right) + bias)`. Until the last part of the contraction, `hidden`
/// holds the sums of the earlier parts.
#[inline]
#[target_feature(enable = "neon,fp16")]
fn activated(
    left: Rows,
    right: RightHalves,
    columns: FloatColumns,
    hidden: &mut Block,
    activation: impl Fn([f32; COLUMNS]) -> [f32; COLUMNS],
) {
    affine(left, right, columns, hidden, |y, x, part| {
        let mut x = x;
        if !part.is_first {
            x.iter_mut().zip(&*y).for_each(|(x, y)| *x += y);
        }
        *y = if part.is_last { activation(x) } else { x };
    });
}

/// Implements `F16::mix`.
#[target_feature(enable = "neon,fp16")]
fn mix(panel: usize, left: &[u16], right: RightFloats, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    /// Largest number of tokens that are converted, which takes 16 KB. If there are more, the weights are widened
    /// instead.
    const TOKENS: usize = 1024;
    let channels = right.data.as_chunks::<COLUMNS>().0;
    if right.width != COLUMNS || stream.columns() != COLUMNS || panel != ROWS || channels.len() > TOKENS {
        return f16_widening::mix(panel, left, right, rows, columns, stream);
    }
    let mut largest = [0.0; COLUMNS];
    for row in channels {
        largest.iter_mut().zip(row).for_each(|(largest, x)| *largest = x.abs().max(*largest));
    }
    let normalisers = largest.map(normaliser);
    let factors = load(&normalisers.map(|[factor, _]| factor));
    let inverses = load(&normalisers.map(|[_, inverse]| inverse));
    let mut converted = [[0; COLUMNS]; TOKENS];
    for (out, row) in converted.iter_mut().zip(channels) {
        let row = load(row);
        *out = to_halves([0, 1].map(|h| vmulq_f32(row[h], factors[h])));
    }
    for (first, left) in (0..stream.rows()).step_by(ROWS).zip(left.chunks_exact((ROWS * channels.len()).max(1))) {
        let sums = multiply(left.as_chunks().0, &converted);
        let sums = sums.map(|sums| floats([0, 1].map(|h| vmulq_f32(sums[h], inverses[h]))));
        lanes::add_mixed(first, sums, rows, columns, stream);
    }
}
