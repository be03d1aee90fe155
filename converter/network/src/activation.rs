//! The activation function between the two layers of the channel MLP.

pub use resmlp_runtime::Activation;

/// Returns the function that an activation stands for, in `f32`.
pub fn function(activation: Activation) -> fn(f32) -> f32 {
    match activation {
        Activation::Gelu => gelu,
        Activation::GeluTanh => gelu_tanh,
        Activation::Relu => |x| x.max(0.0),
    }
}

/// Returns `x/2 · (1 + erf(x / √2))`.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Returns `x/2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))` (Hendrycks and Gimpel, arXiv 1606.08415, section 2).
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + libm::tanhf(SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
}

#[cfg(test)]
mod tests {
    use super::{Activation, function};

    #[test]
    fn values_are_those_of_pytorch() {
        // torch.nn.functional.gelu(x), gelu(x, approximate="tanh") and relu(x).
        let rows = [
            (-2.0, -0.045_500_26, -0.045_402_34, 0.0),
            (-0.5, -0.154_268_77, -0.154_286, 0.0),
            (0.0, 0.0, 0.0, 0.0),
            (1.0, 0.841_344_7, 0.841_191_95, 1.0),
            (3.0, 2.995_950_2, 2.996_362_7, 3.0),
        ];
        for (x, gelu, tanh, relu) in rows {
            for (activation, expected) in Activation::ALL.into_iter().zip([gelu, tanh, relu]) {
                let found = function(activation)(x);
                assert!((found - expected).abs() < 1e-6, "{activation:?}({x}) = {found}, expected {expected}");
            }
        }
    }
}
