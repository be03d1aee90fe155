//! Runs the engine's tasks on threads that a C program lends.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use resmlp_runtime::ParallelFor;

/// Largest number of workers in a resmlp_parallel.
pub const RESMLP_WORKERS_MAX: usize = 64;

/// A function that does one part of the work. A program's `for_each` calls it with the `data` that it received and with
/// each `index` below the `count` that it received.
#[allow(non_camel_case_types)]
pub type resmlp_task = extern "C" fn(data: *mut c_void, index: usize);

/// Threads that a program lends to resmlp_run().
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct resmlp_parallel {
    /// Number of calls that can run at the same time: 1 to RESMLP_WORKERS_MAX.
    pub workers: usize,
    /// Calls `task(data, i)` once for each `i` below `count`, in any order and on any threads, and returns when all
    /// calls have returned. In C++, the function must not throw. If several threads call resmlp_run() at the same time,
    /// they may call this function at the same time.
    ///
    /// Calling a task twice does no harm. If a task is not called, resmlp_run() returns an error. If a task is still
    /// running when this function returns, the library cannot notice it, and the task writes to memory that is no
    /// longer lent.
    pub for_each: Option<extern "C" fn(context: *mut c_void, count: usize, task: resmlp_task, data: *mut c_void)>,
    /// Passed to `for_each` unchanged.
    pub context: *mut c_void,
}

// SAFETY: the library never dereferences `context`. It only passes it to the program's own `for_each`, whose
// documentation requires it to be callable from any thread.
unsafe impl Send for resmlp_parallel {}
// SAFETY: shared access to `context` also only passes it to the program's `for_each`, which may be called from several
// threads.
unsafe impl Sync for resmlp_parallel {}

/// The threads that a program lends during one forward pass.
pub struct Cores {
    lent: Option<resmlp_parallel>,
    failed: AtomicBool,
}

impl Cores {
    /// Wraps the lent threads. `None` stands for the calling thread alone.
    pub fn new(lent: Option<resmlp_parallel>) -> Self {
        Self { lent, failed: AtomicBool::new(false) }
    }

    /// Returns whether the program left out a task.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The state that all tasks of one call to `for_each` share.
struct Call<'t> {
    task: &'t (dyn Fn(usize) + Sync),
    count: usize,
    /// A bit for each index that was called.
    called: AtomicU64,
    ended: AtomicUsize,
}

/// The function that the program calls for each task. `data` points to a [`Call`].
extern "C" fn run(data: *mut c_void, index: usize) {
    // SAFETY: the program must pass on the pointer to `Call` that it got, and only until its `for_each` returns. The
    // `Call` lives on the stack of `Cores::for_each` for longer than that.
    let Some(call) = (unsafe { data.cast::<Call>().as_ref() }) else { return };
    let bit = 1u64.checked_shl(index as u32).filter(|_| index < call.count.min(RESMLP_WORKERS_MAX)).unwrap_or(0);
    if bit != 0 && call.called.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
        (call.task)(index);
        call.ended.fetch_add(1, Ordering::Release);
    }
}

// SAFETY: `run` ignores an index that is out of range or whose bit is set already, so it calls each index at most once.
// The documentation of `resmlp_parallel` requires the program's function to return only when all calls have returned.
unsafe impl ParallelFor for Cores {
    fn workers(&self) -> usize {
        self.lent.map_or(1, |lent| lent.workers.clamp(1, RESMLP_WORKERS_MAX))
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let lent = self.lent.and_then(|lent| Some((lent.for_each?, lent.context)));
        let Some((for_each, context)) = lent.filter(|_| count <= RESMLP_WORKERS_MAX) else {
            return (0..count).for_each(task);
        };
        let call = Call { task, count, called: AtomicU64::new(0), ended: AtomicUsize::new(0) };
        for_each(context, count, run, (&raw const call).cast_mut().cast());
        if call.ended.load(Ordering::Acquire) != count {
            self.failed.store(true, Ordering::Relaxed);
        }
    }
}
