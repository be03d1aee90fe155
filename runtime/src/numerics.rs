//! The arithmetic of `NUMERICS.md`, number by number: every rounding rule is here and nowhere else.
//!
//! The scalar kernels and the engine compute with these functions, and tests compare the vector kernels with them bit
//! for bit. Code that imitates the engine, such as a quantiser or quantisation-aware training, calls them too. Each
//! `f32` operation is rounded by itself to nearest, ties to even. Nothing is fused or reassociated.

use crate::format::GELU_ENTRIES;

/// Least and largest 8-bit activation.
pub const INT8_RANGE: [f32; 2] = [-128.0, 127.0];

/// Least and largest input of the classifier. They are the least and the largest number that two 8-bit digits hold.
pub const HEAD_RANGE: [f32; 2] = [-32768.0, 32639.0];

/// Largest magnitude to which a gain may bring the residual stream: 2^96.
///
/// Everything else that is added to the stream is far smaller, and a sum over all tokens is still finite. The numbers
/// to be rounded are therefore never infinite or NaN.
pub const STREAM_LIMIT: f32 = (1u128 << 96) as f32;

/// 1.5 · 2^23: a sum with this number has no bits left for a fraction.
const ROUNDING: f32 = 12_582_912.0;

/// Rounds `x` to the nearest integer, ties to even, and limits it to `low..=high`.
///
/// The limits are integers within ±2^16. NaN becomes `high`.
#[inline]
pub fn round_clamp(x: f32, [low, high]: [f32; 2]) -> i32 {
    // The limits are integers, so limiting before rounding gives the same as limiting afterwards. The comparisons let
    // no NaN through.
    let x = if x < high { x } else { high };
    let x = if x > low { x } else { low };
    ((x + ROUNDING) - ROUNDING) as i32
}

/// Quantises a number of the residual stream to an 8-bit activation: `round(x · scale + offset)`, limited to
/// [`INT8_RANGE`].
#[inline]
pub fn quantise(x: f32, scale: f32, offset: f32) -> i32 {
    round_clamp(x * scale + offset, INT8_RANGE)
}

/// Quantises a sum over tokens to an input of the classifier: `round(x · scale + offset)`, limited to [`HEAD_RANGE`].
#[inline]
pub fn quantise_head(x: f32, scale: f32, offset: f32) -> i32 {
    round_clamp(x * scale + offset, HEAD_RANGE)
}

/// Splits an input of the classifier into its digits `[high, low]`, each from -128 to 127: `x = 256 · high + low`.
#[inline]
pub fn head_digits(x: i32) -> [i32; 2] {
    let high = (x + 128) >> 8;
    [high, x - 256 * high]
}

/// Computes a logit from the sums of both digits.
#[inline]
pub fn logit([high, low]: [i32; 2], scale: f32, bias: f32) -> f32 {
    (high as f32 * 256.0 + low as f32) * scale + bias
}

/// Computes what a linear layer adds to the residual stream from a sum that contains the layer's bias.
#[inline]
pub fn scaled(sum: i32, scale: f32) -> f32 {
    sum as f32 * scale
}

/// Computes what patch mixing adds to the residual stream.
///
/// `of_row` is the scale, sum and bias of a row of the weights, `of_channel` the scale, sum gain and bias gain of a
/// channel.
#[inline]
pub fn mixed(sum: f32, of_row: [f32; 3], of_channel: [f32; 3]) -> f32 {
    let ([row_scale, row_sum, row_bias], [scale, sum_gain, bias_gain]) = (of_row, of_channel);
    sum * row_scale * scale + (sum_gain * row_sum + bias_gain * row_bias)
}

/// Multiplies a number of the residual stream by its channel's gain, up to [`STREAM_LIMIT`].
#[inline]
pub fn rescaled(y: f32, gain: f32) -> f32 {
    (y * gain).clamp(-STREAM_LIMIT, STREAM_LIMIT)
}

/// Computes `x · fraction / 2^31`, rounded to the nearest integer, ties upwards.
#[inline]
pub fn times_fraction(x: i32, fraction: i32) -> i32 {
    // The product of the two least numbers alone, 2^62, would give more than an `i32` holds; `fraction` is never the
    // least one.
    ((i64::from(x) * i64::from(fraction) + (1 << 30)) >> 31) as i32
}

