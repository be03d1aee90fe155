//! Counts the bytes that each thread allocates, and checks that a reader keeps to the limit in `SECURITY.md`, which is
//! a multiple of the input plus a constant.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that a reader may hold at once for each byte of its input.
pub const FACTOR: usize = 64;
/// Bytes that a reader may hold besides, for any input, such as tables of fixed size and messages.
pub const BASE: usize = 16 << 20;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    HELD.set(HELD.get() + change);
    PEAK.set(PEAK.get().max(HELD.get()));
}

// SAFETY: every call is passed to the system's allocator unchanged, and the counters are cells that never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `task` and returns its result and the largest number of bytes that it held at a time.
pub fn peak<T>(task: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let outcome = task();
    (outcome, (PEAK.get() - before) as usize)
}

/// Runs `read` and returns its result.
///
/// Panics if `read` holds more than [`FACTOR`] times `input` bytes plus `extra` and [`BASE`] at a time.
pub fn limited<T>(input: usize, extra: usize, read: impl FnOnce() -> T) -> T {
    let (outcome, peak) = peak(read);
    assert!(peak <= FACTOR * input + extra + BASE, "{peak} bytes held for an input of {input}");
    outcome
}
