//! Counts tests from what `cargo test -- --show-output` prints.
//!
//! A test that needs something which a machine may lack is marked `#[ignore = "needs …"]`. The rule for such tests
//! stands in [`needs`](crate::needs). A test can also find out only when it runs that something is missing. It then
//! prints `skipped: NAME (needs SOMETHING)` and returns. The test harness counts this test as passed and hides what it
//! printed; `--show-output` makes the harness print these lines, and this file counts the test as skipped. The other
//! output of passing tests is not shown.

use std::ops::AddAssign;

/// How many tests ran and how they ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Number of tests that ran and passed.
    pub passed: usize,
    /// Tests that ran and failed.
    pub failures: Vec<Failure>,
    /// Names of tests that did not run because they lack something.
    pub skipped: Vec<String>,
}

/// A test that is marked `#[ignore = "REASON"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// Name of the test.
    pub test: String,
    /// The reason that stands in the mark.
    pub reason: String,
}

/// A test, or another check, that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Name of the test or the check.
    pub name: String,
    /// The reason, if the output above does not already show it.
    pub reason: Option<String>,
    /// A command that runs this test alone, if there is one.
    pub again: Option<String>,
}

impl Tally {
    /// Creates a tally of checks that all passed.
    pub fn passed(passed: usize) -> Self {
        Self { passed, ..Self::default() }
    }

    /// Counts a check that is not a `cargo test`. A failure is printed at once, and the following checks still run.
    pub fn record(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(reason) => {
                eprintln!("failed: {name}: {reason}");
                self.failures.push(Failure { name: name.to_owned(), reason: Some(reason), again: None });
            }
        }
    }

    /// Counts a check only if it failed. This suits a build whose program is tested afterwards.
    pub fn record_failure(&mut self, name: &str, outcome: Result<(), String>) {
        if outcome.is_err() {
            self.record(name, outcome);
        }
    }

    /// Adds the tally of several checks, or counts one failure of this name if they could not run.
    pub fn record_all(&mut self, name: &str, outcome: Result<Self, String>) {
        match outcome {
            Ok(tally) => *self += tally,
            Err(reason) => self.record(name, Err(reason)),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
        self.skipped.extend(other.skipped);
    }
}

/// Follows the output of one `cargo test` line by line.
#[derive(Default)]
pub struct TestOutput {
    /// Number of tests that the harness counts as passed, which includes the tests that skipped themselves.
    passed: usize,
    /// Number of tests that the harness counts as failed.
    failed: usize,
    failures: Vec<String>,
    ignored: Vec<Ignored>,
    skipped_themselves: Vec<String>,
    /// Number of test programs that have begun but have not yet printed their result.
    unfinished: usize,
    in_successes: bool,
    /// The test whose output is being read, until its first line that says that it was skipped.
    current: Option<String>,
}

