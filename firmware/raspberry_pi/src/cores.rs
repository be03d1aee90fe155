//! Runs the engine's tasks on all cores.
//!
//! Core 0 publishes a task and wakes the other cores by `sev`. The others wait by `wfe`, run their share of the
//! indices, and increment a counter when they are done. An event that arrives before the wait is not lost, because the
//! core keeps it in a flag that `wfe` reads.

use core::cell::UnsafeCell;
use core::fmt::{self, Write};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

use aarch64_cpu::asm;
use aarch64_cpu::asm::barrier::{ISHST, dsb};
use aarch64_cpu::registers::{CNTKCTL_EL1, Writeable};
use resmlp_raspberry_pi::BootInfo;
use resmlp_runtime::ParallelFor;

use crate::board::{Board, Start};
use crate::console::Console;
use crate::{mailbox, time};

/// Largest number of cores of any board.
const MOST: usize = 4;

/// A core that has not started after this time is not used.
const PATIENCE_MS: u64 = 200;

/// This bit is set in the number of started cores when core 0 stops waiting for more.
const TOO_LATE: usize = 1 << 16;

/// Memory that the cores share. Each counter has a cache line of its own.
struct Shared {
    /// Number of the current task; each new task increments it.
    task_number: Line<AtomicUsize>,
    /// Number of workers that have ended the current task.
    done: Line<AtomicUsize>,
    /// Number of cores that have started, without core 0.
    started: Line<AtomicUsize>,
    task: UnsafeCell<Task>,
}

#[repr(align(64))]
struct Line<T>(T);

/// A task. It is valid while [`ParallelFor::for_each`] runs.
#[derive(Clone, Copy)]
struct Task {
    function: *const (dyn Fn(usize) + Sync),
    count: usize,
    /// Number of cores that take part.
    workers: usize,
}

// SAFETY: the only field that is not atomic is `task`. Core 0 writes it while all workers wait for `task_number` to
// change; the workers read it after the change, which core 0 stores with release and they load with acquire ordering.
// Core 0 writes it again only after all of them have incremented `done`.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    task_number: Line(AtomicUsize::new(0)),
    done: Line(AtomicUsize::new(0)),
    started: Line(AtomicUsize::new(0)),
    task: UnsafeCell::new(Task { function: &|_| {}, count: 0, workers: 0 }),
};

/// The cores that have started, core 0 among them.
#[derive(Debug)]
pub struct Cores {
    workers: usize,
    /// Keeps this value on core 0 (it is not `Send`), because only core 0 may write the shared task.
    of_core_0: PhantomData<*const ()>,
}

impl Cores {
    /// Starts up to `wanted` cores, core 0 among them, and prints a line if some do not start. Core 0 calls this once.
    ///
    /// # Errors
    /// Returns an error if the console takes no text.
    pub fn start(board: &Board, info: &BootInfo, wanted: usize, console: &mut Console) -> Result<Self, fmt::Error> {
        wake_regularly();
        let wanted = wanted.clamp(1, MOST);
        for core in 1..wanted {
            match board.start {
                Start::SpinTable => {
                    let place = info.release.into_iter().nth(core).flatten().unwrap_or(0xd8 + 8 * core);
                    if !release(place) {
                        writeln!(console, "core {core}: its start address {place:#x} is unusable")?;
                    }
                }
                Start::Psci => call_firmware(core),
            }
        }
        let start = time::milliseconds();
        while SHARED.started.0.load(Ordering::Acquire) < wanted - 1
            && time::milliseconds().wrapping_sub(start) < PATIENCE_MS
        {
            asm::wfe();
        }
        let workers = 1 + SHARED.started.0.fetch_or(TOO_LATE, Ordering::AcqRel);
        if workers < wanted {
            writeln!(console, "only {workers} of {wanted} cores have started")?;
        }
        Ok(Self { workers, of_core_0: PhantomData })
    }

    /// Returns the number of cores.
    pub fn count(&self) -> usize {
        self.workers
    }
}

// SAFETY: core `c` calls the function with `c`, `c + workers`, and so on, so that each index is used exactly once.
// `for_each` returns only after all cores are done.
unsafe impl ParallelFor for Cores {
    fn workers(&self) -> usize {
        self.workers
    }

