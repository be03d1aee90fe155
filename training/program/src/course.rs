//! The course of a training: batch after batch, epoch after epoch.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use resmlp_train_core::{Batch, Layout, Schedule, Trainer, cross_entropy};
use resmlp_train_data::Loader;
use resmlp_train_data::random::{Purpose, Random};

use crate::error::{Error, Result};
use crate::recipe::Recipe;
use crate::state::{Epoch, State};

/// Results of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Mean loss of the batch's varied pictures.
    pub loss: f64,
    /// Learning rate of the update.
    pub rate: f64,
}

/// Watches a training.
pub trait Observer {
    /// Learns of a batch that is complete.
    fn step(&mut self, state: &State, step: Step);

    /// Learns of an epoch that is complete.
    fn epoch(&mut self, state: &State, epoch: &Epoch);
}

/// End of a call of [`Course::run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All epochs are complete.
    Complete,
    /// The caller asked for an early end. The state is saved.
    Stopped,
}

/// A training under way.
pub struct Course<'a> {
    /// Settings.
    pub recipe: &'a Recipe,
    /// Training pictures.
    pub training: &'a Loader,
    /// Held-out pictures; `None` where the data set has none.
    pub held_out: Option<&'a Loader>,
    /// File in which the state is saved after each epoch.
    pub saved: &'a Path,
    /// Computes gradients and logits.
    pub trainer: Trainer,
    /// Everything that changes.
    pub state: State,
}

impl Course<'_> {
    /// Trains until all epochs are complete or `stop` becomes true. The state is saved at the start, after each epoch
    /// and when the training stops early.
    ///
    /// # Errors
    /// Returns an error where a batch cannot be loaded, the state cannot be saved, or training leaves the finite
    /// numbers.
    pub fn run(&mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<End> {
        self.save()?;
        let schedule = self.recipe.schedule(self.training.batches_per_epoch() as u64);
        let mut gradient = vec![0.0; self.trainer.layout().len()];
        while self.state.progress.epoch < self.recipe.epochs {
            let (epoch, first) = (self.state.progress.epoch, self.state.progress.batch);
            for batch in self.training.epoch(epoch, first) {
                let step = self.update(&batch?, &schedule, &mut gradient)?;
                observer.step(&self.state, step);
                if stop.load(Ordering::Relaxed) {
                    self.save()?;
                    return Ok(End::Stopped);
                }
            }
            let epoch = self.end_epoch(&schedule)?;
            self.save()?;
            observer.epoch(&self.state, &epoch);
        }
        Ok(End::Complete)
    }

    fn save(&self) -> Result<()> {
        self.state.save(self.saved, self.recipe, self.training.dataset().class_names())
    }

    /// Changes the parameters by the gradient of one batch.
    fn update(&mut self, batch: &resmlp_train_data::Batch, schedule: &Schedule, gradient: &mut [f32]) -> Result<Step> {
        let Self { recipe, trainer, state, .. } = self;
        let progress = &mut state.progress;
        let keep = branch_factors(recipe, trainer.layout(), progress.updates, batch.len());
        let batch = Batch { pictures: &batch.images, targets: &batch.targets, keep: keep.as_deref() };
        let outcome = trainer.gradient(&state.parameters, batch, gradient);
        let loss = outcome.map(|outcome| outcome.loss).map_err(|reason| Error::NotFinite {
            epoch: progress.epoch + 1,
            batch: progress.batch + 1,
            reason,
            saved: self.saved.to_path_buf(),
        })?;
        let rate = schedule.at(progress.updates);
        state.optimiser.update(trainer.layout(), &mut state.parameters, gradient, rate, |name| recipe.is_frozen(name));
        progress.updates += 1;
        progress.batch += 1;
        progress.loss += loss;
        state.mean.update(&state.parameters, progress.updates);
        Ok(Step { loss, rate })
    }

    /// Judges the averaged network and begins the next epoch.
    fn end_epoch(&mut self, schedule: &Schedule) -> Result<Epoch> {
        let judged = match self.held_out {
            Some(loader) => Some(judge(&mut self.trainer, &self.state.mean.parameters, loader)?),
            None => None,
        };
        let progress = &mut self.state.progress;
        let epoch = Epoch {
            epoch: progress.epoch + 1,
            loss: progress.loss / progress.batch as f64,
            rate: schedule.at(progress.updates.saturating_sub(1)),
            top1: judged.as_ref().map(Judged::top1),
            held_out_loss: judged.map(|judged| judged.loss),
        };
        progress.epoch += 1;
        progress.batch = 0;
        progress.loss = 0.0;
        progress.history.push(epoch.clone());
        Ok(epoch)
    }
}

/// The logits of a network for all pictures of a loader.
pub struct Judged {
    /// Logits of each picture, `[pictures, classes]`.
    pub logits: Vec<f32>,
    /// Label of each picture.
    pub labels: Vec<u32>,
    /// Index of each picture in the data set.
    pub indices: Vec<u32>,
    /// Mean cross entropy.
    pub loss: f64,
}

impl Judged {
    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.logits.len() / self.labels.len().max(1)
    }

    /// Returns the logits and the label of each picture.
    pub fn rows(&self) -> impl Iterator<Item = (&[f32], usize)> {
        self.logits.chunks_exact(self.classes().max(1)).zip(self.labels.iter().map(|&label| label as usize))
    }

    /// Returns the share of the pictures whose own class has the largest logit.
    pub fn top1(&self) -> f64 {
        let right = self.rows().filter(|(logits, label)| first(logits) == *label).count();
        right as f64 / self.labels.len().max(1) as f64
    }
}

/// Returns the class with the largest logit, the first one of equals.
pub fn first(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a))).unwrap_or(0)
}

/// Computes the logits of a network for all pictures of a loader.
///
/// # Errors
/// Returns an error where a picture cannot be loaded.
pub fn judge(trainer: &mut Trainer, parameters: &[f32], loader: &Loader) -> Result<Judged> {
    let mut judged = Judged { logits: vec![], labels: vec![], indices: vec![], loss: 0.0 };
    for batch in loader.epoch(0, 0) {
        let batch = batch?;
        judged.logits.extend(trainer.logits(parameters, &batch.images));
        judged.labels.extend(&batch.labels);
        judged.indices.extend(&batch.indices);
    }
    let classes = judged.classes();
    let mut targets = vec![0.0; judged.logits.len()];
    for (row, &label) in targets.chunks_exact_mut(classes.max(1)).zip(&judged.labels) {
        row[label as usize] = 1.0;
    }
    if classes > 0 {
        let sum = cross_entropy(&judged.logits, &targets, classes, 1, &mut vec![0.0; targets.len()]);
        judged.loss = sum / judged.labels.len() as f64;
    }
    Ok(judged)
}

/// Returns the factors of a batch's branches for stochastic depth, `[pictures, 2 · depth]`; `None` where no branch is
/// ever dropped. They depend on the seed and the number of the update alone.
fn branch_factors(recipe: &Recipe, layout: &Layout, update: u64, pictures: usize) -> Option<Vec<f32>> {
    let rate = recipe.drop_path;
    if rate <= 0.0 {
        return None;
    }
    let mut random = Random::new(recipe.seed, 0, Purpose::Training, update);
    let factor = || if random.chance(rate) { 0.0 } else { 1.0 / (1.0 - rate) };
    Some(std::iter::repeat_with(factor).take(pictures * 2 * layout.shape.depth).collect())
}
