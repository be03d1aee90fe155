//! Requests to the boot firmware, which goes on running on the other processor.

use core::cell::UnsafeCell;

use aarch64_cpu::asm::barrier::{SY, dsb};

use crate::board::Board;
use crate::registers::Registers;
use crate::time;

/// Where requests go in and replies come out.
#[derive(Clone, Copy, Debug)]
pub struct Mailbox(Registers);

const READ: usize = 0x00;
const STATUS: usize = 0x18;
const WRITE: usize = 0x20;
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;

/// The channel for property requests.
const CHANNEL: u32 = 8;

/// Sets a pin; those of the expander are numbered from 128.
const SET_PIN: u32 = 0x0003_8041;
const EXPANDER: u32 = 128;

/// The longest that the boot firmware may take.
const PATIENCE_MS: u64 = 10;

/// A request where the other processor can read it.
#[repr(C, align(64))]
struct Request(UnsafeCell<[u32; 16]>);

// SAFETY: used by core 0 alone, and by the other processor while core 0 waits for it.
unsafe impl Sync for Request {}

static REQUEST: Request = Request(UnsafeCell::new([0; 16]));

impl Mailbox {
    /// The board's, if it has one that we know.
    pub fn of(board: &Board) -> Option<Self> {
        // SAFETY: the address of this board's mailbox. The one request that we make does not touch memory beside itself.
        board.mailbox.map(|address| Self(unsafe { Registers::new(address) }))
    }

    /// Sets a pin of the GPIO expander. Where the boot firmware does not answer, nothing happens.
    pub fn set_expander_pin(self, pin: u32, high: bool) {
        // Length, request; tag, room for its values, values in it, pin, level; no more tags.
        let request = [8 * 4, 0, SET_PIN, 8, 8, EXPANDER + pin, u32::from(high), 0];
        let start = REQUEST.0.get().cast::<u32>();
        for (index, word) in request.into_iter().enumerate() {
            // SAFETY: within the 16 words, which nobody else uses now.
            unsafe { start.add(index).write_volatile(word) };
        }
        clean(start.addr());
        if self.wait(FULL) {
            // The other processor sees our memory uncached from this address on.
            self.0.write(WRITE, start.expose_provenance() as u32 | 0xc000_0000 | CHANNEL);
            if self.wait(EMPTY) {
                self.0.read(READ);
            }
        }
    }

    /// Waits until `flag` is clear; false if that takes too long.
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

/// Writes the cache line at `address` to memory, for whoever reads past our caches.
pub fn clean(address: usize) {
    // SAFETY: no more than a write that was to happen anyway; of memory that exists, as the callers have just written it.
    unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
    dsb(SY);
}
