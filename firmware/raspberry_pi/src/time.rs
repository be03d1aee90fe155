//! Measures time and cycles, and waits.

use aarch64_cpu::asm::barrier::{SY, isb};
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0, Readable};
use embedded_hal::delay::DelayNs;
use resmlp_raspberry_pi::Clock;

use crate::board::Board;
use crate::boards;
use crate::watchdog::Watchdog;

/// The system counter, this core's cycle counter, and the watchdog.
#[derive(Debug)]
pub struct Timer {
    frequency: u64,
    watchdog: Option<Watchdog>,
}

impl Timer {
    /// Creates a timer and starts this core's cycle counter. The timer feeds `watchdog`, if there is one.
    pub fn new(board: &Board, watchdog: Option<Watchdog>) -> Self {
        start_cycle_counter();
        Self { frequency: frequency(board), watchdog }
    }
}

impl Clock for Timer {
    fn ticks(&self) -> u64 {
        isb(SY);
        CNTPCT_EL0.get()
    }

    fn frequency(&self) -> u64 {
        self.frequency
    }

    fn cycles(&self) -> u64 {
        let cycles;
        // SAFETY: the instructions read a counter and change nothing else.
        unsafe { core::arch::asm!("isb", "mrs {}, pmccntr_el0", out(reg) cycles, options(nomem, nostack)) };
        cycles
    }

    fn alive(&self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.feed();
        }
    }
}

impl DelayNs for &Timer {
    fn delay_ns(&mut self, ns: u32) {
        let ticks = u64::from(ns).saturating_mul(self.frequency) / 1_000_000_000;
        let start = self.ticks();
        while self.ticks().wrapping_sub(start) < ticks {
            self.alive();
        }
    }
}

/// Returns milliseconds since an unspecified moment.
pub fn milliseconds() -> u64 {
    let frequency = boards::current().map_or(0, frequency);
    CNTPCT_EL0.get().saturating_mul(1000).checked_div(frequency).unwrap_or(0)
}

/// Returns the rate of the system counter in Hz, as the boot firmware states it, or else the board's rate.
fn frequency(board: &Board) -> u64 {
    match CNTFRQ_EL0.get() {
        0 => board.counter,
        frequency => frequency,
    }
}

/// Starts this core's cycle counter, with 64 bits, for EL1.
fn start_cycle_counter() {
    // SAFETY: the instructions configure the cycle counter and change nothing else.
    unsafe {
        core::arch::asm!(
            "msr pmccfiltr_el0, xzr",
            "msr pmcntenset_el0, {cycles}",
            "mrs {control}, pmcr_el0",
            "orr {control}, {control}, {on}",
            "msr pmcr_el0, {control}",
            "isb",
            cycles = in(reg) 1u64 << 31,
            on = in(reg) 0x45u64, // enable, reset cycles, long counter
            control = out(reg) _,
            options(nomem, nostack),
        );
    }
}
