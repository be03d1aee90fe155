//! Runs `cargo test` and counts its tests, also those that a plain `cargo test` ignores.

use std::process::Command;

use crate::needs::{self, Need};
use crate::process::{Result, copy_of, run_by_line, shown};
use crate::tally::{Ignored, Tally, TestOutput};

/// Runs a `cargo test`: all of its test programs, also after one of them fails. Ignored tests whose need is present run
/// afterwards; the others are counted as skipped.
///
/// # Errors
///
/// Returns an error where cargo fails for another reason than a failing test, such as an error of the compiler.
pub fn test(cargo: &Command) -> Result<Tally> {
    let (mut tally, ignored) = run(cargo, &[])?;
    let mut wanted = Vec::new();
    for Ignored { test, reason } in ignored {
        match needs::look_for(&reason) {
            Need::Present | Need::AskTheTest => wanted.push(test),
            Need::Missing => tally.skipped.push(test),
            Need::OtherStep => {}
        }
    }
    if !wanted.is_empty() {
        eprintln!("{} tests that cargo ignored have what they need and run now:", wanted.len());
        tally += run_ignored(cargo, &wanted)?;
    }
    Ok(tally)
}

/// Runs the ignored tests of these names, or all of them where there are no names.
///
/// # Errors
///
/// Returns an error as [`test`] does, and where not a single test ran.
pub fn run_ignored(cargo: &Command, names: &[String]) -> Result<Tally> {
    let mut cargo = copy_of(cargo);
    // Examples in the documentation are never ignored for a need, and take long to compile.
    let chooses_targets = ["--lib", "--tests", "--test"];
    if !cargo.get_args().any(|word| chooses_targets.iter().any(|choice| word == *choice)) {
        cargo.arg("--tests");
    }
    let mut words = vec!["--ignored"];
    if !names.is_empty() {
        words.push("--exact");
        words.extend(names.iter().map(String::as_str));
    }
    let (tally, _) = run(&cargo, &words)?;
    if tally.passed + tally.failures.len() + tally.skipped.len() == 0 {
        return Err(format!("`{}` ran no test", shown(&cargo)));
    }
    Ok(tally)
}

/// Counts the checks of a program that prints them as `cargo test` does.
///
/// # Errors
///
/// Returns an error where the program fails for another reason than a failing check.
pub fn run_checks(program: &mut Command) -> Result<Tally> {
    let mut output = TestOutput::default();
    let outcome = run_by_line(program, |line| {
        output.read(line);
        println!("{line}");
    });
    let (tally, _) = output.tally(|_| None);
    if tally.failures.is_empty() {
        outcome?;
    }
    Ok(tally)
}

/// Runs `cargo test` with further words for the test programs. Returns what ran, and the tests that were ignored.
fn run(cargo: &Command, words: &[&str]) -> Result<(Tally, Vec<Ignored>)> {
    let command = shown(cargo);
    let mut output = TestOutput::default();
    let mut cargo = copy_of(cargo);
    let outcome = run_by_line(cargo.args(["--no-fail-fast", "--", "--show-output"]).args(words), |line| {
        if output.read(line) {
            println!("{line}");
        }
    });
    let which = if words.is_empty() { "--exact" } else { "--ignored --exact" };
    let (tally, ignored) = output.tally(|name| Some(format!("{command} -- {which} '{name}'")));
    // Failing tests are in the tally; what else goes wrong, such as an error of the compiler, is not.
    if tally.failures.is_empty() {
        outcome?;
    }
    Ok((tally, ignored))
}
