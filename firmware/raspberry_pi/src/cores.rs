//! The other cores, as the engine's workers.
//!
//! Core 0 publishes a task and calls the others by `sev`; they wait by `wfe`, run their share of the indices, and count themselves
//! done. An event that comes before the wait is not lost: the core keeps it in a flag that `wfe` reads.

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

/// Most cores of any board.
const MOST: usize = 4;

/// How long a core may take to start.
const PATIENCE_MS: u64 = 200;

/// Added to the number of started cores when no more are waited for.
const TOO_LATE: usize = 1 << 16;

/// What the cores share. Counters are apart, each on a cache line of its own.
struct Shared {
    /// Raised by one for each task.
    task_number: Line<AtomicUsize>,
    /// Workers that have ended the current task.
    done: Line<AtomicUsize>,
    /// Cores that have started, core 0 not counted.
    started: Line<AtomicUsize>,
    task: UnsafeCell<Task>,
}

#[repr(align(64))]
struct Line<T>(T);

/// A task, as long as [`ParallelFor::for_each`] runs.
#[derive(Clone, Copy)]
struct Task {
    function: *const (dyn Fn(usize) + Sync),
    count: usize,
    /// Cores that take part.
    workers: usize,
}

// SAFETY: `task` is written by core 0 while the others wait for its number to change, and read after it has.
unsafe impl Sync for Shared {}

static SHARED: Shared = Shared {
    task_number: Line(AtomicUsize::new(0)),
    done: Line(AtomicUsize::new(0)),
    started: Line(AtomicUsize::new(0)),
    task: UnsafeCell::new(Task { function: &|_| {}, count: 0, workers: 0 }),
};

/// Core 0 and the others that have started.
#[derive(Debug)]
pub struct Cores {
    workers: usize,
    /// The task that they share is core 0's to write.
    of_core_0: PhantomData<*const ()>,
}

impl Cores {
    /// Starts up to `wanted` cores, core 0 among them; says so if some do not start. Called once, by core 0.
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

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers
    }
}

// SAFETY: core `c` calls the task with `c`, `c + workers`, …, so each index is used once; `for_each` waits for all cores.
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
        // SAFETY: the others wait for a new number, so only this core uses `task`. The function outlives its use: we wait below.
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

/// Where the other cores come to from boot.s. In which order they start is open, so each takes the next number as a worker.
#[unsafe(no_mangle)]
extern "C" fn secondary_main(_core: usize) -> ! {
    wake_regularly();
    let worker = 1 + SHARED.started.0.fetch_add(1, Ordering::AcqRel);
    call_cores();
    // Core 0 makes tasks only when it has counted those who have started; who comes later is in none of them.
    if worker < TOO_LATE {
        work(worker);
    }
    loop {
        asm::wfe();
    }
}

/// Takes part in every task.
fn work(worker: usize) -> ! {
    let mut number = 0;
    loop {
        while SHARED.task_number.0.load(Ordering::Acquire) == number {
            asm::wfe();
        }
        number = number.wrapping_add(1);
        // SAFETY: published before the number changed, and not written again before this core is done.
        let task = unsafe { *SHARED.task.get() };
        // SAFETY: core 0 keeps the function alive until all cores are done.
        let function = unsafe { &*task.function };
        share(worker, task.workers, task.count).for_each(function);
        SHARED.done.0.fetch_add(1, Ordering::Release);
        call_cores();
    }
}

/// The indices of one worker.
fn share(worker: usize, workers: usize, count: usize) -> impl Iterator<Item = usize> {
    (worker..count).step_by(workers.max(1))
}

/// Wakes all waiting cores once everything stored so far can be seen.
fn call_cores() {
    dsb(ISHST);
    asm::sev();
}

/// Wakes this core some thousand times a second, so that no wait is endless.
fn wake_regularly() {
    // Event stream on, from bit 12 of the counter.
    CNTKCTL_EL1.write(CNTKCTL_EL1::EVNTEN::SET + CNTKCTL_EL1::EVNTI.val(12));
}

/// Writes the address of our start code to where a core looks for it; false where that can be no such place.
fn release(place: usize) -> bool {
    unsafe extern "C" {
        static secondary_start: u8;
    }
    // Boot firmware has it in the first page.
    if place == 0 || place >= 0x1000 || !place.is_multiple_of(8) {
        return false;
    }
    // SAFETY: memory of the boot firmware for this very purpose.
    unsafe {
        let entry = (&raw const secondary_start).addr() as u64;
        core::ptr::with_exposed_provenance_mut::<u64>(place).write_volatile(entry);
    }
    // The core looks with its cache off.
    mailbox::clean(place);
    call_cores();
    true
}

/// PSCI's CPU_ON (Arm DEN 0022). UNTESTED, as all of the Raspberry Pi 5.
fn call_firmware(core: usize) {
    unsafe extern "C" {
        static secondary_start: u8;
    }
    const CPU_ON: u64 = 0xc400_0003;
    // SAFETY: the boot firmware starts a core that sleeps, at code that expects it.
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
