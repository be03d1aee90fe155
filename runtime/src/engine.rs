//! Runs the forward pass of a network. These are the paper's formulas with all constants folded:
//!
//! ```text
//! y[n,:]  = We · patch[n] + be
//! y[n,d] += s[d] · Σ_m Wt[n,m] · y[m,d]  +  p[d] · r[n]  +  q[d] · bt[n]      # patch mixing, every block
//! y[n,:] += W2 · gelu(W1 · y[n,:] + b1) + b2                                  # channel MLP, every block
//! logits  = Wh · mean_n(y) + bh
//! ```

mod f16;
mod int8;
mod patches;

use core::fmt;
use core::ops::Range;

use crate::kernels::{Kernels, Mismatch, part_of};
use crate::model::{Model, ModelError};
use crate::numerics::rescaled;
use crate::parallel::{self, Block, Cut, ParallelFor, Side, WHOLE};
use crate::plan::Plan;
use crate::storage::Arithmetic;

/// A model bound to kernels and cores, ready to run.
#[derive(Debug)]
pub struct Engine<'m, P> {
    model: Model<'m>,
    kernels: &'static Kernels,
    parallel: P,
    plan: Plan,
}

/// A stage of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Patch embedding.
    Stem,
    /// Patch mixing of this block.
    Mix(usize),
    /// Channel MLP of this block.
    Mlp(usize),
    /// Mean over patches and classifier.
    Head,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stem => write!(f, "stem"),
            Self::Mix(block) => write!(f, "block.{block}.mix"),
            Self::Mlp(block) => write!(f, "block.{block}.mlp"),
            Self::Head => write!(f, "head"),
        }
    }
}

impl Stage {
    /// Returns the stages of a network of `depth` blocks, in their order.
    pub fn all(depth: usize) -> impl Iterator<Item = Stage> + Clone {
        let blocks = (0..depth).flat_map(|block| [Stage::Mix(block), Stage::Mlp(block)]);
        core::iter::once(Stage::Stem).chain(blocks).chain(core::iter::once(Stage::Head))
    }
}

/// The reason why a forward pass did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunError {
    /// The picture has a wrong number of bytes.
    Image {
        /// Bytes found.
        found: usize,
        /// Bytes expected: height × width × 3.
        expected: usize,
    },
    /// The scratch memory is too short.
    Scratch {
        /// Bytes found.
        found: usize,
        /// Bytes needed: [`Engine::scratch_len`].
        expected: usize,
    },
    /// The slice for the logits has the wrong length.
    Logits {
        /// Values found.
        found: usize,
        /// Values expected: the model's outputs.
        expected: usize,
    },
    /// Two lengths do not fit together, which is an error in this library.
    Internal,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Image { found, expected } => write!(f, "picture of {found} bytes, expected {expected}"),
            Self::Scratch { found, expected } => write!(f, "{found} bytes of scratch memory, expected {expected}"),
            Self::Logits { found, expected } => write!(f, "room for {found} logits, expected {expected}"),
            Self::Internal => write!(f, "an internal error: two lengths do not fit together; please report it"),
        }
    }
}

impl core::error::Error for RunError {}

impl From<Mismatch> for RunError {
    fn from(_: Mismatch) -> Self {
        Self::Internal
    }
}

/// Everything that the stages of one forward pass share.
struct Pass<'r, 'm, P> {
    model: &'r Model<'m>,
    kernels: &'static Kernels,
    cores: Cores<'r, P>,
    plan: &'r Plan,
    stream: &'r mut [f32],
    scratch: &'r mut [u8],
}

impl<'m, P: ParallelFor> Engine<'m, P> {
    /// Binds a model to kernels and cores.
    ///
    /// # Errors
    /// Returns an error if the kernels do not read the model's layout, or if the model needs more memory than
    /// there are addresses.
    pub fn new(model: Model<'m>, kernels: &'static Kernels, parallel: P) -> Result<Self, ModelError> {
        if !kernels.reads(model.dims()) {
            return Err(ModelError::Layout { kernels: kernels.name() });
        }
        let plan = Plan::new(model.dims(), &kernels.tile_sizes(), parallel.workers())
            .ok_or(ModelError::Field { name: "dimensions" })?;
        Ok(Self { model, kernels, parallel, plan })
    }

