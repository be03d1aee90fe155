//! The computation that a graph applies to its picture, independent of how the exporter lays tensors out.

use resmlp_network::{Activation, Matrix};

/// Index of an [`Expr`] among those of a graph.
pub(super) type Id = usize;

/// A polynomial with these coefficients, the constant one first.
pub(super) type Coefficients = [f64; 4];

/// The polynomial that changes nothing.
pub(super) const IDENTITY: Coefficients = [0.0, 1.0, 0.0, 0.0];

/// A constant with one value for all numbers, one for each channel (in the picture: each colour) or one for each patch.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Spread {
    All(f64),
    Channels(Vec<f64>),
    Patches(Vec<f64>),
}

/// One step of the computation. Operands come before their users.
#[derive(Debug)]
pub(super) enum Expr {
    /// The picture.
    Picture,
    /// Patch embedding without bias, `[dim, 3 · patch · patch]`. The pixels of a patch are in the order (colour, row,
    /// column).
    Stem { weight: Matrix },
    /// Linear layer over channels without bias, `[out, in]`.
    Channels { x: Id, weight: Matrix },
    /// Linear layer over patches without bias, `[patches, patches]`.
    Mix { x: Id, weight: Matrix },
    /// A polynomial, applied to each number: a uniform scale and shift, or a part of a spelled-out GELU.
    Polynomial { x: Id, by: Coefficients },
    /// A product with a constant.
    Scale { x: Id, by: Spread },
    /// A sum with a constant.
    Shift { x: Id, by: Spread },
    /// The error function, a part of a spelled-out GELU.
    Erf { x: Id },
    /// The hyperbolic tangent, a part of a spelled-out GELU.
    Tanh { x: Id },
    /// A whole activation function.
    Activation { x: Id, function: Activation },
    /// A sum of two activations.
    Sum { a: Id, b: Id },
    /// Mean over patches.
    Mean { x: Id },
    /// Softmax, or its logarithm, over the channels of the value with this name.
    Softmax { x: Id, of: String },
}

/// The steps of a graph, each with the index of the node that it comes from.
#[derive(Debug, Default)]
pub(super) struct Exprs {
    steps: Vec<(Expr, usize)>,
}

impl Exprs {
    /// Adds a step that comes from `node`, and returns the step's index.
    pub fn add(&mut self, expr: Expr, node: usize) -> Id {
        self.steps.push((expr, node));
        self.steps.len() - 1
    }

    /// Returns step `id`.
    pub fn get(&self, id: Id) -> &Expr {
        self.steps.get(id).map_or(&Expr::Picture, |(expr, _)| expr)
    }

    /// Returns the index of the node that step `id` comes from.
    pub fn node(&self, id: Id) -> usize {
        self.steps.get(id).map_or(usize::MAX, |(_, node)| *node)
    }

    /// Moves the weight out of step `id`. Later calls for the same step return `None`.
    pub fn take_weight(&mut self, id: Id) -> Option<Matrix> {
        match self.steps.get_mut(id).map(|(expr, _)| expr) {
            Some(Expr::Stem { weight } | Expr::Channels { weight, .. } | Expr::Mix { weight, .. }) => {
                let weight = std::mem::replace(weight, Matrix::zeros(0, 0));
                (weight.rows > 0).then_some(weight)
            }
            _ => None,
        }
    }

    /// Expresses step `id` as a polynomial of a step that is not itself a polynomial.
    pub fn root(&self, id: Id) -> (Id, Coefficients) {
        match self.get(id) {
            Expr::Polynomial { x, by } => (*x, *by),
            _ => (id, IDENTITY),
        }
    }

    /// Adds the polynomial `by` of step `x`. A polynomial of a polynomial becomes one step, so that chains stay short.
    /// Returns `None` if the degree would be too high.
    pub fn polynomial(&mut self, x: Id, by: Coefficients, node: usize) -> Option<Id> {
        let (root, inner) = self.root(x);
        let by = composed(&by, &inner)?;
        Some(if by == IDENTITY { root } else { self.add(Expr::Polynomial { x: root, by }, node) })
    }

    /// Splits step `id` into the scales and shifts that are applied last and the step before them.
    pub fn chain(&self, id: Id) -> Chain<'_> {
        let mut steps = Vec::new();
        let mut base = id;
        loop {
            let (x, kind) = match self.get(base) {
                Expr::Scale { x, by } => (*x, Kind::Scale(by)),
                Expr::Shift { x, by } => (*x, Kind::Shift(by)),
                Expr::Polynomial { x, by: [shift, scale, 0.0, 0.0] } => (*x, Kind::Uniform(*scale, *shift)),
                _ => break,
            };
            steps.push(Link { id: base, kind });
            base = x;
        }
        steps.reverse();
        Chain { base, steps }
    }
}

/// Returns the product of two polynomials, or `None` if its degree is too high.
pub(super) fn product(a: &Coefficients, b: &Coefficients) -> Option<Coefficients> {
    let mut result = [0.0; 4];
    for (i, a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
        for (j, b) in b.iter().enumerate().filter(|(_, b)| **b != 0.0) {
            *result.get_mut(i + j)? += a * b;
        }
    }
    Some(result)
}

/// Returns the sum of two polynomials.
pub(super) fn sum(a: &Coefficients, b: &Coefficients) -> Coefficients {
    std::array::from_fn(|power| a[power] + b[power])
}

/// Returns the polynomial `factor · a`.
pub(super) fn times(a: &Coefficients, factor: f64) -> Coefficients {
    a.map(|coefficient| coefficient * factor)
}

/// Returns the polynomial `outer(inner(x))`, or `None` if its degree is too high.
fn composed(outer: &Coefficients, inner: &Coefficients) -> Option<Coefficients> {
    if *outer == IDENTITY {
        return Some(*inner);
    }
    let mut result = [0.0; 4];
    let mut power = Some([1.0, 0.0, 0.0, 0.0]);
    for (index, coefficient) in outer.iter().enumerate() {
        if index > 0 {
            power = power.and_then(|power| product(&power, inner));
        }
        if *coefficient != 0.0 {
            result = sum(&result, &times(&power?, *coefficient));
        }
    }
    Some(result)
}

/// A step, and the scales and shifts after it.
pub(super) struct Chain<'a> {
    pub base: Id,
    /// Scales and shifts, in the order of computation.
    pub steps: Vec<Link<'a>>,
}

/// A scale or shift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Link<'a> {
    pub id: Id,
    pub kind: Kind<'a>,
}

/// What a [`Link`] does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    Scale(&'a Spread),
    Shift(&'a Spread),
    /// One factor for all numbers, then one summand for all numbers.
    Uniform(f64, f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_of_polynomials_become_one() {
        let mut exprs = Exprs::default();
        let x = exprs.add(Expr::Picture, 0);
        let twice = exprs.polynomial(x, [0.0, 2.0, 0.0, 0.0], 0).unwrap();
        let shifted = exprs.polynomial(twice, [1.0, 1.0, 0.0, 0.0], 0).unwrap();
        assert_eq!(exprs.root(shifted), (x, [1.0, 2.0, 0.0, 0.0]));
        let cube = exprs.polynomial(shifted, [0.0, 0.0, 0.0, 1.0], 0).unwrap();
        assert_eq!(exprs.root(cube), (x, [1.0, 6.0, 12.0, 8.0]));
        assert_eq!(exprs.polynomial(cube, [0.0, 0.0, 1.0, 0.0], 0), None);
        assert_eq!(exprs.polynomial(twice, [0.0, 0.5, 0.0, 0.0], 0), Some(x));
    }
}
