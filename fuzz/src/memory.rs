//! Counts the memory that a reader holds, and fails if it holds more than its bound.
//!
//! This file is the allocator of every test that measures memory, and is included by each of them with `#[path]`. A
//! bound is a few bytes for each byte of input and a small base: with a large base, a reader that multiplies a small
//! input would pass.
#![allow(dead_code, reason = "each program that includes this file uses a part of it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Counting;

thread_local! {
    /// Number of bytes that this thread has allocated and not freed, and its largest value so far.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Number of bytes that all threads together have allocated and not freed, and its largest value so far.
static ALL_HELD: AtomicIsize = AtomicIsize::new(0);
static ALL_PEAK: AtomicIsize = AtomicIsize::new(0);

/// Number of allocations of all threads together, and the bytes of all of them, freed or not.
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    PEAK.set(PEAK.get().max(HELD.get()));
    let held = ALL_HELD.fetch_add(change, Relaxed) + change;
    ALL_PEAK.fetch_max(held, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged, and counting allocates nothing: the counters are plain
// cells of the thread, which need no destructor, and atomic numbers.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        ALLOCATIONS.fetch_add(1, Relaxed);
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller keeps GlobalAlloc's contract, which is also the contract of the system's allocator.
        let memory = unsafe { System.alloc(layout) };
        if memory.is_null() {
            count(-(layout.size() as isize));
        }
        memory
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps GlobalAlloc's contract, which is also the contract of the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `task` and returns its result, with the largest number of bytes that this thread held at a time.
pub fn peak<T>(task: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let outcome = task();
    (outcome, (PEAK.get() - before) as usize)
}

/// Runs `task` and returns with its result the most bytes that all threads held at a time, those that `task` starts
/// included.
///
/// Memory that other tests take at the same time is counted too, so a test calls [`alone`] first.
pub fn peak_of_all_threads<T>(task: impl FnOnce() -> T) -> (T, usize) {
    let before = ALL_HELD.load(Relaxed);
    ALL_PEAK.store(before, Relaxed);
    let outcome = task();
    (outcome, usize::try_from(ALL_PEAK.load(Relaxed) - before).unwrap_or(0))
}

/// What a task took of all threads together.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The most bytes held at a time.
    pub peak: usize,
    /// Number of allocations. Like the next number it stands for time, and is the same in every run.
    pub allocations: usize,
    /// Bytes of all allocations, also of those that were freed meanwhile.
    pub allocated: usize,
}

/// Runs `task` and returns its result and what it cost. A test calls [`alone`] first.
pub fn cost<T>(task: impl FnOnce() -> T) -> (T, Cost) {
    let before = [&ALLOCATIONS, &ALLOCATED].map(|counter| counter.load(Relaxed));
    let (outcome, peak) = peak_of_all_threads(task);
    let after = [&ALLOCATIONS, &ALLOCATED].map(|counter| counter.load(Relaxed));
    (outcome, Cost { peak, allocations: after[0] - before[0], allocated: after[1] - before[1] })
}

/// Runs `task` and returns how many more bytes all threads hold after it than before.
pub fn left_by(task: impl FnOnce()) -> isize {
    let before = ALL_HELD.load(Relaxed);
    task();
    ALL_HELD.load(Relaxed) - before
}

/// Waits until no other test of this program measures the memory of all threads.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The limit of the memory that a reader may hold at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Bytes for each byte of input.
    pub per_byte: usize,
    /// Bytes for every input.
    pub base: usize,
}

impl Bound {
    /// Returns the most bytes that a reader may hold for `input` bytes.
    pub const fn of(self, input: usize) -> usize {
        self.base + self.per_byte * input
    }

    /// Runs `read`, and panics if its threads held more than the bound for `input` bytes, or `extra` beside it.
    pub fn hold<T>(self, input: usize, read: impl FnOnce() -> T, extra: impl FnOnce(&T) -> usize) -> T {
        let (outcome, peak) = peak_of_all_threads(read);
        let allowed = self.of(input) + extra(&outcome);
        assert!(peak <= allowed, "{peak} bytes held for an input of {input}, expected at most {allowed} ({self:?})");
        outcome
    }
}
