//! Recognises activation functions that the exporter spelled out in products, sums, `Erf` and `Tanh`.

use super::expr::{Coefficients, Expr, Exprs, IDENTITY, Id, product, sum, times};
use resmlp_network::Activation;
use std::f64::consts::{FRAC_2_PI, SQRT_2};

/// An activation function of `argument`, whose result is multiplied by `factor`.
pub(super) struct Gated {
    pub argument: Id,
    pub function: Activation,
    pub factor: f64,
}

/// The coefficient of the cube in the tanh approximation of GELU (Hendrycks and Gimpel, arXiv 1606.08415, section 2).
const CUBIC: f64 = 0.044_715;

/// Returns the GELU that the product of `a` and `b` computes, or `None` if the product is not a GELU.
///
/// `tolerance` is the largest relative difference between a constant of the graph and the same constant of the formula.
pub(super) fn gelu(exprs: &mut Exprs, a: Id, b: Id, tolerance: f64, node: usize) -> Option<Gated> {
    ordered(exprs, a, b, tolerance, node).or_else(|| ordered(exprs, b, a, tolerance, node))
}

/// Recognises the product of `plain` and `gate` if `gate` is `s · (1 + f(inner))`, where `f` is `erf` or `tanh`, and
/// `inner` is what the formula of GELU passes to `f` for `h = u · plain`. The product is then `2 · s / u` times the
/// GELU of `h`.
fn ordered(exprs: &mut Exprs, plain: Id, gate: Id, tolerance: f64, node: usize) -> Option<Gated> {
    let (squashed, [shift, scale, 0.0, 0.0]) = exprs.root(gate) else { return None };
    if !near(shift, scale, tolerance) || scale == 0.0 {
        return None;
    }
    let (inner, function) = match exprs.get(squashed) {
        Expr::Erf { x } => (*x, Activation::Gelu),
        Expr::Tanh { x } => (*x, Activation::GeluTanh),
        _ => return None,
    };
    let (root, plain) = exprs.root(plain);
    let (inner_root, inner) = exprs.root(inner);
    if root != inner_root || plain[1] == 0.0 || plain[2] != 0.0 || plain[3] != 0.0 {
        return None;
    }
    let ratio = inner[1] / plain[1];
    let guess = match function {
        Activation::Gelu => ratio * SQRT_2,
        _ => ratio / FRAC_2_PI.sqrt(),
    };
    let stretch = [1.0, guess].into_iter().find(|stretch| {
        let expected = formula(function, &times(&plain, *stretch));
        expected.is_some_and(|expected| std::iter::zip(expected, inner).all(|(e, i)| near(e, i, tolerance)))
    })?;
    let argument = match times(&plain, stretch) {
        IDENTITY => root,
        argument => exprs.polynomial(root, argument, node)?,
    };
    Some(Gated { argument, function, factor: 2.0 * scale / stretch })
}

/// Returns the polynomial that the formula of GELU for `h` passes to `erf` or `tanh`.
fn formula(function: Activation, h: &Coefficients) -> Option<Coefficients> {
    match function {
        Activation::Gelu => Some(times(h, 1.0 / SQRT_2)),
        _ => {
            let cube = product(&product(h, h)?, h)?;
            Some(times(&sum(h, &times(&cube, CUBIC)), FRAC_2_PI.sqrt()))
        }
    }
}

/// Returns whether two constants are equal up to rounding.
pub(super) fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}