    fn for_each(&self, count: usize, function: &(dyn Fn(usize) + Sync)) {
        let others = self.workers - 1;
        if others == 0 || count < 2 {
            return (0..count).for_each(function);
        }
        SHARED.done.0.store(0, Ordering::Relaxed);
        // SAFETY: the workers wait for a new number, so no other core reads `task` now. The transmute only extends the
        // lifetime of the function; the loop below keeps the function alive until every worker is done with it.
        unsafe {
            let function = core::mem::transmute::<&(dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync)>(function);
            *SHARED.task.get() = Task { function, count, workers: self.workers };
        }
        SHARED.task_number.0.fetch_add(1, Ordering::Release);
        call_cores();
        share(0, self.workers, count).for_each(function);
        while SHARED.done.0.load(Ordering::Acquire) < others {
            asm::wfe();
        }
    }
}

/// The entry of the other cores, called by boot.s. They may start in any order, so each takes the next number as a
/// worker.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(_core: usize) -> ! {
    wake_regularly();
    let worker = 1 + SHARED.started.0.fetch_add(1, Ordering::AcqRel);
    call_cores();
    // Core 0 publishes no task before it has counted the workers. A core that starts later takes part in no task.
    if worker < TOO_LATE {
        work(worker);
    }
    loop {
        asm::wfe();
    }
}

/// Waits for tasks and takes part in each of them.
fn work(worker: usize) -> ! {
    let mut number = 0;
    loop {
        while SHARED.task_number.0.load(Ordering::Acquire) == number {
            asm::wfe();
        }
        number = number.wrapping_add(1);
        // SAFETY: core 0 wrote the task before it changed the number, and does not write it again before this core is
        // done.
        let task = unsafe { *SHARED.task.get() };
        // SAFETY: core 0 keeps the function alive until all cores are done.
        let function = unsafe { &*task.function };
        share(worker, task.workers, task.count).for_each(function);
        SHARED.done.0.fetch_add(1, Ordering::Release);
        call_cores();
    }
}

/// Returns the indices of one worker.
fn share(worker: usize, workers: usize, count: usize) -> impl Iterator<Item = usize> {
    (worker..count).step_by(workers.max(1))
}

/// Wakes all waiting cores, after all earlier stores have become visible to them.
fn call_cores() {
    dsb(ISHST);
    asm::sev();
}

/// Makes the counter wake this core several thousand times a second, so that no wait is endless.
fn wake_regularly() {
    // Bit 12 of the counter triggers the event stream.
    CNTKCTL_EL1.write(CNTKCTL_EL1::EVNTEN::SET + CNTKCTL_EL1::EVNTI.val(12));
}

/// Writes the address of the start code to `place`, where a core looks for it. Returns false if `place` cannot be
/// such a place.
fn release(place: usize) -> bool {
    unsafe extern "C" {
        static secondary_start: u8;
    }
    // All boot firmware has these places in the first page.
    if place == 0 || place >= 0x1000 || !place.is_multiple_of(8) {
        return false;
    }
    // SAFETY: `place` is aligned and lies in the first page, which the page tables map as writable memory. The boot
    // firmware reserves the word for this purpose, and nothing of this program lies in that page.
    unsafe {
        let entry = (&raw const secondary_start).addr() as u64;
        core::ptr::with_exposed_provenance_mut::<u64>(place).write_volatile(entry);
    }
    // The waiting core reads memory with its cache off.
    mailbox::clean(place);
    call_cores();
    true
}

/// Starts a core by PSCI's CPU_ON (Arm DEN 0022). UNTESTED, as is everything for the Raspberry Pi 5.
fn call_firmware(core: usize) {
    unsafe extern "C" {
        static secondary_start: u8;
    }
    const CPU_ON: u64 = 0xc400_0003;
    // SAFETY: the call follows the convention of Arm DEN 0022 and may change only the registers that are declared. It
    // starts a stopped core at `secondary_start`, which sets up a stack of its own before any Rust code runs.
    unsafe {
        core::arch::asm!(
            "smc #0",
            inout("x0") CPU_ON => _,
            in("x1") (core as u64) << 8,
            in("x2") (&raw const secondary_start).addr(),
            in("x3") 0u64,
            clobber_abi("C"),
            options(nostack),
        );
    }
}
