//! Code that the two command lines of this project share: `resmlp` on a PC and `resmlp-device` on a board.
//!
//! Both choose kernels by the same names, and both report classes and latencies in the same JSON fields. Everything
//! that they print goes through [`printable`], [`one_line`] or [`to_json`], because a terminal obeys some characters.

mod guess;
mod kernels;
mod milliseconds;
mod terminal;

pub use guess::{Guess, SHOWN, guesses};
pub use kernels::find_kernels;
pub use milliseconds::Milliseconds;
pub use terminal::{one_line, printable, to_json};
