//! The watchdog, which resets the board after 15 seconds without a sign of life.

use crate::board::Board;
use crate::registers::Registers;

/// The watchdog of the power manager. Its registers are those that Linux's bcm2835_wdt driver uses.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog(Registers);

const CONTROL: usize = 0x1c;
const TIMEOUT: usize = 0x24;

/// Every write to a register must carry this password.
const PASSWORD: u32 = 0x5a00_0000;
/// Field of the control register that states what happens when the time is over.
const ACTION: u32 = 0x30;
const FULL_RESET: u32 = 0x20;
/// The time has 20 bits and units of 1/65536 s.
const FIFTEEN_SECONDS: u32 = 15 << 16;

impl Watchdog {
    /// Returns the watchdog of a board whose address is known. It does not run yet.
    pub fn of(board: &Board) -> Option<Self> {
        // SAFETY: the address is that of this board's power manager, which the page tables map as a device. The two
        // registers that this module uses cannot touch memory.
        board.watchdog.map(|address| Self(unsafe { Registers::new(address) }))
    }

    /// Starts the watchdog. QEMU's resets the machine at once.
    pub fn start(&self) {
        self.feed();
        let others = self.0.read(CONTROL) & !ACTION & !PASSWORD_MASK;
        self.0.write(CONTROL, PASSWORD | others | FULL_RESET);
    }

    /// Restarts the 15 seconds.
    pub fn feed(&self) {
        self.0.write(TIMEOUT, PASSWORD | FIFTEEN_SECONDS);
    }
}

/// Bits of the password in a value that was read.
const PASSWORD_MASK: u32 = 0xff00_0000;
