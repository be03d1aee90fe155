//! Counts tests from what `cargo test -- --show-output` prints.
//!
//! A test that lacks something prints `skipped: NAME (needs SOMETHING)` and returns, which the test harness counts as
//! passed and keeps to itself; `--show-output` brings such lines out. The rest of what passing tests print is hidden.

use std::ops::AddAssign;

/// How many tests ran and how they ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Tests that ran and passed.
    pub passed: usize,
    /// Tests that ran and failed.
    pub failed: usize,
    /// Names of tests that did not run, for lack of something or because they are marked `#[ignore]`.
    pub skipped: Vec<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
    }
}

/// Follows the output of one `cargo test` line by line.
#[derive(Default)]
pub struct TestOutput {
    /// As the harness counts them: with the tests that skipped themselves.
    passed: usize,
    failed: usize,
    ignored: Vec<String>,
    skipped_themselves: Vec<String>,
    in_successes: bool,
    /// The test whose output is being read, until its first line that says that it was skipped.
    current: Option<String>,
}

impl TestOutput {
    /// Takes the next line in; true where it is worth showing.
    pub fn read(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            self.passed += number_before(result, " passed");
            self.failed += number_before(result, " failed");
            return true;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ if self.in_successes => self.read_printed(line),
            _ => self.read_verdict(line),
        }
        !self.in_successes
    }

    /// The counts of all that was read.
    pub fn tally(self) -> Tally {
        Tally {
            passed: self.passed.saturating_sub(self.skipped_themselves.len()),
            failed: self.failed,
            skipped: [self.ignored, self.skipped_themselves].concat(),
        }
    }

    /// A line that a passing test printed, or the header above such lines.
    fn read_printed(&mut self, line: &str) {
        if let Some(header) = line.strip_prefix("---- ") {
            self.current = header.strip_suffix(" stdout ----").map(str::to_string);
        } else if line.starts_with("skipped: ") && line.contains(" (needs ") {
            self.skipped_themselves.extend(self.current.take());
        }
    }

    /// A line like `test NAME ... ignored, REASON`.
    fn read_verdict(&mut self, line: &str) {
        if let Some((test, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
            && verdict.starts_with("ignored")
        {
            self.ignored.push(test.to_string());
        }
    }
}

/// The number that stands before `unit`, as in `3 passed`; 0 where there is none.
fn number_before(text: &str, unit: &str) -> usize {
    let before = text.split(unit).next().unwrap_or("");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BINARIES: &str = "
running 4 tests
test slow ... ignored, takes an hour
test folds ... ok
test photographs ... ok
test accuracy ... ok

successes:

---- folds stdout ----
error 1e-15

---- photographs stdout ----
skipped: photographs (needs shared data)
skipped: photographs, second half (needs shared data)

---- accuracy stdout ----
skipped: accuracy (needs a board)


successes:
    accuracy
    folds
    photographs

test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s


running 2 tests
test parses ... ok
test packs ... FAILED

successes:

successes:
    parses

failures:

---- packs stdout ----
assertion failed

failures:
    packs

test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn read(text: &str) -> (Tally, Vec<&str>) {
        let mut output = TestOutput::default();
        let shown = text.lines().filter(|line| output.read(line)).collect();
        (output.tally(), shown)
    }

    #[test]
    fn tests_that_skip_themselves_count_once_as_skipped_and_not_as_passed() {
        let (tally, _) = read(TWO_BINARIES);
        let skipped = ["slow", "photographs", "accuracy"].map(str::to_string).to_vec();
        assert_eq!(tally, Tally { passed: 2, failed: 1, skipped });
    }

    #[test]
    fn only_what_failing_tests_print_is_shown() {
        let (_, shown) = read(TWO_BINARIES);
        assert!(shown.contains(&"assertion failed"));
        assert!(shown.contains(&"test folds ... ok"));
        assert!(!shown.contains(&"error 1e-15"));
        assert!(!shown.iter().any(|line| line.starts_with("skipped")));
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = read(TWO_BINARIES).0;
        sum += read(TWO_BINARIES).0;
        assert_eq!((sum.passed, sum.failed, sum.skipped.len()), (4, 2, 6));
    }
}
