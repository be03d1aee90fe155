//! `kernel8.img`: classifies pictures on a Raspberry Pi 3, Zero 2 W or 4 without an operating system, measures itself,
//! and then answers frames from the serial line.
//!
//! Only this binary touches hardware. It contains no panic: the panic handler calls a function that does not exist, so
//! that an image with a reachable panic does not link.
#![no_std]
#![no_main]

mod board;
mod boards;
mod console;
mod cores;
mod exception;
mod gpio;
mod mailbox;
mod page_tables;
mod registers;
mod run;
mod semihosting;
mod time;
mod watchdog;

core::arch::global_asm!(include_str!("boot.s"));

/// Makes the linker fail if a panic is reachable.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    unsafe extern "C" {
        #[link_name = "\n\nerror: a panic is reachable\n\n"]
        fn a_panic_is_reachable() -> !;
    }
    // SAFETY: the function does not exist, so a program that could call it does not link.
    unsafe { a_panic_is_reachable() }
}
