//! Gives the batches of an epoch in order, which threads prepare ahead of their use.
//!
//! Each thread takes the next chunk of samples, prepares it and sends it. The receiver brings the chunks into order and
//! joins those of a batch. Threads run ahead by a bounded number of chunks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::Batch;
use super::chunk::{Chunk, Epoch, SAMPLES};
use super::plan::{Order, Plan};
use crate::augment::Varier;
use crate::augment::mix::write_target;
use crate::error::Result;
use crate::random::{Purpose, Random};

/// Number of batches that threads prepare ahead.
const BATCHES_AHEAD: usize = 2;

/// The batches of one epoch, in order. After an error there are no more.
#[derive(Debug)]
pub struct Batches {
    work: Arc<Work>,
    /// The next batch.
    next: usize,
    chunks: Chunks,
}

/// Source of the chunks.
#[derive(Debug)]
enum Chunks {
    /// The caller's thread prepares them.
    Here(Box<Varier>),
    /// Threads prepare them.
    Threads {
        receiver: Receiver<(usize, Result<Chunk>)>,
        arrived: BTreeMap<usize, Result<Chunk>>,
        threads: Vec<JoinHandle<()>>,
    },
}

/// State that the threads share.
#[derive(Debug)]
struct Work {
    plan: Arc<Plan>,
    epoch: Epoch,
    chunks_per_batch: usize,
    state: Mutex<State>,
    changed: Condvar,
}

/// The progress of the threads.
#[derive(Debug)]
struct State {
    /// The next chunk to prepare.
    next: usize,
    /// The chunk before which threads stop and wait.
    limit: usize,
    /// Tells the threads to end.
    is_closed: bool,
    /// Chunks whose memory can be used again.
    spare: Vec<Chunk>,
}