/// Brings a sum of the channel MLP's first layer, which contains the layer's bias, to GELU units of 16 bits.
///
/// `scale` is a fraction of 2^31, below [`MAX_FIXED`](crate::format::MAX_FIXED).
#[inline]
pub fn gelu_units(sum: i32, scale: i32) -> i32 {
    times_fraction(sum, scale).clamp(-32768, 32767)
}

/// Computes the GELU of a 16-bit number in the same units: `relu(x)` minus the table's entry for `|x|`.
#[inline]
pub fn gelu_by_table(x: i32, table: &[u8; GELU_ENTRIES], shift: u32) -> i32 {
    let index = (x.unsigned_abs() >> shift).min(255) as u8;
    x.max(0) - i32::from(table.get(usize::from(index)).copied().unwrap_or(0))
}

/// Quantises a GELU result to an 8-bit hidden activation.
///
/// `scale` is a fraction of 2^15 and not negative; ties are rounded upwards.
#[inline]
pub fn requantise(y: i32, scale: i16, zero: i8) -> i32 {
    (((y * i32::from(scale) + (1 << 14)) >> 15) + i32::from(zero)).clamp(-128, 127)
}

/// Numerator and denominator of erf(x) / x as polynomials in (x / 4)², for |x| ≤ 4.
///
/// The largest error is 2.2e-8. The coefficients were fitted by reweighted least squares to make it small. For |x| > 4,
/// erf is within 1.6e-8 of ±1.
#[expect(clippy::approx_constant, reason = "fitted, like the others")]
pub(crate) const ERF_NUMERATOR: [f32; 6] = [1.128_379, 3.139_976_7, 13.687_659, 16.398_85, 18.877_026, 2.070_757_9];
pub(crate) const ERF_DENOMINATOR: [f32; 6] = [1.0, 8.116_031, 29.817_919, 63.260_19, 79.714_97, 39.301_468];

fn horner(coefficients: &[f32; 6], t: f32) -> f32 {
    coefficients.iter().rev().fold(0.0, |sum, &c| sum * t + c)
}

fn erf(x: f32) -> f32 {
    let t = x * x * 0.0625;
    let inside = x * horner(&ERF_NUMERATOR, t) / horner(&ERF_DENOMINATOR, t);
    if x.abs() < 4.0 { inside } else { 1f32.copysign(x) }
}

/// Computes the GELU of models with floating-point activations, `x · Φ(x)`, within 1e-6 + 1e-6 · |x|.
#[inline]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * core::f32::consts::FRAC_1_SQRT_2))
}

/// Factors of `x` and `x³` in the exponent of 2 in [`gelu_tanh`]: -2 · √(2/π) / ln 2, and 0.044715 times as much.
pub(crate) const TANH_EXPONENT: [f32; 2] = [-2.302_208_2, -0.102_943_24];

/// The limits of [`exp2`]'s argument. At the upper one the result is infinite.
pub(crate) const EXP2_RANGE: [f32; 2] = [-126.0, 128.0];

/// The Taylor series of 2^t, `(ln 2)^k / k!`, whose error is at most 6e-9 for |t| ≤ 1/2.
#[expect(clippy::approx_constant, reason = "a coefficient like the others")]
pub(crate) const EXP2_SERIES: [f32; 8] =
    [1.0, 0.693_147_2, 0.240_226_5, 0.055_504_11, 0.009_618_129, 0.001_333_355_8, 0.000_154_035_3, 0.000_015_252_734];

/// Computes 2^t. Its argument is limited to [`EXP2_RANGE`].
#[inline]
fn exp2(t: f32) -> f32 {
    let [low, high] = EXP2_RANGE;
    let t = t.clamp(low, high);
    let whole = (t + ROUNDING) - ROUNDING;
    let fraction = EXP2_SERIES.iter().rev().fold(0.0, |sum, &c| sum * (t - whole) + c);
    // The exponent's bits alone: 2^whole, and infinity for 2^128.
    let power = f32::from_bits(((whole as i32).wrapping_add(127) as u32) << 23);
    fraction * power
}

