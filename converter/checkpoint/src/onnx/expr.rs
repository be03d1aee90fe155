//! What is done to the picture, independent of how the exporter lays tensors out.

use resmlp_network::Matrix;

/// Index of an [`Expr`] among those of a graph.
pub(super) type Id = usize;

/// A constant of one value a channel, one a patch, or one for all.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Spread {
    All(f32),
    Channels(Vec<f32>),
    Patches(Vec<f32>),
}

/// One step of the computation. Operands come before their users.
#[derive(Debug)]
pub(super) enum Expr {
    /// The picture.
    Picture,
    /// Patch embedding without bias, `[dim, 3 · patch · patch]`, a patch as (colour, row, column).
    Stem {
        weight: Matrix,
    },
    /// Linear layer over channels without bias, `[out, in]`.
    Channels {
        x: Id,
        weight: Matrix,
    },
    /// Linear layer over patches without bias, `[patches, patches]`.
    Mix {
        x: Id,
        weight: Matrix,
    },
    Scale {
        x: Id,
        by: Spread,
    },
    Shift {
        x: Id,
        by: Spread,
    },
    Erf {
        x: Id,
    },
    Gelu {
        x: Id,
    },
    Sum {
        a: Id,
        b: Id,
    },
    /// Mean over patches.
    Mean {
        x: Id,
    },
}

/// The steps of a graph, each with the index of the node that it comes from.
#[derive(Debug, Default)]
pub(super) struct Exprs {
    steps: Vec<(Expr, usize)>,
}

impl Exprs {
    /// Adds a step that `node` takes.
    pub fn add(&mut self, expr: Expr, node: usize) -> Id {
        self.steps.push((expr, node));
        self.steps.len() - 1
    }

    /// Step `id`.
    pub fn get(&self, id: Id) -> &Expr {
        self.steps.get(id).map_or(&Expr::Picture, |(expr, _)| expr)
    }

    /// The node that step `id` comes from.
    pub fn node(&self, id: Id) -> usize {
        self.steps.get(id).map_or(usize::MAX, |(_, node)| *node)
    }

    /// Moves the weight out of step `id`; it can be had once.
    pub fn take_weight(&mut self, id: Id) -> Option<Matrix> {
        match self.steps.get_mut(id).map(|(expr, _)| expr) {
            Some(Expr::Stem { weight } | Expr::Channels { weight, .. } | Expr::Mix { weight, .. }) => {
                let weight = std::mem::replace(weight, Matrix::zeros(0, 0));
                (weight.rows > 0).then_some(weight)
            }
            _ => None,
        }
    }

    /// Step `id` without the scales and shifts that are applied last.
    pub fn chain(&self, id: Id) -> Chain<'_> {
        let mut steps = Vec::new();
        let mut base = id;
        loop {
            match self.get(base) {
                Expr::Shift { x, .. } if matches!(self.get(*x), Expr::Stem { .. }) => break, // the stem's bias
                Expr::Scale { x, by } => {
                    steps.push(Link { id: base, kind: Kind::Scale, by });
                    base = *x;
                }
                Expr::Shift { x, by } => {
                    steps.push(Link { id: base, kind: Kind::Shift, by });
                    base = *x;
                }
                _ => break,
            }
        }
        steps.reverse();
        Chain { base, steps }
    }

    /// `erf`-based GELU where the product of `a` and `b` is one: the argument and the factor that remains.
    pub fn gelu(&self, a: Id, b: Id) -> Option<(Id, f32)> {
        self.gelu_ordered(a, b).or_else(|| self.gelu_ordered(b, a))
    }

    /// `(s · h) · (t · (1 + erf(h / √2)))`, which is `2 · s · t · gelu(h)`.
    fn gelu_ordered(&self, plain: Id, gate: Id) -> Option<(Id, f32)> {
        let gate = self.chain(gate);
        let Expr::Erf { x: argument } = self.get(gate.base) else { return None };
        let (mut scale, mut shift) = (1.0, 0.0);
        for link in &gate.steps {
            match (link.kind, link.by) {
                (Kind::Scale, Spread::All(by)) => (scale, shift) = (scale * by, shift * by),
                (Kind::Shift, Spread::All(by)) => shift += by,
                _ => return None,
            }
        }
        if scale != shift {
            return None;
        }
        let (h, before) = self.uniformly_scaled(*argument).find_map(|(h, inner)| {
            let outer = self.uniformly_scaled(plain).find(|(candidate, _)| *candidate == h)?.1;
            ((inner - std::f32::consts::FRAC_1_SQRT_2).abs() < HALF_PRECISION).then_some((h, outer))
        })?;
        Some((h, 2.0 * scale * before))
    }

    /// `id` and what it is a uniform multiple of, each with the factor.
    fn uniformly_scaled(&self, id: Id) -> impl Iterator<Item = (Id, f32)> {
        std::iter::successors(Some((id, 1.0)), |(id, factor)| match self.get(*id) {
            Expr::Scale { x, by: Spread::All(by) } => Some((*x, factor * by)),
            _ => None,
        })
    }
}

/// How far from 1 / √2 an exporter's constant may be: it may have been rounded to f16.
const HALF_PRECISION: f32 = 2e-4;

/// A step and the scales and shifts after it.
pub(super) struct Chain<'a> {
    pub base: Id,
    /// In the order of computation.
    pub steps: Vec<Link<'a>>,
}

/// A scale or shift.
#[derive(Clone, Copy)]
pub(super) struct Link<'a> {
    pub id: Id,
    pub kind: Kind,
    pub by: &'a Spread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scale,
    Shift,
}
