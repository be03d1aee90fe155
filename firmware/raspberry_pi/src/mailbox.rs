//! Sends requests to the boot firmware, which keeps running on the graphics processor.

use core::cell::UnsafeCell;

use aarch64_cpu::asm::barrier::{SY, dsb};

use crate::board::Board;
use crate::registers::Registers;
use crate::time;

/// The mailbox, which takes requests and holds replies.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox(Registers);

const READ: usize = 0x00;
const STATUS: usize = 0x18;
const WRITE: usize = 0x20;
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;

/// The channel for property requests.
const CHANNEL: u32 = 8;

/// The request that sets a pin. The pins of the expander are numbered from 128.
const SET_PIN: u32 = 0x0003_8041;
const EXPANDER: u32 = 128;

/// Longest time that the boot firmware may take.
const PATIENCE_MS: u64 = 10;

/// A request, in memory that the graphics processor can read.
#[repr(C, align(64))]
struct Request(UnsafeCell<[u32; 16]>);

// SAFETY: only core 0 uses the request, and the graphics processor reads it while core 0 waits.
unsafe impl Sync for Request {}

static REQUEST: Request = Request(UnsafeCell::new([0; 16]));

impl Mailbox {
    /// Returns the mailbox of a board whose address is known.
    pub fn of(board: &Board) -> Option<Self> {
        // SAFETY: the address is that of this board's mailbox, which the page tables map as a device. The only request
        // that this module sends makes the firmware write to the request itself and to no other memory.
        board.mailbox.map(|address| Self(unsafe { Registers::new(address) }))
    }

    /// Sets a pin of the GPIO expander. Nothing happens if the boot firmware does not answer.
    pub fn set_expander_pin(self, pin: u32, high: bool) {
        // Length and code of the request; then the tag, the room for its values, the length of its values, pin and
        // level; and the end of the tags.
        let request = [8 * 4, 0, SET_PIN, 8, 8, EXPANDER + pin, u32::from(high), 0];
        let start = REQUEST.0.get().cast::<u32>();
        for (index, word) in request.into_iter().enumerate() {
            // SAFETY: the request has 8 words and the buffer 16. Only core 0 uses the buffer, and the firmware has
            // answered the previous request or exceeded its time limit.
            unsafe { start.add(index).write_volatile(word) };
        }
        clean(start.addr());
        if self.wait(FULL) {
            // The graphics processor sees the memory, past its cache, from this address on.
            self.0.write(WRITE, start.expose_provenance() as u32 | 0xc000_0000 | CHANNEL);
            if self.wait(EMPTY) {
                self.0.read(READ);
            }
        }
    }

    /// Waits until `flag` is clear, and returns false if that takes too long.
    fn wait(self, flag: u32) -> bool {
        let start = time::milliseconds();
        while self.0.read(STATUS) & flag != 0 {
            if time::milliseconds().wrapping_sub(start) > PATIENCE_MS {
                return false;
            }
        }
        true
    }
}

/// Writes the cache line at `address` to memory, for readers that do not see this core's caches.
pub fn clean(address: usize) {
    // SAFETY: the instruction writes a cache line to memory and drops it from the cache, which changes no value that
    // this program sees. The address is mapped, because the callers have just written to it.
    unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
    dsb(SY);
}
