//! Runs firmware on emulated boards, for the tests of the firmware.
//!
//! These tests need programs that cargo cannot build for them: an image for another processor, and the command line of
//! this machine. `cargo xtask` builds all of these and tells the tests where they are by the variables in [`Inputs`]. A
//! plain `cargo test` reports the tests as ignored.

mod emulator;
mod inputs;
mod transcript;

use std::path::Path;
use std::{fmt, fs};

pub use emulator::{Ended, run};
pub use inputs::{Inputs, output};
pub use transcript::{Leeway, Transcript};

/// What a check returns: nothing, or what is wrong.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// A sentence that says what is wrong. A test that returns it prints the sentence as it is, with all its lines.
#[derive(PartialEq, Eq)]
pub struct Failure(String);

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a whole file; the error names the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

/// Writes a whole file; the error names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result {
    fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
