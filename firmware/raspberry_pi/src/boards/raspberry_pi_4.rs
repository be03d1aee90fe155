//! Raspberry Pi 4, 400 and Compute Module 4: BCM2711, four Cortex-A72. The image has run in an emulator only.

use resmlp_raspberry_pi::LedPin;

use crate::board::{Board, Start};

pub static BOARD: Board = Board {
    name: "Raspberry Pi 4",
    target: "raspberry-pi-4",
    part: 0xd08,
    devices: 0xfc00_0000,
    uart: 0xfe20_1000,
    uart_clock: Some(48_000_000),
    gpio: Some(0xfe20_0000),
    mailbox: Some(0xfe00_b880),
    watchdog: Some(0xfe10_0000),
    led: Some(LedPin { pin: 42, on_expander: false, active_low: false }),
    counter: 54_000_000,
    start: Start::SpinTable,
};
