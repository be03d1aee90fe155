//! Measures how much of flash and RAM is in use.

use core::ptr::{addr_of, addr_of_mut};

use cortex_m::register::msp;

unsafe extern "C" {
    // The linker scripts of cortex-m-rt and memory-used.x define these symbols. Only their addresses have a meaning.
    static __flash_start: u8;
    static __flash_size: u8;
    static __flash_end: u8;
    static __ram_start: u8;
    static __ram_size: u8;
    static mut _stack_end: u32;
    static _stack_start: u8;
}

/// The word that fills unused stack.
const PAINT: u32 = 0xa5a5_a5a5;
/// Bytes below the stack pointer that are not painted, because [`paint`] itself may use them.
const MARGIN: usize = 256;

/// Amounts of memory, in bytes.
pub struct Use {
    pub flash: usize,
    pub flash_size: usize,
    /// RAM of statics.
    pub fixed: usize,
    /// Largest size of the stack so far.
    pub stack: usize,
    pub ram_size: usize,
}

/// Fills the unused stack, so that [`used`] can see how deep it once was. The program calls it first.
pub fn paint() {
    let mut word = addr_of_mut!(_stack_end);
    let end = msp::read() as usize - MARGIN;
    while word.addr() < end {
        // SAFETY: nothing is in use between the end of the statics and the stack pointer, and the margin leaves out the
        // frame of this function.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}

/// Returns what is in use, with the largest stack since [`paint`].
pub fn used() -> Use {
    let top = addr_of!(_stack_start).addr();
    let mut word = addr_of!(_stack_end);
    // SAFETY: `word` is between the end of the statics and the start of the stack, which is RAM, and is a multiple of
    // 4.
    while word.addr() < top && unsafe { word.read_volatile() } == PAINT {
        // SAFETY: `word` was below the start of the stack, so the next word is at most there.
        word = unsafe { word.add(1) };
    }
    Use {
        flash: addr_of!(__flash_end).addr() - addr_of!(__flash_start).addr(),
        flash_size: addr_of!(__flash_size).addr(),
        fixed: addr_of!(_stack_end).addr() - addr_of!(__ram_start).addr(),
        stack: top - word.addr(),
        ram_size: addr_of!(__ram_size).addr(),
    }
}
