//! Counts what each thread allocates, and holds readers to a small multiple of their input: what `SECURITY.md`
//! promises.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that a reader may hold at once for each byte of its input.
pub const FACTOR: usize = 64;
/// Bytes that it may hold besides, whatever the input: tables of fixed size, messages, and the directory of a zip
/// archive, of which 65,535 entries may be promised in a few bytes.
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

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain cells of the thread.
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

/// Runs `task` and returns with its result the most bytes that it held at a time.
pub fn peak<T>(task: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let outcome = task();
    (outcome, (PEAK.get() - before) as usize)
}

/// Runs `read`, which may hold [`FACTOR`] times `input` bytes, and `extra`, and [`BASE`].
pub fn limited<T>(input: usize, extra: usize, read: impl FnOnce() -> T) -> T {
    let (outcome, peak) = peak(read);
    assert!(peak <= FACTOR * input + extra + BASE, "{peak} bytes held for an input of {input}");
    outcome
}
