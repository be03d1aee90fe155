//! Time as a core measures it: by the ticks of a counter, and by its cycles.

use bytemuck::{Pod, Zeroable};

/// The sources of time, and the watchdog.
pub trait Clock {
    /// Returns a counter that counts at a constant rate.
    fn ticks(&self) -> u64;
    /// Returns the rate of [`Clock::ticks`], in Hz.
    fn frequency(&self) -> u64;
    /// Returns the cycle counter of the calling core.
    fn cycles(&self) -> u64;
    /// Tells the watchdog that the program has not hung. The program calls it again and again.
    fn alive(&self);
}

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// Ticks of the [`Clock`].
    pub ticks: u64,
    /// Cycles of the calling core.
    pub cycles: u64,
}

// SAFETY: `Span` consists of two `u64`, for which zero is a valid value.
unsafe impl Zeroable for Span {}
// SAFETY: `Span` is `repr(C)` and consists of two `u64`: it has no padding, and every bit pattern is a valid value.
unsafe impl Pod for Span {}

impl Span {
    /// Reads ticks and cycles now.
    pub fn now(clock: &impl Clock) -> Self {
        Self { ticks: clock.ticks(), cycles: clock.cycles() }
    }

    /// Returns the time from `start` to `self`.
    pub fn since(self, start: Self) -> Self {
        Self { ticks: self.ticks.wrapping_sub(start.ticks), cycles: self.cycles.wrapping_sub(start.cycles) }
    }

    /// Returns the ticks in microseconds, rounded down.
    pub fn microseconds(self, clock: &impl Clock) -> u64 {
        self.ticks.saturating_mul(1_000_000).checked_div(clock.frequency()).unwrap_or(0)
    }

    /// Returns the smaller of the ticks and the smaller of the cycles.
    pub(crate) fn least(self, other: Self) -> Self {
        Self { ticks: self.ticks.min(other.ticks), cycles: self.cycles.min(other.cycles) }
    }
}

/// Measures the core's clock in Hz. It counts cycles for a hundredth of a second, in which the core never waits.
pub fn core_clock(clock: &impl Clock) -> u64 {
    let start = Span::now(clock);
    loop {
        let passed = Span::now(clock).since(start);
        if passed.ticks >= clock.frequency() / 100 {
            clock.alive();
            return passed.cycles.saturating_mul(clock.frequency()).checked_div(passed.ticks).unwrap_or(0);
        }
    }
}
