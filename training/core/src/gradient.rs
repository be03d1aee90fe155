//! The gradient of a whole batch, by many threads.

use rayon::prelude::*;

use crate::forward::Forward;
use crate::layout::Layout;
use crate::loss::cross_entropy;
use crate::workspace::Workspace;

/// Number of pictures that are computed together.
pub const CHUNK: usize = 8;

/// Largest number of lanes.
const LANES: usize = 16;

/// Bytes that the gradients of all lanes take together, unless two lanes alone take more.
const LANE_BYTES: usize = 1 << 30;

/// Number of parameters whose lanes are added up together.
const PORTION: usize = 1 << 14;

/// Pictures with their targets.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Normalised pixels, `[pictures, 3, height, width]`.
    pub pictures: &'a [f32],
    /// Probabilities of the classes, `[pictures, classes]`.
    pub targets: &'a [f32],
    /// Factors of the pictures' branches, `[pictures, 2 · depth]`, for stochastic depth (arXiv 1603.09382): 0 where a
    /// branch is dropped and `1 / (1 - rate)` elsewhere. `None` keeps all branches as they are.
    pub keep: Option<&'a [f32]>,
}

/// Results of a batch beside its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradient {
    /// Mean of the pictures' losses.
    pub loss: f64,
    /// Logits, `[pictures, outputs]`.
    pub logits: Vec<f32>,
}

/// A loss or a gradient that is infinite or not a number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {0} is no longer a finite number; a lower learning rate or clipped gradients prevent this")]
pub struct NotFinite(pub String);

/// Computes gradients and logits of networks of one shape. It owns the memory for both.
pub struct Trainer {
    layout: Layout,
    lanes: Vec<Lane>,
}

/// The chunks whose gradients are added up one after the other.
struct Lane {
    workspace: Workspace,
    gradient: Vec<f32>,
}

/// Results of one lane for its pictures.
struct Outcome {
    loss: f64,
    logits: Vec<f32>,
}

impl Trainer {
    /// Creates a trainer of networks of this layout.
    pub fn new(layout: Layout) -> Self {
        let count = (LANE_BYTES / (size_of::<f32>() * layout.len())).clamp(2, LANES);
        let lane = || Lane { workspace: Workspace::new(&layout.shape, CHUNK), gradient: vec![0.0; layout.len()] };
        let lanes = (0..count).map(|_| lane()).collect();
        Self { layout, lanes }
    }

    /// Returns the place of every tensor in a vector of parameters.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Computes the loss of a batch, and writes its gradient to `gradient`.
    ///
    /// # Errors
    /// Returns an error if the loss or a number of the gradient is not finite. The error names the tensor.
    ///
    /// # Panics
    /// Panics if a slice does not have the length that the layout and the number of pictures demand.
    pub fn gradient(&mut self, parameters: &[f32], batch: Batch, gradient: &mut [f32]) -> Result<Gradient, NotFinite> {
        let shape = self.layout.shape;
        let count = batch.pictures.len() / shape.picture_len();
        assert_eq!(batch.pictures.len(), count * shape.picture_len(), "whole pictures");
        assert_eq!(batch.targets.len(), count * shape.outputs(), "one target for each class");
        assert!(batch.keep.is_none_or(|keep| keep.len() == count * 2 * shape.depth), "one factor for each branch");
        assert!([parameters.len(), gradient.len()] == [self.layout.len(); 2], "one number for each parameter");

        let share = self.share(count);
        let layout = &self.layout;
        let used = count.div_ceil(share);
        let outcomes: Vec<Outcome> = self.lanes[..used]
            .par_iter_mut()
            .enumerate()
            .map(|(index, lane)| {
                lane.gradient.fill(0.0);
                let pictures = index * share..count.min((index + 1) * share);
                lane.backward(layout, parameters, part(&batch, &shape, pictures), count)
            })
            .collect();
        let lanes = &self.lanes[..used];
        gradient.par_chunks_mut(PORTION).enumerate().for_each(|(portion, sums)| {
            let range = portion * PORTION..portion * PORTION + sums.len();
            sums.copy_from_slice(&lanes[0].gradient[range.clone()]);
            lanes[1..].iter().for_each(|lane| crate::columns::add(sums, &lane.gradient[range.clone()]));
        });
        self.join(outcomes, count, gradient)
    }

