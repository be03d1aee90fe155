//! Time, cycles, waiting.

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
    /// Turns this core's cycle counter on; `watchdog`, if any, is kept from barking.
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
        // SAFETY: reads a counter.
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

/// Milliseconds since some moment.
pub fn milliseconds() -> u64 {
    let frequency = boards::current().map_or(0, frequency);
    CNTPCT_EL0.get().saturating_mul(1000).checked_div(frequency).unwrap_or(0)
}

/// Rate of the system counter, Hz: what the boot firmware says, or else what the board has.
fn frequency(board: &Board) -> u64 {
    match CNTFRQ_EL0.get() {
        0 => board.counter,
        frequency => frequency,
    }
}

/// Counts this core's cycles in EL1, all 64 bits of them.
fn start_cycle_counter() {
    // SAFETY: configures a counter and nothing else.
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
