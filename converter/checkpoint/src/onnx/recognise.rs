//! Reads a network off the steps of a graph, from the output back to the picture.

use super::expr::{Expr, Exprs, Id, Kind, Link, Spread};
use super::state::Followed;
use resmlp_network::{Activation, Affine, AffinePlacement, Block, Dialect, Linear, Matrix, Network};

/// An error and the node that it is about.
type Recognise<T> = Result<T, (usize, String)>;

/// The network that `followed` computes.
pub(super) fn network(followed: Followed) -> Recognise<Network> {
    let Followed { exprs, output, image, patch, channels } = followed;
    let mut reader = Reader { exprs, dim: channels };
    let (pooled, head) = reader.head(output)?;
    let after_mean = reader.exprs.chain(pooled);
    let Expr::Mean { x } = *reader.exprs.get(after_mean.base) else {
        return reader.fail(after_mean.base, "expected the mean over patches before the classifier");
    };
    let before_mean = reader.exprs.chain(x);
    let mut top = before_mean.base;
    let final_affine = reader.affine(&[before_mean.steps, after_mean.steps].concat())?;
    let mut halves = Vec::new();
    while !reader.is_embedding(top) {
        let half = reader.half(top)?;
        top = half.below;
        halves.push(half);
    }
    let stem = reader.stem(top)?;
    halves.reverse();
    let placement = reader.placement(&halves)?;
    let blocks = reader.blocks(halves)?;
    if blocks.is_empty() {
        return reader.fail(output, "expected residual blocks between the patch embedding and the classifier");
    }
    Ok(Network {
        dialect: Dialect::Onnx,
        placement,
        activation: Activation::Gelu,
        image,
        patch,
        stem,
        blocks,
        final_affine,
        head,
    })
}

/// Half a block: a branch and the Aff that belongs to it.
struct Half {
    /// The residual sum.
    top: Id,
    /// The residual stream before it.
    below: Id,
    affine: Affine,
    scale: Vec<f32>,
    /// Where the Aff stands; `None` where there is none, which is the same in both places.
    placement: Option<AffinePlacement>,
    layers: Layers,
}

enum Layers {
    Mix(Linear),
    Mlp { expand: Linear, contract: Linear },
}

struct Reader {
    exprs: Exprs,
    /// Number of channels of the residual stream.
    dim: usize,
}

impl Reader {
    fn fail<T>(&self, id: Id, message: &str) -> Recognise<T> {
        Err((self.exprs.node(id), format!("not a ResMLP as this program knows it: {message}")))
    }

    /// Splits the classifier off: the step that it reads, and its weights if there is one.
    fn head(&mut self, output: Id) -> Recognise<(Id, Option<Linear>)> {
        let chain = self.exprs.chain(output);
        let Expr::Channels { x, .. } = *self.exprs.get(chain.base) else {
            return Ok((output, None));
        };
        let (base, steps) = (chain.base, owned(&chain.steps));
        let weight = self.weight(base)?;
        Ok((x, Some(self.folded(weight, &steps)?)))
    }

    /// Whether `id` is the patch embedding, with or without bias.
    fn is_embedding(&self, id: Id) -> bool {
        match self.exprs.get(id) {
            Expr::Stem { .. } => true,
            Expr::Shift { x, .. } => matches!(self.exprs.get(*x), Expr::Stem { .. }),
            _ => false,
        }
    }

    fn stem(&mut self, id: Id) -> Recognise<Linear> {
        match self.exprs.get(id) {
            Expr::Shift { x, by } => {
                let (x, step) = (*x, Step { id, kind: Kind::Shift, by: by.clone() });
                let weight = self.weight(x)?;
                self.folded(weight, &[step])
            }
            _ => {
                let weight = self.weight(id)?;
                self.folded(weight, &[])
            }
        }
    }

    /// The weight of step `id`, which no other step may share.
    fn weight(&mut self, id: Id) -> Recognise<Matrix> {
        match self.exprs.take_weight(id) {
            Some(weight) => Ok(weight),
            None => self.fail(id, "expected a layer whose result is used once"),
        }
    }

