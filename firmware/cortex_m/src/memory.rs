//! How much of flash and RAM is in use.

use core::ptr::{addr_of, addr_of_mut};

use cortex_m::register::msp;

unsafe extern "C" {
    // From cortex-m-rt's linker script, and from memory-used.x. Only their addresses mean something.
    static __flash_start: u8;
    static __flash_size: u8;
    static __flash_end: u8;
    static __ram_start: u8;
    static __ram_size: u8;
    static mut _stack_end: u32;
    static _stack_start: u8;
}

/// What unused stack is filled with.
const PAINT: u32 = 0xa5a5_a5a5;
/// Bytes below the stack pointer that are left alone: what [`paint`] itself may use.
const MARGIN: usize = 256;

/// Bytes.
pub struct Use {
    pub flash: usize,
    pub flash_size: usize,
    /// Of statics.
    pub fixed: usize,
    /// The most that the stack has ever been.
    pub stack: usize,
    pub ram_size: usize,
}

/// Fills the unused stack, so that [`used`] sees how deep it once was. To be called first.
pub fn paint() {
    let mut word = addr_of_mut!(_stack_end);
    let end = msp::read() as usize - MARGIN;
    while word.addr() < end {
        // SAFETY: between the statics' end and the stack pointer lies nothing, and the margin keeps this function's frame out.
        unsafe {
            word.write_volatile(PAINT);
            word = word.add(1);
        }
    }
}

/// What is in use, since [`paint`].
pub fn used() -> Use {
    let top = addr_of!(_stack_start).addr();
    let mut word = addr_of!(_stack_end);
    // SAFETY: reads RAM from the statics' end to the stack's start.
    while word.addr() < top && unsafe { word.read_volatile() } == PAINT {
        // SAFETY: at most the stack's start.
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
