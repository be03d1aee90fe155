//! Raspberry Pi 5: BCM2712, four Cortex-A76. UNTESTED: neither a board nor an emulator of one has run this.
//!
//! This file states only what is safe to guess. The serial line is the three-pin debug connector, at the rate that the
//! boot firmware has set (`enable_uart=1`). There is no LED and no watchdog. The image is the same file under the name
//! `kernel_2712.img`, and config.txt needs `os_check=0`. One thing must change before anybody tries this board: the
//! image has its stacks and page tables below itself, where the boot firmware of this board keeps the program that
//! answers PSCI (Trusted Firmware-A, `atf@0` in the device tree).

use crate::board::{Board, Start};

pub static BOARD: Board = Board {
    name: "Raspberry Pi 5 (untested)",
    target: "raspberry-pi-5",
    part: 0xd0b,
    devices: 0x10_4000_0000,
    uart: 0x10_7d00_1000,
    uart_clock: None,
    gpio: None,
    mailbox: None,
    watchdog: None,
    led: None,
    counter: 54_000_000,
    start: Start::Psci,
};
