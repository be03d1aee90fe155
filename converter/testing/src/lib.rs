//! What the tests of the converter share: random networks and the plainest evaluation of them, the committed
//! checkpoints with their logits, and references that are written after the documents and share no code with what they
//! judge.

mod evaluate;
pub mod fixtures;
pub mod numerics;
pub mod quantised;
mod random;
pub mod rewrites;
pub mod unpack;

pub use evaluate::{Evaluated, activate, apply, evaluate};
pub use random::{Random, Shape};

use proptest::test_runner::{Config, RngSeed};

/// Returns a configuration of proptest that tries `count` cases, the same ones every time.
pub fn cases(count: u32) -> Config {
    Config { failure_persistence: None, rng_seed: RngSeed::Fixed(0), ..Config::with_cases(count) }
}
