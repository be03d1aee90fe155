//! Raspberry Pi 3 and Zero 2 W: BCM2837, four Cortex-A53. The image has run in an emulator only.

use crate::board::{Board, Start};

pub static BOARD: Board = Board {
    name: "Raspberry Pi 3 or Zero 2 W",
    target: "raspberry-pi-3",
    part: 0xd03,
    devices: 0x3f00_0000,
    uart: 0x3f20_1000,
    uart_clock: Some(48_000_000),
    gpio: Some(0x3f20_0000),
    mailbox: Some(0x3f00_b880),
    watchdog: Some(0x3f10_0000),
    // The pin differs between models; the device tree states it.
    led: None,
    counter: 19_200_000,
    start: Start::SpinTable,
};