impl TestOutput {
    /// Reads the next line and returns whether the line is worth showing.
    pub fn read(&mut self, line: &str) -> bool {
        if let Some(result) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            self.unfinished = self.unfinished.saturating_sub(1);
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

    /// Returns the counts of everything that was read, and the ignored tests. `again` makes a command that runs the
    /// test of a name alone.
    pub fn tally(self, again: impl Fn(&str) -> Option<String>) -> (Tally, Vec<Ignored>) {
        let failure = |name: String| Failure { again: again(&name), name, reason: None };
        let unnamed = self.failed.saturating_sub(self.failures.len());
        let mut failures: Vec<Failure> = self.failures.into_iter().map(failure).collect();
        let mut also = |count: usize, what: &str| {
            let failure = Failure { name: what.to_owned(), reason: None, again: None };
            failures.extend(std::iter::repeat_n(failure, count));
        };
        also(unnamed, "a test whose name was not printed on a line of its own");
        also(self.unfinished, "a test program that ended before it printed its result");
        let passed = self.passed.saturating_sub(self.skipped_themselves.len());
        (Tally { passed, failures, skipped: self.skipped_themselves }, self.ignored)
    }

    /// Reads a line that a passing test printed, or the header above such lines.
    fn read_printed(&mut self, line: &str) {
        if let Some(header) = line.strip_prefix("---- ") {
            self.current = header.strip_suffix(" stdout ----").map(str::to_string);
        } else if line.starts_with("skipped: ") && line.contains(" (needs ") {
            self.skipped_themselves.extend(self.current.take());
        }
    }

    /// Reads a line such as `running 3 tests`, `test NAME ... FAILED` or `test NAME ... ignored, REASON`.
    fn read_verdict(&mut self, line: &str) {
        if line.starts_with("running ") && (line.ends_with(" tests") || line.ends_with(" test")) {
            self.unfinished += 1;
        }
        let Some((test, verdict)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            return;
        };
        if let Some(reason) = verdict.strip_prefix("ignored") {
            let reason = reason.trim_start_matches(", ").to_string();
            self.ignored.push(Ignored { test: test.to_string(), reason });
        } else if verdict.starts_with("FAILED") {
            self.failures.push(test.to_string());
        }
    }
}

/// Returns the number that stands before `unit`, as in `3 passed`, or 0 if there is none.
fn number_before(text: &str, unit: &str) -> usize {
    let before = text.split(unit).next().unwrap_or("");
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_BINARIES: &str = "
running 4 tests
test slow ... ignored, needs an hour: be patient
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

    fn read(text: &str) -> (Tally, Vec<Ignored>) {
        let mut output = TestOutput::default();
        text.lines().for_each(|line| {
            output.read(line);
        });
        output.tally(|test| Some(format!("cargo test {test}")))
    }

    fn names(tally: &Tally) -> Vec<&str> {
        tally.failures.iter().map(|failure| failure.name.as_str()).collect()
    }

    #[test]
    fn tests_that_skip_themselves_count_once_as_skipped_and_not_as_passed() {
        let (tally, _) = read(TWO_BINARIES);
        let skipped = ["photographs", "accuracy"].map(str::to_string).to_vec();
        let failures = vec![Failure { name: "packs".into(), reason: None, again: Some("cargo test packs".into()) }];
        assert_eq!(tally, Tally { passed: 2, failures, skipped });
    }

    #[test]
    fn ignored_tests_are_returned_with_their_reason() {
        let (_, ignored) = read(TWO_BINARIES);
        assert_eq!(ignored, [Ignored { test: "slow".into(), reason: "needs an hour: be patient".into() }]);
    }

    #[test]
    fn only_what_failing_tests_print_is_shown() {
        let mut output = TestOutput::default();
        let shown: Vec<&str> = TWO_BINARIES.lines().filter(|line| output.read(line)).collect();
        assert!(shown.contains(&"assertion failed"));
        assert!(shown.contains(&"test folds ... ok"));
        assert!(!shown.contains(&"error 1e-15"));
        assert!(!shown.iter().any(|line| line.starts_with("skipped")));
    }

    #[test]
    fn a_test_program_that_crashes_is_a_failure() {
        let (tally, _) = read("running 2 tests\ntest parses ... ok\n\nrunning 1 test\ntest packs ... FAILED\n");
        assert_eq!(tally.failures.len(), 3);
        assert_eq!(names(&tally)[0], "packs");
    }

    #[test]
    fn a_failure_without_a_name_still_counts() {
        let (tally, _) =
            read("running 1 test\ntest packs ... noise\nFAILED\ntest result: FAILED. 0 passed; 1 failed;\n");
        assert_eq!(tally.failures.len(), 1);
    }

    #[test]
    fn tallies_add_up() {
        let mut sum = read(TWO_BINARIES).0;
        sum += read(TWO_BINARIES).0;
        sum.record("links", Ok(()));
        sum.record("runs", Err("it does not end".into()));
        assert_eq!((sum.passed, sum.skipped.len()), (5, 4));
        assert_eq!(names(&sum), ["packs", "packs", "runs"]);
    }
}
