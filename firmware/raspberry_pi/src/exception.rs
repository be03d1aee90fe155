//! Exceptions: all are mistakes. What happened is printed, the LED flashes, and the watchdog resets the board.

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use aarch64_cpu::asm;
use aarch64_cpu::registers::{ELR_EL1, ESR_EL1, FAR_EL1, MPIDR_EL1, Readable, SPSR_EL1};
use resmlp_raspberry_pi::{Failure, LedPin, flash};

use crate::boards;
use crate::console::Console;
use crate::gpio::Led;
use crate::semihosting;
use crate::time::Timer;

/// Whether the command line says that this is an emulator.
static IN_EMULATOR: AtomicBool = AtomicBool::new(false);

/// The LED's pin, where it is one of the processor's; bit 8 says that it is lit by a low level.
static LED: AtomicU32 = AtomicU32::new(NO_LED);
const NO_LED: u32 = u32::MAX;

/// Tells what the handler needs to know.
pub fn prepare(emulator: bool, led: Option<LedPin>) {
    IN_EMULATOR.store(emulator, Ordering::Relaxed);
    let led = led.filter(|led| !led.on_expander).map_or(NO_LED, |led| led.pin & 0xff | u32::from(led.active_low) << 8);
    LED.store(led, Ordering::Relaxed);
}

/// Called by boot.s with the number of the vector, on a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn exception(vector: u64) -> ! {
    if let Some(board) = boards::current() {
        // SAFETY: whoever had the console will not run again on this core; another core's text may be cut.
        if let Some(mut console) = unsafe { Console::take_over(board) } {
            // The console takes everything.
            let _ = report(&mut console, vector);
            console.flush();
        }
        if IN_EMULATOR.load(Ordering::Relaxed) {
            semihosting::exit(Failure::Fault.exit_code());
        }
        // The watchdog is fed no more.
        let timer = Timer::new(board, None);
        let led = Some(LED.load(Ordering::Relaxed)).filter(|&led| led != NO_LED);
        let led = led.map(|led| LedPin { pin: led & 0xff, on_expander: false, active_low: led & 1 << 8 != 0 });
        let mut led = Led::new(board, led);
        loop {
            let Ok(()) = flash(&mut led, &mut &timer, Failure::Fault.flashes());
        }
    }
    loop {
        asm::wfe();
    }
}

fn report(console: &mut Console, vector: u64) -> core::fmt::Result {
    let kind = ["synchronous exception", "interrupt", "fast interrupt", "system error"];
    let kind = kind.into_iter().cycle().nth(vector as usize % 4).unwrap_or_default();
    let syndrome = ESR_EL1.get();
    // Exception classes of the Arm Architecture Reference Manual, D17.2.37.
    let class = match syndrome >> 26 & 0x3f {
        0x00 => "undefined instruction",
        0x07 => "floating point is off",
        0x20 | 0x21 => "instruction abort",
        0x22 => "instruction misaligned",
        0x24 | 0x25 => "data abort",
        0x26 => "stack misaligned",
        0x2f => "system error",
        0x3c => "breakpoint",
        _ => "other",
    };
    writeln!(console, "\nexception on core {}: {kind}, {class}", MPIDR_EL1.get() & 0xff)?;
    writeln!(console, "  ESR  {syndrome:#010x}")?;
    writeln!(console, "  ELR  {:#018x}", ELR_EL1.get())?;
    writeln!(console, "  FAR  {:#018x}", FAR_EL1.get())?;
    writeln!(console, "  SPSR {:#010x}", SPSR_EL1.get())?;
    writeln!(console, "the board resets in 15 seconds")
}
