//! Cores that a C program lends.

use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use resmlp_runtime::ParallelFor;

/// Most workers of a resmlp_parallel.
pub const RESMLP_WORKERS_MAX: usize = 64;

/// A part of the work; `index` is below the `count` that it was given with.
#[allow(non_camel_case_types)]
pub type resmlp_task = extern "C" fn(data: *mut c_void, index: usize);

/// Threads that a program lends for resmlp_run().
#[allow(non_camel_case_types)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct resmlp_parallel {
    /// Calls that can run at the same time: 1 to RESMLP_WORKERS_MAX.
    pub workers: usize,
    /// Calls `task(data, i)` once for each `i` below `count`, in any order and on any threads, and returns when all calls
    /// have returned. C++: it may not throw. It may be called from several threads at once, if resmlp_run() is.
    ///
    /// That a task is called twice does no harm; that one is not called is an error of resmlp_run(). That one is still
    /// running when the function returns cannot be noticed, and writes to memory that is no longer lent.
    pub for_each: Option<extern "C" fn(context: *mut c_void, count: usize, task: resmlp_task, data: *mut c_void)>,
    /// Handed to `for_each` as it is.
    pub context: *mut c_void,
}

// SAFETY: the context is the program's, which says with it that threads may use it.
unsafe impl Send for resmlp_parallel {}
// SAFETY: as above.
unsafe impl Sync for resmlp_parallel {}

/// A program's cores during one forward pass.
pub struct Cores {
    lent: Option<resmlp_parallel>,
    failed: AtomicBool,
}

impl Cores {
    /// `None` is the calling thread alone.
    pub fn new(lent: Option<resmlp_parallel>) -> Self {
        Self { lent, failed: AtomicBool::new(false) }
    }

    /// Whether tasks were not called.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What the tasks of one call share.
struct Call<'t> {
    task: &'t (dyn Fn(usize) + Sync),
    count: usize,
    /// A bit for each index that was called.
    called: AtomicU64,
    ended: AtomicUsize,
}

/// The function that the program calls.
extern "C" fn run(data: *mut c_void, index: usize) {
    // SAFETY: the program hands on what `for_each` gave it, before `for_each` returns.
    let Some(call) = (unsafe { data.cast::<Call>().as_ref() }) else { return };
    let bit = 1u64.checked_shl(index as u32).filter(|_| index < call.count.min(RESMLP_WORKERS_MAX)).unwrap_or(0);
    if bit != 0 && call.called.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
        (call.task)(index);
        call.ended.fetch_add(1, Ordering::Release);
    }
}

// SAFETY: `run` calls each index at most once; that all have ended when `for_each` returns is what the program promises.
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
