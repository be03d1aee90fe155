//! The boards. Each module names its board, prints, counts what it can, and ends the program.

#[cfg(feature = "pico2")]
mod pico2;
#[cfg(feature = "pico2")]
pub use pico2::*;

#[cfg(not(feature = "pico2"))]
mod mps2;
#[cfg(not(feature = "pico2"))]
pub use mps2::*;
