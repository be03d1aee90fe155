//! Time as a core sees it: ticks of a counter, and cycles.

use bytemuck::{Pod, Zeroable};

/// Time, cycles, and the watchdog.
pub trait Clock {
    /// A counter that runs on at a constant rate.
    fn ticks(&self) -> u64;
    /// The rate of [`Clock::ticks`], in Hz.
    fn frequency(&self) -> u64;
    /// Cycles of the core that asks.
    fn cycles(&self) -> u64;
    /// Called every now and then: the program has not hung.
    fn alive(&self);
}

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Span {
    /// Of the [`Clock`].
    pub ticks: u64,
    /// Of the core that calls.
    pub cycles: u64,
}

// SAFETY: two numbers without padding, of which any bits are a value.
unsafe impl Zeroable for Span {}
// SAFETY: as above.
unsafe impl Pod for Span {}

impl Span {
    /// What the clock shows.
    pub fn now(clock: &impl Clock) -> Self {
        Self { ticks: clock.ticks(), cycles: clock.cycles() }
    }

    /// The time between `start` and this.
    pub fn since(self, start: Self) -> Self {
        Self { ticks: self.ticks.wrapping_sub(start.ticks), cycles: self.cycles.wrapping_sub(start.cycles) }
    }

    /// Microseconds.
    pub fn microseconds(self, clock: &impl Clock) -> u64 {
        self.ticks.saturating_mul(1_000_000).checked_div(clock.frequency()).unwrap_or(0)
    }

    /// Returns the smaller of the ticks and the smaller of the cycles.
    pub(crate) fn least(self, other: Self) -> Self {
        Self { ticks: self.ticks.min(other.ticks), cycles: self.cycles.min(other.cycles) }
    }
}

/// The core's clock, Hz: its cycles are counted for a hundredth of a second, in which it never waits.
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