impl Batches {
    pub(super) fn new(plan: Arc<Plan>, epoch: u64, first: usize, threads: usize) -> Self {
        let indices = plan.indices(epoch);
        let chunks_per_batch = plan.batch.div_ceil(SAMPLES);
        let next = first * chunks_per_batch;
        let limit = next + (BATCHES_AHEAD * chunks_per_batch).max(2 * threads);
        let state = State { next, limit, is_closed: false, spare: Vec::new() };
        let work = Arc::new(Work {
            plan,
            epoch: Epoch { number: epoch, indices },
            chunks_per_batch,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let chunks = if threads == 0 { Chunks::Here(Box::default()) } else { Chunks::start(&work, threads) };
        Self { work, next: first, chunks }
    }

    /// Takes the chunks of the next batch and joins them.
    fn join(&mut self) -> Result<Batch> {
        let work = &self.work;
        let first = self.next * work.chunks_per_batch;
        let numbers = first..first + work.chunks_per_batch;
        let chunks = numbers.map(|number| self.chunks.take(work, number)).collect::<Result<Vec<Chunk>>>()?;
        let mut batch = concatenate(&chunks, &work.plan);
        let mut state = work.lock();
        state.limit += work.chunks_per_batch;
        state.spare.extend(chunks);
        drop(state);
        work.changed.notify_all();
        work.write_targets(self.next, &mut batch);
        Ok(batch)
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.work.plan.batches() {
            return None;
        }
        let batch = self.join();
        self.next = if batch.is_ok() { self.next + 1 } else { usize::MAX };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.work.plan.batches().saturating_sub(self.next);
        (0, Some(left))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.work.close();
        if let Chunks::Threads { threads, .. } = &mut self.chunks {
            // A thread that panicked has already been reported to whoever asked for its chunk.
            threads.drain(..).for_each(|thread| drop(thread.join()));
        }
    }
}

impl Chunks {
    fn start(work: &Arc<Work>, threads: usize) -> Self {
        let (sender, receiver) = channel();
        let thread = |_| {
            let (work, sender) = (work.clone(), sender.clone());
            std::thread::spawn(move || work.run(&sender))
        };
        let threads = (0..threads).map(thread).collect();
        Self::Threads { receiver, arrived: BTreeMap::new(), threads }
    }

    /// Returns the chunk of a number, and waits for it.
    ///
    /// # Panics
    /// Panics if a thread panicked.
    fn take(&mut self, work: &Work, number: usize) -> Result<Chunk> {
        match self {
            Self::Here(varier) => {
                let mut chunk = work.lock().spare.pop().unwrap_or_default();
                chunk.fill(&work.plan, &work.epoch, work.positions(number), varier)?;
                Ok(chunk)
            }
            Self::Threads { receiver, arrived, .. } => loop {
                if let Some(chunk) = arrived.remove(&number) {
                    return chunk;
                }
                let (other, chunk) = receiver.recv().expect("a thread that prepares pictures panicked");
                arrived.insert(other, chunk);
            },
        }
    }
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so the state is whole even if the lock is poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Prepares chunks until there are none left.
    fn run(&self, sender: &Sender<(usize, Result<Chunk>)>) {
        let _closing = CloseOnPanic(self);
        let mut varier = Varier::default();
        while let Some((number, mut chunk)) = self.next_chunk() {
            let outcome = chunk.fill(&self.plan, &self.epoch, self.positions(number), &mut varier);
            // Nobody receives the chunk any more if the batches were dropped.
            if sender.send((number, outcome.map(|()| chunk))).is_err() {
                return;
            }
        }
    }

    /// Waits until a chunk may be prepared, and returns its number and memory; `None` at the end.
    fn next_chunk(&self) -> Option<(usize, Chunk)> {
        let mut state = self.lock();
        loop {
            if state.is_closed || state.next >= self.plan.batches() * self.chunks_per_batch {
                return None;
            }
            if state.next < state.limit {
                state.next += 1;
                return Some((state.next - 1, state.spare.pop().unwrap_or_default()));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the positions of a chunk's samples in the epoch. In the last batch of an evaluation they may be none.
    fn positions(&self, number: usize) -> Range<usize> {
        let (batch, chunk) = (number / self.chunks_per_batch, number % self.chunks_per_batch);
        let end = ((batch + 1) * self.plan.batch).min(self.epoch.indices.len());
        let start = batch * self.plan.batch + chunk * SAMPLES;
        start.min(end)..(start + SAMPLES).min(end)
    }

    /// Writes the targets of a batch, and mixes its samples.
    fn write_targets(&self, number: usize, batch: &mut Batch) {
        let classes = self.plan.dataset.class_names().len();
        let augmentation = &self.plan.views[0];
        batch.targets = vec![0.0; batch.labels.len() * classes];
        for (target, &label) in batch.targets.chunks_exact_mut(classes).zip(&batch.labels) {
            write_target(target, label, augmentation.smoothing);
        }
        if let Order::Shuffled { seed } = self.plan.order {
            let mut random = Random::new(seed, self.epoch.number, Purpose::Mix, number as u64);
            let size = self.plan.input.image;
            augmentation.mix.apply(&mut random, &mut batch.images, size, &mut batch.targets, classes);
        }
    }
}

/// Ends all threads if one of them panics, so that nobody waits for its chunk.
struct CloseOnPanic<'w>(&'w Work);

impl Drop for CloseOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}

/// Joins chunks, whose order is `[samples, views, …]`, to a batch, whose order is `[views, batch, …]`.
fn concatenate(chunks: &[Chunk], plan: &Plan) -> Batch {
    let views = plan.views.len();
    let mut batch = Batch::default();
    let samples: usize = chunks.iter().map(|chunk| chunk.labels.len()).sum();
    batch.images.reserve_exact(samples * views * plan.image_len());
    for view in 0..views {
        for chunk in chunks {
            for sample in chunk.images.chunks_exact(views * plan.image_len()) {
                batch.images.extend_from_slice(&sample[view * plan.image_len()..(view + 1) * plan.image_len()]);
            }
            for sample in chunk.pixels.chunks_exact(views * plan.image_len()) {
                batch.pixels.extend_from_slice(&sample[view * plan.image_len()..(view + 1) * plan.image_len()]);
            }
        }
    }
    for chunk in chunks {
        batch.labels.extend_from_slice(&chunk.labels);
        batch.indices.extend_from_slice(&chunk.indices);
        batch.skipped.extend_from_slice(&chunk.skipped);
    }
    batch
}
