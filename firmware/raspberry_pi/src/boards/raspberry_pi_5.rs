//! Raspberry Pi 5: BCM2712, four Cortex-A76. UNTESTED: neither a board nor an emulator of one has run this.
//!
//! Only what is safe to guess is here. The serial line is the three-pin debug connector, at the rate that the boot firmware set
//! (`enable_uart=1`). There is no LED and no watchdog. The image is the same file under the name `kernel_2712.img`; config.txt
//! wants `os_check=0`. Known to be missing: stacks and page tables lie below the image, where this board's boot firmware keeps
//! what answers PSCI (Trusted Firmware-A, `atf@0` in the device tree): they have to go elsewhere before this is tried.

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
