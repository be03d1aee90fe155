//! Worker threads that spin briefly and then park, because a forward pass gives them dozens of short phases in quick
//! succession.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::vec::Vec;
use std::{boxed::Box, format, io};

use super::ParallelFor;

/// Number of bits in a word of [`Shared::unclaimed`].
const BITS: usize = u64::BITS as usize;

/// Number of times that a waiting thread polls before it gives up its core.
const SPINS: usize = 20_000;

/// A fixed set of threads that includes the calling one. Nothing is allocated after [`Threads::new`].
///
/// Each thread begins with the task of its own number, so that it finds the data of its previous phase in its core's
/// caches. Then it claims tasks that nobody has begun. If the machine is busy and a thread does not get its core back
/// in time, the other threads therefore do its share instead of waiting for it.
///
/// A task must not call `for_each` on the same `Threads` that it runs on: it would wait for ever.
pub struct Threads {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    handles: Vec<Thread>,
    /// Lets one `for_each` run at a time, because engines on several threads may share the workers.
    turn: Mutex<()>,
}

type Task = *const (dyn Fn(usize) + Sync + 'static);

struct Shared {
    /// A set bit stands for tasks that nobody has claimed. There are at least as many bits as threads: with `n` bits,
    /// bit `b` stands for the tasks `b`, `b + n`, `b + 2 * n`…
    unclaimed: Box<[AtomicU64]>,
    /// Number of bits of the phase whose tasks have not all ended.
    unfinished: AtomicUsize,
    stop: AtomicBool,
    /// The phase's task and the number of calls. It is written only while no task is unfinished, and read only by a
    /// thread that has claimed a bit of the phase.
    phase: UnsafeCell<Option<(Task, usize)>>,
    /// The payload of the phase's first panic.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: all fields but `phase` are `Sync` themselves. `phase` is written only while `unfinished` is zero, and read
// only by a thread that has claimed a bit and not yet counted it as finished, so a write never meets a read.
unsafe impl Sync for Shared {}
// SAFETY: the task pointer in `phase` is used only during `for_each`, which borrows the task until it returns, and the
// task is `Sync`, so other threads may call it.
unsafe impl Send for Shared {}

impl Threads {
    /// Makes a set of `workers` threads, at least 1. The calling thread is one of them, so `workers - 1` are started.
    ///
    /// # Errors
    /// Returns the system's error if it refuses to start a thread.
    pub fn new(workers: usize) -> io::Result<Self> {
        let helpers = workers.max(1) - 1;
        let shared = Arc::new(Shared {
            unclaimed: (0..=helpers / BITS).map(|_| AtomicU64::new(0)).collect(),
            // Each helper counts itself down once it runs, and `new` waits for all of them. Whatever the system
            // allocates for a thread is thus allocated before `new` returns.
            unfinished: AtomicUsize::new(helpers),
            stop: AtomicBool::new(false),
            phase: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let mut threads =
            Self { shared: shared.clone(), helpers: Vec::new(), handles: Vec::new(), turn: Mutex::new(()) };
        for index in 1..=helpers {
            let shared = shared.clone();
            let helper = thread::Builder::new().name(format!("resmlp-{index}")).spawn(move || shared.help(index))?;
            threads.handles.push(helper.thread().clone());
            threads.helpers.push(helper);
        }
        shared.wait_until_finished();
        Ok(threads)
    }
}

impl Shared {
    fn help(&self, own: usize) {
        self.unfinished.fetch_sub(1, Ordering::Release);
        let mut polls = 0;
        while !self.stop.load(Ordering::Acquire) {
            if self.run_claimed(own) {
                polls = 0;
                continue;
            }
            polls += 1;
            if polls < SPINS { core::hint::spin_loop() } else { thread::park() }
        }
    }

    /// Returns the total number of bits in `unclaimed`.
    fn bits(&self) -> usize {
        self.unclaimed.len() * BITS
    }

    /// Claims a bit: thread `own`'s if it is free, otherwise any free one.
    fn claim(&self, own: usize) -> Option<usize> {
        let pick = |unclaimed: u64| {
            let own = 1 << (own % BITS);
            if unclaimed & own != 0 { own } else { unclaimed & unclaimed.wrapping_neg() }
        };
        let words = self.unclaimed.len();
        (own / BITS..own / BITS + words).map(|word| word % words).find_map(|word| {
            let claim = |unclaimed| (unclaimed != 0).then(|| unclaimed & !pick(unclaimed));
            let bits = self.unclaimed.get(word)?;
            let unclaimed = bits.fetch_update(Ordering::Acquire, Ordering::Relaxed, claim).ok()?;
            Some(word * BITS + pick(unclaimed).trailing_zeros() as usize)
        })
    }

    /// Claims one bit and runs its tasks. Returns `false` if no bit was left to claim.
    fn run_claimed(&self, own: usize) -> bool {
        let Some(first) = self.claim(own) else { return false };
        // SAFETY: the bit just claimed keeps `unfinished` above zero until the end of this function. Until then nobody
        // writes `phase`, and `for_each` does not return, so the task that `phase` points to is alive.
        if let Some((task, count)) = unsafe { (*self.phase.get()).map(|(task, count)| (&*task, count)) } {
            for index in (first..count).step_by(self.bits()) {
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| task(index))) {
                    self.keep(payload);
                }
            }
        }
        self.unfinished.fetch_sub(1, Ordering::Release);
        true
    }

    /// Keeps the payload of the phase's first panic. Later payloads are forgotten instead of dropped, because dropping
    /// one could panic again, outside `catch_unwind`.
    fn keep(&self, payload: Box<dyn Any + Send>) {
        let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_none() { *first = Some(payload) } else { core::mem::forget(payload) }
    }

    fn wait_until_finished(&self) {
        let mut polls = 0usize;
        while self.unfinished.load(Ordering::Acquire) != 0 {
            polls += 1;
            if polls < SPINS { core::hint::spin_loop() } else { thread::yield_now() }
        }
    }
}

// SAFETY: `for_each` sets each bit of a phase once, only the thread that clears a bit runs its tasks, and no two bits
// stand for the same index, so each index is called once. `for_each` waits until `unfinished` is zero. `run_claimed`
// catches every panic of a task, so nothing unwinds past that wait.
unsafe impl ParallelFor for Threads {
    fn workers(&self) -> usize {
        self.handles.len() + 1
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.handles.is_empty() || count <= 1 {
            return (0..count).for_each(task);
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: the two types differ only in the lifetime of the trait object. The longer lifetime is never relied
        // on, because this function does not return before every task has ended.
        let lasting = unsafe { core::mem::transmute::<*const (dyn Fn(usize) + Sync), Task>(task) };
        // SAFETY: this thread holds `turn`, and whoever held it before waited until `unfinished` was zero. No bit is
        // claimed, so nobody reads `phase`.
        unsafe { *shared.phase.get() = Some((lasting, count)) };
        let bits = count.min(shared.bits());
        shared.unfinished.store(bits, Ordering::Relaxed);
        for (word, first) in shared.unclaimed.iter().zip((0..bits).step_by(BITS)) {
            word.store(u64::MAX >> (BITS - (bits - first).min(BITS)), Ordering::Release);
        }
        self.handles.iter().take(count - 1).for_each(Thread::unpark);
        while shared.run_claimed(0) {}
        shared.wait_until_finished();
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.handles.iter().for_each(Thread::unpark);
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its tasks, so `join` never returns an error that matters.
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
        for workers in [1, 2, 3, 8, 70] {
            let threads = Threads::new(workers).unwrap();
            for count in [0, 1, 2, 7, 64, 65, 70, 100, 300] {
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
        for (bad, count) in [(0, 3), (1, 3), (2, 3), (5, 200)] {
            let ended = AtomicUsize::new(0);
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                threads.for_each(count, &|i| {
                    assert_ne!(i, bad, "on purpose");
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }));
            assert!(result.is_err());
            assert_eq!(ended.into_inner(), count - 1);
            let ran = AtomicUsize::new(0);
            threads.for_each(5, &|_| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 5);
        }
    }

    #[test]
    fn every_thread_can_have_a_task_at_the_same_time() {
        for workers in [2, 64, 65, 70] {
            let started = std::sync::Barrier::new(workers);
            // The barrier would wait for ever if one thread had two of the tasks.
            Threads::new(workers).unwrap().for_each(workers, &|_| {
                started.wait();
            });
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_does_not_end_the_phase_early() {
        struct Evil;
        impl Drop for Evil {
            fn drop(&mut self) {
                if !std::thread::panicking() {
                    panic!("on purpose, again");
                }
            }
        }
        let threads = Threads::new(2).unwrap();
        let ended = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            threads.for_each(8, &|i| {
                ended.fetch_add(1, Ordering::Relaxed);
                if i != 1 {
                    std::panic::panic_any(Evil);
                }
            });
        }));
        assert_eq!(ended.into_inner(), 8);
        core::mem::forget(result.unwrap_err());
        let ran = AtomicUsize::new(0);
        threads.for_each(2, &|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 2);
    }
}
