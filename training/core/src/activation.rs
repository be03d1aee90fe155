//! The activations of the channel MLPs with their slopes.

use pulp::Arch;
use resmlp_network::Activation;

/// Adds `bias` to every row of `x`, replaces `x` by its activation, and writes the activation's slope to `slope`.
pub(crate) fn activate(activation: Activation, x: &mut [f32], bias: &[f32], slope: &mut [f32]) {
    match activation {
        Activation::Gelu => each(x, bias, slope, gelu),
        Activation::GeluTanh => each(x, bias, slope, gelu_tanh),
        Activation::Relu => each(x, bias, slope, relu),
    }
}

#[inline(always)]
fn each(x: &mut [f32], bias: &[f32], slope: &mut [f32], function: impl Fn(f32) -> [f32; 2]) {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, slope) in x.chunks_exact_mut(bias.len()).zip(slope.chunks_exact_mut(bias.len())) {
                for ((x, slope), &bias) in x.iter_mut().zip(slope).zip(bias) {
                    [*x, *slope] = function(*x + bias);
                }
            }
        },
    );
}

/// 1.5 · 2^23: the bits of a sum with this number end in the integer part of the other summand.
const ROUNDING: f32 = 12_582_912.0;

/// Computes e^x for x ≤ 0 within 2e-7 of the result. For x below -87 the result is about 1e-38 instead of less.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // The Taylor series of 2^t, `(ln 2)^k / k!`, for |t| ≤ 1/2.
    #[expect(clippy::approx_constant, reason = "a coefficient like the others")]
    const SERIES: [f32; 8] = [
        1.0,
        0.693_147_2,
        0.240_226_5,
        0.055_504_11,
        0.009_618_129,
        0.001_333_355_8,
        0.000_154_035_3,
        0.000_015_252_734,
    ];
    let x = x * std::f32::consts::LOG2_E;
    let x = if x > -126.0 { x } else { -126.0 };
    let shifted = x + ROUNDING;
    let t = x - (shifted - ROUNDING);
    let fraction = SERIES.iter().rev().fold(0.0, |sum, &c| sum * t + c);
    // The last bits of `shifted` are the integer; as an exponent they make the power of two.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    fraction * power
}

/// Returns x · Φ(x) and its slope Φ(x) + x · φ(x), both within 3e-7 + 3e-7 · |x|.
///
/// Both need e^(-x²/2). The tail of Φ is this power times a polynomial of degree 5 (Abramowitz and Stegun, *Handbook of
/// Mathematical Functions*, 7.1.26, whose largest error is 1.5e-7).
#[inline(always)]
fn gelu(x: f32) -> [f32; 2] {
    const COEFFICIENTS: [f32; 6] = [0.0, 0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    const SQRT_TAU_INVERSE: f32 = 0.398_942_3;
    let power = exp(-0.5 * x * x);
    let t = 1.0 / (1.0 + 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2 * x.abs());
    let tail = 0.5 * power * COEFFICIENTS.iter().rev().fold(0.0, |sum, &c| sum * t + c);
    let phi = if x > 0.0 { 1.0 - tail } else { tail };
    [x * phi, phi + x * SQRT_TAU_INVERSE * power]
}

/// Returns x/2 · (1 + tanh(u)) with u = √(2/π) · (x + 0.044715 x³), and its slope.
///
/// The first is x · s with s = 1 / (1 + e^(-2u)), so its slope is s + x · s · (1 - s) · 2u'.
#[inline(always)]
fn gelu_tanh(x: f32) -> [f32; 2] {
    const TWICE: f32 = 2.0 * 0.797_884_6;
    let square = x * x;
    let power = exp(-(TWICE * x.abs() * (1.0 + 0.044_715 * square)));
    let small = power / (1.0 + power);
    let s = if x > 0.0 { 1.0 - small } else { small };
    [x * s, s + x * s * (1.0 - s) * TWICE * (1.0 + 3.0 * 0.044_715 * square)]
}

/// Returns max(x, 0) and its slope, which is 0 at 0 as in PyTorch.
#[inline(always)]
fn relu(x: f32) -> [f32; 2] {
    if x > 0.0 { [x, 1.0] } else { [0.0, 0.0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_slopes_agree_with_the_definitions() {
        for (activation, tolerance) in [(Activation::Gelu, 3e-7), (Activation::GeluTanh, 5e-7), (Activation::Relu, 0.0)]
        {
            for i in -4001..=4001 {
                let x = i as f32 / 200.0;
                let (mut value, mut slope) = ([x - 0.5], [0.0]);
                activate(activation, &mut value, &[0.5], &mut slope);
                let x = f64::from(x - 0.5 + 0.5);
                let exact = |x: f64| resmlp_testing::activate(activation, x);
                let exact_slope = match activation {
                    Activation::Gelu if x == 0.0 => 0.5,
                    // Φ(x) + x · φ(x), with Φ(x) from the value.
                    Activation::Gelu => exact(x) / x + x * (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt(),
                    _ => (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5,
                };
                let tolerance = tolerance * (1.0 + x.abs());
                let [value, slope] = [value[0], slope[0]].map(f64::from);
                assert!((value - exact(x)).abs() <= tolerance, "{activation:?}({x}) = {value}, expected {}", exact(x));
                let near = (slope - exact_slope).abs() <= tolerance + 2e-6;
                assert!(near || x == 0.0, "{activation:?}'({x}) = {slope}, expected {exact_slope}");
            }
        }
    }

    #[test]
    fn large_inputs_stay_finite() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
            for (x, expected) in [(1e4, [1e4, 1.0]), (-1e4, [0.0, 0.0])] {
                let (mut value, mut slope) = ([x], [f32::NAN]);
                activate(activation, &mut value, &[0.0], &mut slope);
                assert!((value[0] - expected[0]).abs() < 1e-20 && (slope[0] - expected[1]).abs() < 1e-20);
            }
        }
    }
}
