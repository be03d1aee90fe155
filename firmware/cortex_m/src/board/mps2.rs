//! Arm's MPS2 boards, as QEMU emulates them with `-icount shift=0`. They print by semihosting and count instructions.

use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::Peripherals;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use cortex_m_semihosting::debug;
use cortex_m_semihosting::hio::{HostStream, hstdout};

/// QEMU's name of the machine, and its core.
#[cfg(feature = "mps2-an386")]
pub const NAME: &str = "mps2-an386 (Cortex-M4), emulated";
#[cfg(feature = "mps2-an500")]
pub const NAME: &str = "mps2-an500 (Cortex-M7), emulated";
#[cfg(feature = "mps2-an505")]
pub const NAME: &str = "mps2-an505 (Cortex-M33), emulated";

/// Unit of [`Board::count`].
pub const COUNTED: &str = "instructions";

/// Instructions per tick of the system timer. An emulated instruction takes a nanosecond, and the timer counts the
/// board's clock, which is 20 MHz on the an505 and 25 MHz on the others.
const PER_TICK: u64 = if cfg!(feature = "mps2-an505") { 50 } else { 40 };
/// Largest value of the system timer, which has 24 bits and counts down.
const RELOAD: u32 = 0xff_ffff;

static WRAPS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    WRAPS.fetch_add(1, Ordering::Relaxed);
}

/// The board, with the emulator's standard output.
pub struct Board {
    out: Option<HostStream>,
}

impl Board {
    /// Starts the count.
    pub fn start() -> Self {
        // SAFETY: the programs call this once, or again from the panic handler after which nothing else runs, and
        // nothing else uses the system timer.
        let mut timer = unsafe { Peripherals::steal() }.SYST;
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(RELOAD);
        timer.clear_current();
        timer.enable_counter();
        timer.enable_interrupt();
        Self { out: hstdout().ok() }
    }

    /// Returns the number of instructions since the start.
    pub fn count(&mut self) -> u64 {
        loop {
            let wraps = WRAPS.load(Ordering::Relaxed);
            let left = SYST::get_current();
            // A timer at zero may or may not have counted its wrap yet, so such a reading is dropped.
            if left != 0 && wraps == WRAPS.load(Ordering::Relaxed) {
                let ticks = u64::from(wraps) * u64::from(RELOAD + 1) + u64::from(RELOAD - left);
                return ticks * PER_TICK;
            }
        }
    }

    /// Ends the emulator, with an exit code of 0 or 1.
    pub fn end(self, succeeded: bool) -> ! {
        debug::exit(if succeeded { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
        loop {
            cortex_m::asm::wfi();
        }
    }
}

impl fmt::Write for Board {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.as_mut().map_or(Err(fmt::Error), |out| out.write_str(text))
    }
}
