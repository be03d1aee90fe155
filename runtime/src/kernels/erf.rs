//! The exact GELU for 16-bit models: a rational approximation of erf, the same operations on every CPU.

/// Numerator and denominator of erf(x) / x in (x / 4)², for |x| ≤ 4; largest error 2.2e-8 (fitted to it by reweighted
/// least squares). Beyond, erf is within 1.6e-8 of ±1.
#[expect(clippy::approx_constant, reason = "fitted, like the others")]
pub(super) const P: [f32; 6] = [1.128_379, 3.139_976_7, 13.687_659, 16.398_85, 18.877_026, 2.070_757_9];
pub(super) const Q: [f32; 6] = [1.0, 8.116_031, 29.817_919, 63.260_19, 79.714_97, 39.301_468];

fn horner(coefficients: &[f32; 6], t: f32) -> f32 {
    coefficients.iter().rev().fold(0.0, |sum, &c| sum * t + c)
}

fn erf(x: f32) -> f32 {
    let t = x * x * 0.0625;
    let inside = x * horner(&P, t) / horner(&Q, t);
    if x.abs() < 4.0 { inside } else { 1f32.copysign(x) }
}

/// `x · Φ(x)`, within 1e-6 + 1e-6·|x|.
#[inline]
pub(crate) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * core::f32::consts::FRAC_1_SQRT_2))
}

#[cfg(test)]
mod tests {
    use super::gelu;

    /// Φ by its Taylor series in `f64`.
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
    fn agrees_with_the_series() {
        for i in -600..=600 {
            let x = f64::from(i) / 100.0;
            let (found, expected) = (f64::from(gelu(x as f32)), exact(f64::from(x as f32)));
            assert!((found - expected).abs() < 1e-6 + 1e-6 * x.abs(), "gelu({x}) = {found}, expected {expected}");
        }
        assert_eq!(gelu(100.0), 100.0);
        assert_eq!(gelu(-100.0), 0.0);
    }
}
