//! Worker threads that spin briefly, then park: a forward pass hands them some thirty short phases.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::vec::Vec;
use std::{boxed::Box, format, io};

use super::ParallelFor;

/// Polls before a waiting thread gives its core back.
const SPINS: usize = 20_000;

/// A fixed set of threads, the calling one among them. Nothing is allocated after [`Threads::new`].
pub struct Threads {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
    /// One `for_each` at a time: engines on several threads may share the workers.
    turn: Mutex<()>,
}

type Task = *const (dyn Fn(usize) + Sync + 'static);

struct Shared {
    /// Counts the phases; a change is the signal to start.
    phase: AtomicUsize,
    /// Helpers that have not ended the phase yet.
    pending: AtomicUsize,
    stop: AtomicBool,
    /// Written before `phase` changes, read after.
    job: UnsafeCell<Option<(Task, usize)>>,
    /// First panic of a helper in this phase.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only while no helper reads it: before `phase` is released and after `pending` was seen at zero.
unsafe impl Sync for Shared {}
// SAFETY: the task pointer is used only during `for_each`, whose caller keeps the task alive and whose task is `Sync`.
unsafe impl Send for Shared {}

impl Threads {
    /// `workers` threads in all, at least 1; one less is started.
    ///
    /// # Errors
    /// Where the system refuses to start a thread.
    pub fn new(workers: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            phase: AtomicUsize::new(0),
            pending: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let mut threads =
            Self { shared: shared.clone(), helpers: Vec::new(), handles: Vec::new(), turn: Mutex::new(()) };
        for index in 1..workers.max(1) {
            let shared = shared.clone();
            let helper =
                thread::Builder::new().name(format!("resmlp-{index}")).spawn(move || shared.help(index, workers))?;
            threads.handles.push(helper.thread().clone());
            threads.helpers.push(helper);
        }
        Ok(threads)
    }
}

impl Shared {
    fn help(&self, index: usize, workers: usize) {
        let mut seen = 0;
        loop {
            seen = self.wait_for_phase(seen);
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            // SAFETY: the phase was published after the job was written, and is not changed before `pending` is zero.
            if let Some((task, count)) = unsafe { *self.job.get() } {
                // SAFETY: `for_each` keeps the task alive until `pending` is zero.
                let task = unsafe { &*task };
                let run = || (index..count).step_by(workers).for_each(task);
                if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
                    self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
                }
            }
            self.pending.fetch_sub(1, Ordering::Release);
        }
    }

    fn wait_for_phase(&self, seen: usize) -> usize {
        let mut polls = 0;
        loop {
            let phase = self.phase.load(Ordering::Acquire);
            if phase != seen {
                return phase;
            }
            polls += 1;
            if polls < SPINS { core::hint::spin_loop() } else { thread::park() }
        }
    }

    fn wait_for_helpers(&self) {
        let mut polls = 0usize;
        while self.pending.load(Ordering::Acquire) != 0 {
            polls += 1;
            if polls < SPINS { core::hint::spin_loop() } else { thread::yield_now() }
        }
    }

    fn start_phase(&self, helpers: &[Thread]) {
        self.pending.store(helpers.len(), Ordering::Relaxed);
        self.phase.fetch_add(1, Ordering::Release);
        helpers.iter().for_each(Thread::unpark);
    }
}

// SAFETY: worker w runs the indices w, w + workers, …, so each runs once; the calling thread waits for all helpers, also
// where its own share panics.
unsafe impl ParallelFor for Threads {
    fn workers(&self) -> usize {
        self.handles.len() + 1
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.handles.is_empty() || count <= 1 {
            return (0..count).for_each(task);
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: only the lifetime is changed; this function does not return before every helper is done with the task.
        let lasting = unsafe { core::mem::transmute::<*const (dyn Fn(usize) + Sync), Task>(task) };
        // SAFETY: no phase is running (`turn` is held and every phase is waited for), so no helper reads the job.
        unsafe { *self.shared.job.get() = Some((lasting, count)) };
        self.shared.start_phase(&self.handles);
        let own = catch_unwind(AssertUnwindSafe(|| (0..count).step_by(self.workers()).for_each(task)));
        self.shared.wait_for_helpers();
        let helpers = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(payload) = own.err().or(helpers) {
            resume_unwind(payload);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.start_phase(&self.handles);
        for helper in self.helpers.drain(..) {
            // A helper catches its task's panics, so there is nothing to hear from it.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::vec::Vec;

    use super::{ParallelFor, Threads};

    #[test]
    fn every_index_runs_exactly_once() {
        for workers in [1, 2, 3, 8] {
            let threads = Threads::new(workers).unwrap();
            for count in [0, 1, 2, 7, 100] {
                let calls: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                threads.for_each(count, &|i| {
                    calls[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(calls.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{workers} workers, {count} calls");
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_live_on() {
        let threads = Threads::new(3).unwrap();
        for bad in 0..3 {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                threads.for_each(3, &|i| assert_ne!(i, bad, "on purpose"));
            }));
            assert!(result.is_err());
            let ran = AtomicUsize::new(0);
            threads.for_each(5, &|_| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 5);
        }
    }
}
