//! The boards: each says what it is, prints, counts, and ends.

#[cfg(feature = "pico2")]
mod pico2;
#[cfg(feature = "pico2")]
pub use pico2::*;

#[cfg(not(feature = "pico2"))]
mod mps2;
#[cfg(not(feature = "pico2"))]
pub use mps2::*;
