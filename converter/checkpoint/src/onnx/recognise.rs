//! Reads a network off the steps of a graph, from the output back to the picture.

use super::expr::{Expr, Exprs, Id};
use super::fold::{Along, Factors, Step, columns_folded, is_pure_scale, rows_folded, same, steps_of};
use resmlp_network::{Activation, Affine, AffinePlacement, Block, Dialect, Linear, Matrix, Network};

/// A result whose error holds the index of the node that it is about.
pub(super) type Recognise<T> = Result<T, (usize, String)>;

/// Reads the network that ends in step `output`. `image` is the height and width of the picture, and `patch` the edge
/// of a patch, in pixels.
pub(super) fn network(
    exprs: Exprs,
    output: Id,
    image: [usize; 2],
    patch: usize,
    channels: usize,
) -> Recognise<Network> {
    let mut reader = Reader { exprs, dim: channels };
    let (pooled, head) = reader.head(output)?;
    let after_mean = reader.exprs.chain(pooled);
    let Expr::Mean { x } = *reader.exprs.get(after_mean.base) else {
        return reader.fail(after_mean.base, "expected the mean over patches before the classifier");
    };
    let before_mean = reader.exprs.chain(x);
    let mut top = before_mean.base;
    let final_steps = [steps_of(&before_mean.steps), steps_of(&after_mean.steps)].concat();
    let final_affine = reader.affine(&final_steps)?;
    let mut halves = Vec::new();
    while !matches!(reader.exprs.get(top), Expr::Stem { .. }) {
        let half = reader.half(top)?;
        top = half.below;
        halves.push(half);
    }
    if halves.is_empty() {
        return reader.fail(output, "expected residual blocks between the patch embedding and the classifier");
    }
    halves.reverse();
    let activation = reader.activation(&halves)?;
    let (placement, stem_steps) = reader.placement(&mut halves)?;
    let weight = reader.weight(top)?;
    let stem = reader.folded(weight, &stem_steps)?;
    let blocks = reader.blocks(halves)?;
    Ok(Network { dialect: Dialect::Onnx, placement, activation, image, patch, stem, blocks, final_affine, head })
}

/// Half a block: a branch and the Aff that belongs to it.
struct Half {
    /// The residual sum.
    top: Id,
    /// The residual stream before the sum.
    below: Id,
    /// Scales and shifts that the skip and the branch share.
    shared: Vec<Step>,
    /// Scales and shifts of the branch alone.
    own: Vec<Step>,
    scale: Vec<f32>,
    layers: Layers,
}

enum Layers {
    Mix(Linear),
    Mlp { expand: Linear, activation: Activation, contract: Linear },
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

    /// Splits the classifier off, and returns the step that it reads and its weights. Without a classifier, these are
    /// `output` and `None`.
    fn head(&mut self, output: Id) -> Recognise<(Id, Option<Linear>)> {
        let chain = self.exprs.chain(output);
        let Expr::Channels { x, .. } = *self.exprs.get(chain.base) else {
            return Ok((output, None));
        };
        let (base, steps) = (chain.base, steps_of(&chain.steps));
        let weight = self.weight(base)?;
        Ok((x, Some(self.folded(weight, &steps)?)))
    }