    /// Returns the model.
    pub fn model(&self) -> &Model<'m> {
        &self.model
    }

    /// Returns the kernels in use.
    pub fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Returns the bytes of scratch memory that [`Engine::run`] needs. The memory may start at any address.
    pub fn scratch_len(&self) -> usize {
        self.plan.len()
    }

    /// Runs the network on one picture of height × width × RGB bytes, and writes one number for each of the model's
    /// outputs to `logits`.
    ///
    /// # Errors
    /// Returns an error if a length is wrong.
    pub fn run(&self, image: &[u8], scratch: &mut [u8], logits: &mut [f32]) -> Result<(), RunError> {
        self.run_observed(image, scratch, logits, &mut |_, _| {})
    }

    /// Does what [`Engine::run`] does, and calls `observe` after every stage with the residual stream: tokens ×
    /// channels, the channels padded with zeros.
    ///
    /// # Errors
    /// Returns an error if a length is wrong.
    pub fn run_observed(
        &self,
        image: &[u8],
        scratch: &mut [u8],
        logits: &mut [f32],
        observe: &mut dyn FnMut(Stage, &[f32]),
    ) -> Result<(), RunError> {
        let dims = self.model.dims();
        let expected = dims.image[0] * dims.image[1] * 3;
        if image.len() != expected {
            return Err(RunError::Image { found: image.len(), expected });
        }
        if logits.len() != dims.outputs {
            return Err(RunError::Logits { found: logits.len(), expected: dims.outputs });
        }
        let short = RunError::Scratch { found: scratch.len(), expected: self.plan.len() };
        let (stream, scratch) = self.plan.cut(scratch).ok_or(short)?;
        let mut pass = Pass {
            model: &self.model,
            kernels: self.kernels,
            cores: Cores { parallel: &self.parallel, workers: self.plan.workers },
            plan: &self.plan,
            stream,
            scratch,
        };
        for stage in Stage::all(dims.depth) {
            pass.run(stage, image, logits)?;
            observe(stage, pass.stream);
        }
        Ok(())
    }
}

impl<P: ParallelFor> Pass<'_, '_, P> {
    fn run(&mut self, stage: Stage, image: &[u8], logits: &mut [f32]) -> Result<(), RunError> {
        match (self.model.dims().arithmetic(), stage) {
            (Arithmetic::Int8, Stage::Stem) => int8::stem(self, image),
            (Arithmetic::Int8, Stage::Mix(block)) => int8::mix(self, block),
            (Arithmetic::Int8, Stage::Mlp(block)) => int8::mlp(self, block),
            (Arithmetic::Int8, Stage::Head) => int8::head(self, logits),
            (Arithmetic::Float, Stage::Stem) => f16::stem(self, image),
            (Arithmetic::Float, Stage::Mix(block)) => f16::mix(self, block),
            (Arithmetic::Float, Stage::Mlp(block)) => f16::mlp(self, block),
            (Arithmetic::Float, Stage::Head) => f16::head(self, logits),
        }
    }

    /// Runs `task` on all workers, each with a share of the logits, which are cut at multiples of `width`.
    ///
    /// The task is given the index of its first logit, its logits, the stream, and memory of the worker's own.
    fn for_each_output(
        &mut self,
        width: usize,
        logits: &mut [f32],
        task: impl Fn(usize, &mut [f32], &[f32], &mut [u8]) -> Result<(), Mismatch> + Sync,
    ) -> Result<(), RunError> {
        let (stream, columns, cut) = (&*self.stream, logits.len(), Cut::shares([WHOLE, width]));
        let logits = Block::new(logits, columns);
        self.cores.for_each_block_with(logits, cut, self.scratch, |[_, part], mut logits, scratch| {
            task(part.start, logits.row_mut(0), stream, scratch)
        })
    }
}