    /// Returns the logits of normalised pictures, `[pictures, outputs]`.
    pub fn logits(&mut self, parameters: &[f32], pictures: &[f32]) -> Vec<f32> {
        let (layout, len) = (&self.layout, self.layout.shape.picture_len());
        let share = self.share(pictures.len() / len);
        let lanes = self.lanes.par_iter_mut().zip(pictures.par_chunks(share * len));
        let logits = lanes.map(|(lane, pictures)| {
            let forward = Forward { layout, parameters, keep: None };
            let mut logits = Vec::new();
            for chunk in pictures.chunks(CHUNK * len) {
                forward.run(chunk, &mut lane.workspace);
                logits.extend_from_slice(&lane.workspace.logits[..chunk.len() / len * layout.shape.outputs()]);
            }
            logits
        });
        logits.collect::<Vec<_>>().concat()
    }

    /// Returns the number of pictures for each lane: whole chunks, as evenly as possible.
    fn share(&self, count: usize) -> usize {
        count.div_ceil(CHUNK).div_ceil(self.lanes.len()).max(1) * CHUNK
    }

    fn join(&self, outcomes: Vec<Outcome>, count: usize, gradient: &[f32]) -> Result<Gradient, NotFinite> {
        let loss = outcomes.iter().map(|outcome| outcome.loss).sum::<f64>() / count as f64;
        if !loss.is_finite() {
            return Err(NotFinite("loss".to_owned()));
        }
        if let Some(index) = gradient.iter().position(|d| !d.is_finite()) {
            let name = self.layout.tensor_of(index).map_or("?", |tensor| &tensor.name);
            return Err(NotFinite(format!("gradient of {name}")));
        }
        Ok(Gradient { loss, logits: outcomes.into_iter().flat_map(|outcome| outcome.logits).collect() })
    }
}

impl Lane {
    /// Takes pictures forwards and backwards, chunk by chunk, and adds to the lane's gradient.
    fn backward(&mut self, layout: &Layout, parameters: &[f32], part: Batch, count: usize) -> Outcome {
        let shape = &layout.shape;
        let (outputs, len) = (shape.outputs(), shape.picture_len());
        let pictures = part.pictures.len() / len;
        let mut outcome = Outcome { loss: 0.0, logits: Vec::with_capacity(pictures * outputs) };
        let mut d_logits = vec![0.0; CHUNK * outputs];
        for first in (0..pictures).step_by(CHUNK) {
            let chunk = self::part(&part, shape, first..pictures.min(first + CHUNK));
            let forward = Forward { layout, parameters, keep: chunk.keep };
            forward.run(chunk.pictures, &mut self.workspace);
            let logits = &self.workspace.logits[..chunk.targets.len()];
            outcome.logits.extend_from_slice(logits);
            let d_logits = &mut d_logits[..chunk.targets.len()];
            outcome.loss += cross_entropy(logits, chunk.targets, outputs, count, d_logits);
            forward.backward(d_logits, &mut self.workspace, &mut self.gradient);
        }
        outcome
    }
}

/// Returns some pictures of a batch.
fn part<'a>(batch: &Batch<'a>, shape: &crate::Shape, pictures: std::ops::Range<usize>) -> Batch<'a> {
    let of = |values: &'a [f32], each: usize| &values[pictures.start * each..pictures.end * each];
    Batch {
        pictures: of(batch.pictures, shape.picture_len()),
        targets: of(batch.targets, shape.outputs()),
        keep: batch.keep.map(|keep| of(keep, 2 * shape.depth)),
    }
}