    /// Takes the weight of step `id`, which no other step may share.
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
        let is_stream =
            |id: Id| matches!(self.exprs.get(self.exprs.chain(id).base), Expr::Stem { .. } | Expr::Sum { .. });
        let (skip, branch) = match (is_stream(a), is_stream(b)) {
            (true, false) => (a, b),
            (false, true) => (b, a),
            _ => return self.fail(top, "expected the sum of the residual stream and a branch"),
        };
        let (input, scale, layers) = self.branch(branch)?;
        let (on_skip, on_input) = (self.exprs.chain(skip), self.exprs.chain(input));
        if on_skip.base != on_input.base || !same(&on_input.steps, &on_skip.steps) {
            return self.fail(input, "expected the branch to read the residual stream that its result is added to");
        }
        let shared = steps_of(&on_skip.steps);
        let own = steps_of(on_input.steps.get(shared.len()..).unwrap_or_default());
        Ok(Half { top, below: on_skip.base, shared, own, scale, layers })
    }

    /// Reads a branch. Returns the step that the branch reads, its LayerScale and its layers.
    fn branch(&mut self, id: Id) -> Recognise<(Id, Vec<f32>, Layers)> {
        let chain = self.exprs.chain(id);
        let (base, mut steps) = (chain.base, steps_of(&chain.steps));
        let last = steps.iter().rposition(|step| !is_pure_scale(step)).map_or(0, |at| at + 1);
        let scales = steps.split_off(last);
        let scale = self.factors(&scales, self.dim, Along::Channels)?.scale();
        match *self.exprs.get(base) {
            Expr::Mix { x, .. } => {
                let weight = self.weight(base)?;
                let factors = self.factors(&steps, weight.rows, Along::Patches)?;
                Ok((x, scale, Layers::Mix(rows_folded(weight, &factors))))
            }
            Expr::Channels { x, .. } => {
                let weight = self.weight(base)?;
                let chain = self.exprs.chain(x);
                let Expr::Activation { x: hidden, function } = *self.exprs.get(chain.base) else {
                    return self.fail(x, "expected GELU or ReLU before the MLP's second layer");
                };
                let before = self.factors(&steps_of(&chain.steps), weight.cols, Along::Channels)?;
                let after = self.factors(&steps, weight.rows, Along::Channels)?;
                let contract = columns_folded(weight, &before, &after);
                let chain = self.exprs.chain(hidden);
                let Expr::Channels { x: input, .. } = *self.exprs.get(chain.base) else {
                    return self.fail(chain.base, "expected the MLP's first layer before its GELU");
                };
                let (base, steps) = (chain.base, steps_of(&chain.steps));
                let weight = self.weight(base)?;
                let expand = self.folded(weight, &steps)?;
                Ok((input, scale, Layers::Mlp { expand, activation: function, contract }))
            }
            _ => self.fail(base, "expected a layer across patches or an MLP over channels"),
        }
    }

    fn factors(&self, steps: &[Step], length: usize, along: Along) -> Recognise<Factors> {
        let expected = match along {
            Along::Channels => "expected a constant of one value a channel",
            Along::Patches => "expected a bias over patches, found one over channels",
        };
        Factors::of(steps, length, along).or_else(|id| self.fail(id, expected))
    }

    /// Combines scales and shifts into one Aff.
    fn affine(&self, steps: &[Step]) -> Recognise<Affine> {
        let factors = self.factors(steps, self.dim, Along::Channels)?;
        Ok(Affine { alpha: factors.scale(), beta: factors.shift() })
    }

    /// Folds the scales and shifts after the layer `weight` over channels into the layer.
    fn folded(&self, weight: Matrix, steps: &[Step]) -> Recognise<Linear> {
        let factors = self.factors(steps, weight.rows, Along::Channels)?;
        Ok(rows_folded(weight, &factors))
    }

    /// Returns the activation function, which must be the same in all blocks.
    fn activation(&self, halves: &[Half]) -> Recognise<Activation> {
        let mut known = None;
        for half in halves {
            match (&half.layers, known) {
                (Layers::Mlp { activation, .. }, None) => known = Some(*activation),
                (Layers::Mlp { activation, .. }, Some(first)) if *activation != first => {
                    let message =
                        format!("expected {} as in the blocks before, found {}", first.name(), activation.name());
                    return self.fail(half.top, &message);
                }
                _ => {}
            }
        }
        Ok(known.unwrap_or_default())
    }

    /// Returns what the Affs act on, which must be the same in all halves, and the scales and shifts that belong to the
    /// patch embedding.
    ///
    /// The skip and the branch of the first half may share the bias of the patch embedding, an Aff after it, and the
    /// first Aff on the residual stream. Each half ends up with its Aff in `own`.
    fn placement(&self, halves: &mut [Half]) -> Recognise<(AffinePlacement, Vec<Step>)> {
        let Some((first, rest)) = halves.split_first_mut() else { return Ok((AffinePlacement::Branch, Vec::new())) };
        let mut known = None;
        for half in rest {
            let placement = match (half.shared.is_empty(), half.own.is_empty()) {
                (true, true) => continue,
                (true, false) => AffinePlacement::Branch,
                (false, true) => AffinePlacement::Stream,
                (false, false) => {
                    return self.fail(half.top, "expected an Aff on the residual stream or on the branch, not on both");
                }
            };
            if known.is_some_and(|known| known != placement) {
                return self.fail(half.top, "expected all Affs on the residual stream, or all on the branches");
            }
            known = Some(placement);
            half.own.append(&mut half.shared);
        }
        let mut stem = std::mem::take(&mut first.shared);
        match (known, first.own.is_empty()) {
            (Some(AffinePlacement::Stream), false) => {
                self.fail(first.top, "expected all Affs on the residual stream, or all on the branches")
            }
            (Some(AffinePlacement::Stream), true) => {
                let bias = stem.iter().take_while(|step| !is_pure_scale(step)).count().min(1);
                first.own = stem.split_off(bias);
                Ok((AffinePlacement::Stream, stem))
            }
            _ => Ok((AffinePlacement::Branch, stem)),
        }
    }

    /// Pairs halves into blocks: patch mixing first, then the MLP.
    fn blocks(&self, halves: Vec<Half>) -> Recognise<Vec<Block>> {
        let mut blocks: Vec<Block> = Vec::new();
        let mut pending: Option<(Affine, Vec<f32>, Linear)> = None;
        for half in halves {
            let affine = self.affine(&half.own)?;
            match (half.layers, pending.take()) {
                (Layers::Mix(mix), None) => pending = Some((affine, half.scale, mix)),
                (Layers::Mlp { expand, contract, .. }, Some((mix_affine, mix_scale, mix))) => {
                    if blocks.first().is_some_and(|first| first.expand.weight.rows != expand.weight.rows) {
                        return self.fail(half.top, "expected MLPs of one hidden size");
                    }
                    let (mlp_affine, mlp_scale) = (affine, half.scale);
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