    /// Reads the residual sum `top`.
    fn half(&mut self, top: Id) -> Recognise<Half> {
        let Expr::Sum { a, b } = *self.exprs.get(top) else {
            return self.fail(top, "expected a residual sum");
        };
        let is_stream = |id: Id| {
            let base = self.exprs.chain(id).base;
            self.is_embedding(base) || matches!(self.exprs.get(base), Expr::Sum { .. })
        };
        let (skip, branch) = match (is_stream(a), is_stream(b)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            _ => return self.fail(top, "expected the sum of the residual stream and a branch"),
        };
        let (input, scale, layers) = self.branch(branch)?;
        let (affine, placement) = self.affine_between(skip, input)?;
        let below = self.exprs.chain(skip).base;
        Ok(Half { top, below, affine, scale, placement, layers })
    }

    /// Reads a branch: what it reads, its LayerScale, its layers.
    fn branch(&mut self, id: Id) -> Recognise<(Id, Vec<f32>, Layers)> {
        let chain = self.exprs.chain(id);
        let (base, mut steps) = (chain.base, owned(&chain.steps));
        let scale = match steps.pop_if(|last| last.kind == Kind::Scale && !matches!(last.by, Spread::Patches(_))) {
            Some(Step { by: Spread::Channels(scale), .. }) => scale,
            Some(Step { by: Spread::All(scale), .. }) => vec![scale; self.dim],
            _ => vec![1.0; self.dim],
        };
        match *self.exprs.get(base) {
            Expr::Mix { x, .. } => {
                let weight = self.weight(base)?;
                Ok((x, scale, Layers::Mix(self.folded_over_patches(weight, &steps)?)))
            }
            Expr::Channels { x, .. } => {
                let mut weight = self.weight(base)?;
                let (hidden, factor) = self.gelu(x)?;
                weight.data.iter_mut().for_each(|value| *value *= factor);
                let contract = self.folded(weight, &steps)?;
                let chain = self.exprs.chain(hidden);
                let Expr::Channels { x: input, .. } = *self.exprs.get(chain.base) else {
                    return self.fail(chain.base, "expected the MLP's first layer before its GELU");
                };
                let (base, steps) = (chain.base, owned(&chain.steps));
                let weight = self.weight(base)?;
                let expand = self.folded(weight, &steps)?;
                Ok((input, scale, Layers::Mlp { expand, contract }))
            }
            _ => self.fail(base, "expected a layer across patches or an MLP over channels"),
        }
    }

    /// What the GELU at `id` reads, and a factor on its result: a spelled-out GELU may be halved last.
    fn gelu(&self, id: Id) -> Recognise<(Id, f32)> {
        let chain = self.exprs.chain(id);
        let factor = chain.steps.iter().try_fold(1.0, |factor, link| match (link.kind, link.by) {
            (Kind::Scale, Spread::All(by)) => Some(factor * by),
            _ => None,
        });
        match (self.exprs.get(chain.base), factor) {
            (Expr::Gelu { x }, Some(factor)) => Ok((*x, factor)),
            _ => self.fail(id, "expected the exact GELU before the MLP's second layer"),
        }
    }

    /// The Aff of a half, from what the skip adds and what the branch reads.
    fn affine_between(&self, skip: Id, input: Id) -> Recognise<(Affine, Option<AffinePlacement>)> {
        let on_skip = self.exprs.chain(skip);
        let on_input = self.exprs.chain(input);
        if skip == input {
            let placement = (!on_skip.steps.is_empty()).then_some(AffinePlacement::Stream);
            return Ok((self.affine(&on_skip.steps)?, placement));
        }
        if on_skip.base != on_input.base || !on_skip.steps.is_empty() {
            return self.fail(input, "expected the branch to read the residual stream that its result is added to");
        }
        Ok((self.affine(&on_input.steps)?, Some(AffinePlacement::Branch)))
    }

    /// Scales and shifts as one Aff.
    fn affine(&self, links: &[Link]) -> Recognise<Affine> {
        let mut affine = Affine { alpha: vec![1.0; self.dim], beta: vec![0.0; self.dim] };
        for link in links {
            let by = self.per_channel(link.id, link.by, self.dim)?;
            for ((alpha, beta), by) in affine.alpha.iter_mut().zip(&mut affine.beta).zip(by) {
                match link.kind {
                    Kind::Scale => (*alpha, *beta) = (*alpha * by, *beta * by),
                    Kind::Shift => *beta += by,
                }
            }
        }
        Ok(affine)
    }

