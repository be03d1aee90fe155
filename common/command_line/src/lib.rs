//! Code that the two command lines of this project share: `resmlp` on a PC and `resmlp-device` on a board.
//!
//! Both choose kernels by the same name, and both report classes and latencies in the same JSON fields.

mod guess;
mod kernels;
mod milliseconds;

pub use guess::{Guess, SHOWN, guesses};
pub use kernels::find_kernels;
pub use milliseconds::Milliseconds;
