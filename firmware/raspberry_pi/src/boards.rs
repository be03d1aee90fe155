//! The boards that the image knows, one module each, and which of them it runs on.

mod raspberry_pi_3;
mod raspberry_pi_4;
mod raspberry_pi_5;

use aarch64_cpu::registers::{MIDR_EL1, Readable};

use crate::board::Board;

const BOARDS: [&Board; 3] = [&raspberry_pi_3::BOARD, &raspberry_pi_4::BOARD, &raspberry_pi_5::BOARD];

/// Returns the board that this core is on, or `None` if the core's part number belongs to no board in the list.
pub fn current() -> Option<&'static Board> {
    let part = MIDR_EL1.read(MIDR_EL1::PartNum);
    BOARDS.into_iter().find(|board| board.part == part)
}
