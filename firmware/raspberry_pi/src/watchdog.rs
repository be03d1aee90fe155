//! Resets the board after 15 seconds without a sign of life.

use crate::board::Board;
use crate::registers::Registers;

/// The power manager's watchdog, as in Linux's bcm2835_wdt driver.
#[derive(Clone, Copy, Debug)]
pub struct Watchdog(Registers);

const CONTROL: usize = 0x1c;
const TIMEOUT: usize = 0x24;

/// Every write carries it.
const PASSWORD: u32 = 0x5a00_0000;
/// Field of the control register: what happens at the end of the time.
const ACTION: u32 = 0x30;
const FULL_RESET: u32 = 0x20;
/// Units of 1/65536 s, of 20 bits.
const FIFTEEN_SECONDS: u32 = 15 << 16;

impl Watchdog {
    /// The board's, if it has one that we know; it does not run yet.
    pub fn of(board: &Board) -> Option<Self> {
        // SAFETY: the address of this board's power manager, of which we only use the watchdog.
        board.watchdog.map(|address| Self(unsafe { Registers::new(address) }))
    }

    /// Starts it. An emulator resets at once.
    pub fn start(&self) {
        self.feed();
        let others = self.0.read(CONTROL) & !ACTION & !PASSWORD_MASK;
        self.0.write(CONTROL, PASSWORD | others | FULL_RESET);
    }

    /// Gives it another 15 seconds.
    pub fn feed(&self) {
        self.0.write(TIMEOUT, PASSWORD | FIFTEEN_SECONDS);
    }
}

/// Where the password is in what is read.
const PASSWORD_MASK: u32 = 0xff00_0000;