/// Computes the tanh approximation of GELU, `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, within 2e-7 + 2e-7 · |x|.
///
/// The formula is that of Hendrycks and Gimpel, arXiv 1606.08415, section 2, with tanh written as an exponential:
/// `x / (1 + 2^(x · (a + b · x²)))`.
#[inline]
pub fn gelu_tanh(x: f32) -> f32 {
    let [a, b] = TANH_EXPONENT;
    x / (1.0 + exp2(x * (a + b * (x * x))))
}

/// Computes `max(x, 0)`.
#[inline]
pub fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes x · Φ(x) by Φ's Taylor series in `f64`.
    fn exact(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -x * x / (2.0 * n);
            sum += term / (2.0 * n + 1.0);
        }
        x * (0.5 + sum / (2.0 * core::f64::consts::PI).sqrt())
    }

    #[test]
    fn gelu_agrees_with_the_series() {
        for i in -600..=600 {
            let x = f64::from(i) / 100.0;
            let (found, expected) = (f64::from(gelu(x as f32)), exact(f64::from(x as f32)));
            assert!((found - expected).abs() < 1e-6 + 1e-6 * x.abs(), "gelu({x}) = {found}, expected {expected}");
        }
        assert_eq!(gelu(100.0), 100.0);
        assert_eq!(gelu(-100.0), 0.0);
    }

    #[test]
    fn gelu_tanh_agrees_with_the_formula() {
        let exact =
            |x: f64| 0.5 * x * (1.0 + ((2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
        for i in -200_000..=200_000 {
            let x = i as f32 / 10_000.0;
            let (found, expected) = (f64::from(gelu_tanh(x)), exact(f64::from(x)));
            assert!(
                (found - expected).abs() < 2e-7 + 2e-7 * f64::from(x.abs()),
                "gelu_tanh({x}) = {found}, expected {expected}"
            );
        }
        for x in [30.0, 1e10, 1e30, f32::MAX] {
            assert_eq!([gelu_tanh(x), gelu_tanh(-x)], [x, 0.0]);
        }
    }

    #[test]
    fn relu_keeps_what_is_positive() {
        let numbers = [-f32::MAX, -1.0, -f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE, 1.0, f32::MAX];
        assert_eq!(numbers.map(relu), [0.0, 0.0, 0.0, 0.0, f32::MIN_POSITIVE, 1.0, f32::MAX]);
        assert_eq!(relu(-0.0).to_bits(), 0);
    }

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even_and_stays_within_the_limits() {
        for quarters in -4 * 33_000..4 * 33_000 {
            let x = quarters as f32 / 4.0;
            for range in [INT8_RANGE, HEAD_RANGE] {
                let [low, high] = range;
                assert_eq!(round_clamp(x, range), x.round_ties_even().clamp(low, high) as i32, "{x}");
            }
        }
        assert_eq!([f32::MAX, f32::INFINITY, f32::NAN].map(|x| round_clamp(x, INT8_RANGE)), [127; 3]);
        assert_eq!([f32::MIN, f32::NEG_INFINITY].map(|x| round_clamp(x, HEAD_RANGE)), [-32768; 2]);
    }

    #[test]
    fn fractions_round_ties_upwards_without_overflow() {
        let numbers = [0, 1, -1, 3, -3, 1 << 20, (1 << 30) - 1, i32::MAX, i32::MIN];
        for (x, fraction) in numbers.iter().flat_map(|&x| numbers.map(|fraction| (x, fraction))) {
            if x == i32::MIN && fraction == i32::MIN {
                continue; // The result would be 2^31, which an `i32` does not hold.
            }
            let halves = (i128::from(x) * i128::from(fraction)).div_euclid(1 << 30);
            assert_eq!(i128::from(times_fraction(x, fraction)), (halves + 1).div_euclid(2), "{x} · {fraction}");
        }
    }

    #[test]
    fn every_input_of_the_classifier_has_two_digits_of_8_bits() {
        let [low, high] = HEAD_RANGE.map(|limit| limit as i32);
        for x in low..=high {
            let [high, low] = head_digits(x);
            assert_eq!(256 * high + low, x);
            assert!([high, low].iter().all(|digit| (-128..=127).contains(digit)), "{x}");
        }
    }
}