/// The cores that a forward pass runs on.
struct Cores<'r, P> {
    parallel: &'r P,
    workers: usize,
}

impl<P: ParallelFor> Cores<'_, P> {
    /// Runs `task` over blocks of `matrix` on all workers, as [`parallel::for_each_block`] does.
    fn for_each_block<T: Send + Sync>(
        &self,
        matrix: Block<'_, T>,
        cut: Cut,
        task: impl Fn([Range<usize>; 2], Block<T>) -> Result<(), Mismatch> + Sync,
    ) -> Result<(), RunError> {
        self.for_each_block_with(matrix, cut, &mut [], |part, block, _| task(part, block))
    }

    /// Runs `task` over blocks of `matrix` on all workers, each with a share of `scratch`.
    fn for_each_block_with<T: Send + Sync>(
        &self,
        matrix: Block<'_, T>,
        cut: Cut,
        scratch: &mut [u8],
        task: impl Fn([Range<usize>; 2], Block<T>, &mut [u8]) -> Result<(), Mismatch> + Sync,
    ) -> Result<(), RunError> {
        all_succeed(|failed| {
            parallel::for_each_block(self.parallel, self.workers, matrix, cut, scratch, |part, block, scratch| {
                failed.note(task(part, block, scratch));
            });
        })
    }

    /// Runs `task` on all workers, each with a share of `stream` and the share of `panels` that belongs to it, as
    /// [`parallel::for_each_share`] does.
    fn for_each_share<T: Send + Sync>(
        &self,
        stream: Block,
        panels: (Side, Block<'_, T>),
        unit: [usize; 2],
        task: impl Fn([Range<usize>; 2], Block, Block<T>) -> Result<(), Mismatch> + Sync,
    ) -> Result<(), RunError> {
        all_succeed(|failed| {
            parallel::for_each_share(self.parallel, self.workers, stream, panels, unit, |part, stream, panels| {
                failed.note(task(part, stream, panels));
            });
        })
    }
}

/// A flag that says whether a task of any worker has failed.
struct Failed(core::sync::atomic::AtomicBool);

impl Failed {
    fn note(&self, result: Result<(), Mismatch>) {
        if result.is_err() {
            self.0.store(true, core::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Runs `run`, and returns an error if it notes a failure.
fn all_succeed(run: impl FnOnce(&Failed)) -> Result<(), RunError> {
    let failed = Failed(core::sync::atomic::AtomicBool::new(false));
    run(&failed);
    if failed.0.into_inner() { Err(RunError::Internal) } else { Ok(()) }
}

/// Multiplies every row of `block` by the gains of its `channels`. Models without gains have an empty `gain`.
fn rescale(block: &mut Block, gain: &[f32], channels: &Range<usize>) {
    let gain = part_of(gain, channels);
    if !gain.is_empty() {
        for row in 0..block.rows() {
            block.row_mut(row).iter_mut().zip(gain).for_each(|(y, g)| *y = rescaled(*y, *g));
        }
    }
}

/// Sums columns of the stream, starting with column `first`, into `sums`, in the order of the tokens.
fn sum_over_tokens(stream: &[f32], dim: usize, first: usize, sums: &mut [f32]) {
    sums.fill(0.0);
    for row in stream.chunks_exact(dim.max(1)) {
        for (sum, &y) in sums.iter_mut().zip(row.iter().skip(first)) {
            *sum += y;
        }
    }
}

/// Computes the results of a network without a classifier, the means over the tokens, from channel `first` on.
fn embed(stream: &[f32], dim: usize, [scale, bias]: [&[f32]; 2], first: usize, out: &mut [f32]) {
    sum_over_tokens(stream, dim, first, out);
    let coefficients = scale.iter().zip(bias).skip(first);
    out.iter_mut().zip(coefficients).for_each(|(y, (&scale, &bias))| *y = *y * scale + bias);
}
