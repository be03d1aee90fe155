//! Runs `cargo test` and counts its tests.

use std::process::Command;

use crate::process::{Result, run_by_line, shown};
use crate::tally::{Tally, TestOutput};

/// Runs a `cargo test`: all of its test programs, also after one of them fails.
pub fn test(cargo: &mut Command) -> Result<Tally> {
    let command = shown(cargo);
    let mut output = TestOutput::default();
    let outcome = run_by_line(cargo.args(["--no-fail-fast", "--", "--show-output"]), |line| {
        if output.read(line) {
            println!("{line}");
        }
    });
    let tally = output.tally(|name| format!("{command} -- --exact '{name}'"));
    // Failing tests are in the tally; what else goes wrong, such as a compiler's error, is not.
    if tally.failures.is_empty() {
        outcome?;
    }
    Ok(tally)
}
