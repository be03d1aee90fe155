//! Handles exceptions. Each is a fault of the program: the handler prints what happened, flashes the LED, and lets the
//! watchdog reset the board.

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

/// The LED's pin, if it belongs to the processor. Bit 8 is set if a low level lights the LED.
static LED: AtomicU32 = AtomicU32::new(NO_LED);
const NO_LED: u32 = u32::MAX;

/// Stores what the handler needs to know.
pub fn prepare(emulator: bool, led: Option<LedPin>) {
    IN_EMULATOR.store(emulator, Ordering::Relaxed);
    let led = led.filter(|led| !led.on_expander).map_or(NO_LED, |led| led.pin & 0xff | u32::from(led.active_low) << 8);
    LED.store(led, Ordering::Relaxed);
}

/// Handles an exception. boot.s calls it with the number of the vector, on a stack of its own.
#[unsafe(no_mangle)]
extern "C" fn exception(vector: u64) -> ! {
    if let Some(board) = boards::current() {
        // SAFETY: the handler never returns, so the code that owned the console does not run again on this core.
        // Another core may still print. Then the texts mix, but every access is to a device register and none touches
        // memory.
        if let Some(mut console) = unsafe { Console::take_over(board) } {
            // Writing to the console cannot fail.
            let _ = report(&mut console, vector);
            console.flush();
        }
        if IN_EMULATOR.load(Ordering::Relaxed) {
            semihosting::exit(Failure::Fault.exit_code());
        }
        // This timer does not feed the watchdog, which therefore resets the board.
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
    // The Arm Architecture Reference Manual lists the exception classes in D17.2.37.
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