    /// `weight` with the scales and shifts after it.
    fn folded(&self, mut weight: Matrix, steps: &[Step]) -> Recognise<Linear> {
        let mut bias = vec![0.0; weight.rows];
        for step in steps {
            let by = self.per_channel(step.id, &step.by, weight.rows)?;
            apply(&mut weight, &mut bias, step.kind, &by);
        }
        Ok(Linear { weight, bias })
    }

    /// `weight` across patches with the scales and shifts after it.
    fn folded_over_patches(&self, mut weight: Matrix, steps: &[Step]) -> Recognise<Linear> {
        let mut bias = vec![0.0; weight.rows];
        for step in steps {
            let by = match &step.by {
                Spread::All(by) => vec![*by; weight.rows],
                Spread::Patches(by) => by.clone(),
                Spread::Channels(_) => {
                    return self.fail(step.id, "expected a bias over patches, found one over channels");
                }
            };
            apply(&mut weight, &mut bias, step.kind, &by);
        }
        Ok(Linear { weight, bias })
    }

    fn per_channel(&self, id: Id, spread: &Spread, channels: usize) -> Recognise<Vec<f32>> {
        match spread {
            Spread::All(by) => Ok(vec![*by; channels]),
            Spread::Channels(by) if by.len() == channels => Ok(by.clone()),
            _ => self.fail(id, "expected a constant of one value a channel"),
        }
    }

    /// Where the Affs stand, which must be the same throughout.
    fn placement(&self, halves: &[Half]) -> Recognise<AffinePlacement> {
        let mut known = halves.iter().filter_map(|half| half.placement.map(|placement| (placement, half.top)));
        let Some((first, _)) = known.next() else { return Ok(AffinePlacement::Branch) };
        match known.find(|(placement, _)| *placement != first) {
            Some((_, top)) => self.fail(top, "expected all Affs on the residual stream, or all on the branches"),
            None => Ok(first),
        }
    }

    /// Pairs halves up: patch mixing, then MLP.
    fn blocks(&self, halves: Vec<Half>) -> Recognise<Vec<Block>> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut pending: Option<(Affine, Vec<f32>, Linear)> = None;
        for half in halves {
            match (half.layers, pending.take()) {
                (Layers::Mix(mix), None) => pending = Some((half.affine, half.scale, mix)),
                (Layers::Mlp { expand, contract }, Some((mix_affine, mix_scale, mix))) => {
                    if blocks.first().is_some_and(|first| first.expand.weight.rows != expand.weight.rows) {
                        return self.fail(half.top, "expected MLPs of one hidden size");
                    }
                    let (mlp_affine, mlp_scale) = (half.affine, half.scale);
                    blocks.push(Block { mix_affine, mix, mix_scale, mlp_affine, expand, contract, mlp_scale });
                }
                _ => return self.fail(half.top, "expected patch mixing and channel MLPs in turn"),
            }
        }
        match pending {
            Some(_) => Err((usize::MAX, "not a ResMLP: the last block has no channel MLP".into())),
            None => Ok(blocks),
        }
    }
}

/// A scale or shift, with its own copy of the constant.
struct Step {
    id: Id,
    kind: Kind,
    by: Spread,
}

fn owned(links: &[Link]) -> Vec<Step> {
    links.iter().map(|link| Step { id: link.id, kind: link.kind, by: link.by.clone() }).collect()
}

/// Scales the rows of a layer, or shifts its bias.
fn apply(weight: &mut Matrix, bias: &mut [f32], kind: Kind, by: &[f32]) {
    for (row, (bias, by)) in bias.iter_mut().zip(by).enumerate() {
        match kind {
            Kind::Scale => {
                weight.row_mut(row).iter_mut().for_each(|value| *value *= by);
                *bias *= by;
            }
            Kind::Shift => *bias += by,
        }
    }
}
