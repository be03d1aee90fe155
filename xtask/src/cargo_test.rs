//! Runs `cargo test` and counts its tests, also those that a plain `cargo test` ignores.

use std::process::Command;

use crate::needs::{self, Need};
use crate::process::{Result, copy_of, run_by_line, shown};
use crate::tally::{Ignored, Tally, TestOutput};

/// Runs a `cargo test` with all of its test programs, even after one of them has failed. Ignored tests whose need is
/// present run afterwards, and the others are counted as skipped.
///
/// # Errors
///
/// Returns an error if cargo fails for a reason other than a failing test, such as an error of the compiler.
pub fn test(cargo: &Command) -> Result<Tally> {
    test_and_show(cargo, print)
}

/// Where the lines of a test program's output go.
type Show = fn(&str);

fn print(line: &str) {
    println!("{line}");
}

/// Does what [`test()`] says, and passes the lines that are worth showing to `show`.
fn test_and_show(cargo: &Command, show: Show) -> Result<Tally> {
    let (mut tally, ignored) = run(cargo, &[], show)?;
    let (wanted, skipped) = sort_out(ignored, needs::look_for);
    tally.skipped.extend(skipped);
    if !wanted.is_empty() {
        eprintln!("{} tests that cargo ignored have what they need and run now:", wanted.len());
        tally.record_all("the ignored tests", run_ignored_and_show(cargo, &wanted, show));
    }
    Ok(tally)
}

/// Returns the names of the ignored tests that are to run, and of those that are skipped.
fn sort_out(ignored: Vec<Ignored>, look_for: impl Fn(&str) -> Need) -> (Vec<String>, Vec<String>) {
    let (mut wanted, mut skipped) = (Vec::new(), Vec::new());
    for Ignored { test, reason } in ignored {
        match look_for(&reason) {
            Need::Present | Need::AskTheTest => wanted.push(test),
            Need::Missing => skipped.push(test),
            Need::OtherStep => {}
        }
    }
    (wanted, skipped)
}

/// Runs the ignored tests of these names, or all of them if there are no names.
///
/// # Errors
///
/// Returns an error as [`test()`] does, and also if no test ran at all.
pub fn run_ignored(cargo: &Command, names: &[String]) -> Result<Tally> {
    run_ignored_and_show(cargo, names, print)
}

fn run_ignored_and_show(cargo: &Command, names: &[String], show: Show) -> Result<Tally> {
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
    let (tally, _) = run(&cargo, &words, show)?;
    if tally.passed + tally.failures.len() + tally.skipped.len() == 0 {
        return Err(format!("`{}` ran no test", shown(&cargo)));
    }
    Ok(tally)
}

/// Counts the checks of a program that prints them as `cargo test` does.
///
/// # Errors
///
/// Returns an error if the program fails for a reason other than a failing check.
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
fn run(cargo: &Command, words: &[&str], show: Show) -> Result<(Tally, Vec<Ignored>)> {
    let command = shown(cargo);
    let only_ignored = words.contains(&"--ignored");
    let mut output = TestOutput::default();
    let mut cargo = copy_of(cargo);
    let outcome = run_by_line(cargo.args(["--no-fail-fast", "--", "--show-output"]).args(words), |line| {
        // Most test programs have no ignored test, and what they print about that is left out.
        let says_nothing = line.is_empty()
            || line == "running 0 tests"
            || line.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored;");
        if output.read(line) && !(only_ignored && says_nothing) {
            show(line);
        }
    });
    let which = if only_ignored { "--ignored --exact" } else { "--exact" };
    let (tally, ignored) = output.tally(|name| Some(format!("{command} -- {which} '{name}'")));
    // The tally has the failing tests, but no other failures, such as an error of the compiler.
    if tally.failures.is_empty() {
        outcome?;
    }
    Ok((tally, ignored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    #[test]
    fn ignored_tests_run_where_their_need_is_present_and_are_skipped_where_it_is_missing() {
        let ignored = |name: &str| Ignored { test: name.to_owned(), reason: name.to_owned() };
        let look_for = |reason: &str| match reason {
            "present" => Need::Present,
            "counters" => Need::AskTheTest,
            "board" => Need::OtherStep,
            _ => Need::Missing,
        };
        let (wanted, skipped) = sort_out(["missing", "present", "board", "counters"].map(ignored).into(), look_for);
        assert_eq!((wanted, skipped), (vec!["present".into(), "counters".into()], vec!["missing".into()]));
    }

    const TESTS: &str = r#"
        #[test] fn passes() {}
        #[test] fn fails() { panic!("on purpose") }
        #[test] #[ignore = "needs performance counters"] fn has_what_it_needs() {}
        #[test] #[ignore = "needs performance counters"] fn fails_too() { panic!("on purpose") }
        #[test] #[ignore = "needs performance counters"] fn finds_nothing() {
            println!("skipped: finds_nothing (needs performance counters)");
        }
        #[test] #[ignore = "needs a unicorn: wait for one"] fn lacks_something() {}
        #[test] #[ignore = "needs an emulated board: cargo xtask test --only max"] fn belongs_to_another_step() {}
    "#;

    /// Counts the tests of a small package, which is made for this test.
    #[test]
    fn every_test_of_a_package_is_counted_as_what_it_is() {
        let package = workspace::made("tmp/ignored-tests").unwrap();
        let manifest =
            "[package]\nname = \"ignored-tests\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n";
        std::fs::write(package.join("Cargo.toml"), manifest).unwrap();
        std::fs::write(package.join("lib.rs"), TESTS).unwrap();
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--offline"]).current_dir(&package).env("CARGO_TARGET_DIR", package.join("target"));

        // The small package's failures must not stand among the output of this test, which is counted, too.
        let tally = test_and_show(&cargo, |_| ()).unwrap();
        let failures: Vec<&str> = tally.failures.iter().map(|failure| failure.name.as_str()).collect();
        assert_eq!((tally.passed, failures), (2, vec!["fails", "fails_too"]));
        assert_eq!(tally.skipped, ["lacks_something", "finds_nothing"]);
        let again = |at: usize| tally.failures[at].again.as_deref().unwrap();
        assert!(again(0).ends_with("cargo test --offline -- --exact 'fails'"), "{}", again(0));
        assert!(again(1).ends_with("cargo test --offline --tests -- --ignored --exact 'fails_too'"), "{}", again(1));
    }
}
