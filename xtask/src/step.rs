//! Runs the steps of `cargo xtask test`: every one of them, even after another one has failed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::process::Result;
use crate::tally::{Failure, Tally};
use crate::targets::LINUX;
use crate::toolchain::Toolchain;
use crate::tools::{self, Missing, Tool};

/// One thing that `cargo xtask test` checks, with one or several commands.
pub struct Step {
    /// The name that `--only` takes.
    pub name: &'static str,
    /// The sentence that is true if the step passes.
    pub about: &'static str,
    /// The programs that the step calls.
    pub tools: &'static [Tool],
    /// Programs that only some of the step's tests call. The step runs without them, too, and then counts a failure.
    pub helpers: &'static [Tool],
    /// The ARM targets that the step builds for.
    targets: &'static [&'static str],
    action: fn(&Toolchain) -> Result<Tally>,
}

impl Step {
    /// Creates a step that needs no tools but cargo.
    pub const fn new(name: &'static str, about: &'static str, action: fn(&Toolchain) -> Result<Tally>) -> Self {
        Self { name, about, tools: &[], helpers: &[], targets: &[], action }
    }

    /// Creates a step that runs programs for aarch64 Linux in an emulator.
    pub const fn emulated(name: &'static str, about: &'static str, action: fn(&Toolchain) -> Result<Tally>) -> Self {
        Self::new(name, about, action).with(&[Tool::Aarch64Linker, Tool::QemuUser]).building_for(&[LINUX])
    }

    /// Sets the programs that the step calls.
    pub const fn with(self, tools: &'static [Tool]) -> Self {
        Self { tools, ..self }
    }

    /// Sets the programs that only some of the step's tests call.
    pub const fn with_helpers(self, helpers: &'static [Tool]) -> Self {
        Self { helpers, ..self }
    }

    /// Sets the ARM targets that the step builds for.
    pub const fn building_for(self, targets: &'static [&'static str]) -> Self {
        Self { targets, ..self }
    }

    /// Runs the step, or says what it lacks.
    fn run(&self, machine: &Machine) -> Result<Tally> {
        if let Some(missing) = machine.missing.iter().find(|missing| self.tools.contains(&missing.tool)) {
            return Err(missing.reason.clone());
        }
        let mut tally = match &machine.arm {
            _ if self.targets.is_empty() => (self.action)(&Toolchain::Current),
            Ok(arm) => (self.action)(arm),
            Err(reason) => Err(reason.clone()),
        }?;
        for missing in machine.missing.iter().filter(|missing| self.helpers.contains(&missing.tool)) {
            tally.record(&format!("{:?}", missing.tool), Err(missing.reason.clone()));
        }
        Ok(tally)
    }
}

/// The tools and the toolchain that this machine has for the steps.
struct Machine {
    /// Tools that could not be installed.
    missing: Vec<Missing>,
    /// The toolchain that builds for ARM, or why there is none.
    arm: Result<Toolchain>,
}

impl Machine {
    /// Installs everything that the steps need. If something cannot be installed, only the steps that need it fail.
    fn prepare(steps: &[Step]) -> Self {
        let mut tools: Vec<Tool> = Vec::new();
        for tool in steps.iter().flat_map(|step| step.tools.iter().chain(step.helpers)) {
            if !tools.contains(tool) {
                tools.push(*tool);
            }
        }
        let missing = tools::install(&tools);
        let targets: BTreeSet<&str> = steps.iter().flat_map(|step| step.targets).copied().collect();
        let arm = Toolchain::for_targets(&targets.into_iter().collect::<Vec<_>>());
        missing.iter().map(|missing| &missing.reason).chain(arm.as_ref().err()).for_each(|e| eprintln!("missing: {e}"));
        Self { missing, arm }
    }
}

/// Installs what the steps need, runs every one of them, and prints a report. Returns whether all of them passed.
pub fn run(steps: &[Step]) -> bool {
    let mut report = Report::default();
    heading("tools");
    let start = Instant::now();
    let machine = Machine::prepare(steps);
    report.add("tools", start.elapsed(), Tally::default());
    run_on(&machine, steps, &mut report);
    println!("\n{report}");
    report.tally.failures.is_empty()
}

/// Runs every step, and adds what each took and found to the report.
fn run_on(machine: &Machine, steps: &[Step], report: &mut Report) {
    for step in steps {
        heading(&format!("{}: {}", step.name, step.about));
        let start = Instant::now();
        let tally = step.run(machine).unwrap_or_else(|reason| {
            eprintln!("error: step {}: {reason}", step.name);
            let failure = Failure { name: "the step itself".to_owned(), reason: Some(reason), again: None };
            Tally { failures: vec![failure], ..Tally::default() }
        });
        report.add(step.name, start.elapsed(), tally);
    }
}

/// Prints the heading of a step.
fn heading(text: &str) {
    eprintln!("\n=== {text}");
}

/// The times and the results of the steps.
#[derive(Default)]
struct Report {
    /// A line for each step: its name, its time, and the number of its tests.
    times: Vec<String>,
    /// The failures of all steps, each with the command that runs it again.
    failures: Vec<String>,
    total: Duration,
    tally: Tally,
}

impl Report {
    /// Adds what one step took and found.
    fn add(&mut self, step: &str, took: Duration, tally: Tally) {
        let run = tally.passed + tally.failures.len();
        let tests = if run > 0 { format!("{run:>6} tests") } else { String::new() };
        let verdict = if tally.failures.is_empty() { "" } else { "   FAILED" };
        self.times.push(format!("{step:<16} {:>7.1} s {tests}{verdict}", took.as_secs_f64()));
        for failure in &tally.failures {
            let reason = failure.reason.iter().flat_map(|reason| reason.lines()).take(MOST_LINES);
            let reason: String = reason.map(|line| format!("      {line}\n")).collect();
            let whole_step = format!("cargo xtask test --only {step}");
            let again = failure.again.as_ref().unwrap_or(&whole_step);
            self.failures.push(format!("  {step}: {}\n{reason}      run it again: {again}\n", failure.name));
        }
        self.total += took;
        self.tally += tally;
    }
}

/// The number of lines of a failure's reason that the report repeats. The whole reason is printed further up, in the
/// output of the step.
const MOST_LINES: usize = 6;

/// The last line is `N passed, N failed, N skipped`, over all steps: scripts look for it.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Tally { passed, failures, skipped } = &self.tally;
        let ran = passed + failures.len();
        writeln!(f, "{}", self.times.join("\n"))?;
        writeln!(f, "{:<16} {:>7.1} s {ran:>6} tests ran", "in all", self.total.as_secs_f64())?;
        if !failures.is_empty() {
            write!(f, "\nFailed, by step:\n{}\n", self.failures.concat())?;
        }
        if !skipped.is_empty() {
            let names: BTreeSet<&str> = skipped.iter().map(String::as_str).collect();
            let names: Vec<&str> = names.into_iter().collect();
            writeln!(
                f,
                "Skipped, because they need something that this machine lacks ({}): {}",
                skipped.len(),
                names.join(", ")
            )?;
        }
        write!(f, "{passed} passed, {} failed, {} skipped", failures.len(), skipped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_a_failing_test(_: &Toolchain) -> Result<Tally> {
        let again = Some("cargo test -- --exact packs".to_owned());
        let failure = Failure { name: "packs".to_owned(), reason: None, again };
        Ok(Tally { passed: 2, failures: vec![failure], skipped: vec!["photographs".to_owned()] })
    }

    #[test]
    fn report_lists_the_failures_of_every_step_at_the_end() {
        let steps = [
            Step::new("first", "does not compile", |_| Err("a compiler's error".to_owned())),
            Step::new("second", "has a failing test", with_a_failing_test),
            Step::new("third", "lacks a tool", |_| Ok(Tally::passed(1))).with(&[Tool::Valgrind]),
            Step::new("fourth", "lacks a toolchain", |_| Ok(Tally::passed(1))).building_for(&[LINUX]),
            Step::new("fifth", "lacks a helper", |_| Ok(Tally::passed(3))).with_helpers(&[Tool::Valgrind]),
            Step::new("sixth", "passes", |_| Ok(Tally::passed(1))),
        ];
        let machine = Machine {
            missing: vec![Missing { tool: Tool::Valgrind, reason: "no package valgrind".to_owned() }],
            arm: Err("no Rust for ARM".to_owned()),
        };
        let mut report = Report::default();
        run_on(&machine, &steps, &mut report);
        let text = report.to_string();
        let (_, failures) = text.split_once("Failed, by step:\n").unwrap();
        let expected = "  \
  first: the step itself
      a compiler's error
      run it again: cargo xtask test --only first
  second: packs
      run it again: cargo test -- --exact packs
  third: the step itself
      no package valgrind
      run it again: cargo xtask test --only third
  fourth: the step itself
      no Rust for ARM
      run it again: cargo xtask test --only fourth
  fifth: Valgrind
      no package valgrind
      run it again: cargo xtask test --only fifth

";
        assert!(failures.starts_with(expected), "{failures}");
        assert_eq!(text.lines().filter(|line| line.ends_with("FAILED")).count(), 5);
        assert_eq!(text.lines().last(), Some("6 passed, 5 failed, 1 skipped"));
    }

    #[test]
    fn report_of_steps_that_pass_lists_no_failures() {
        let mut report = Report::default();
        let machine = Machine { missing: Vec::new(), arm: Ok(Toolchain::Current) };
        run_on(&machine, &[Step::new("only", "passes", |_| Ok(Tally::passed(3)))], &mut report);
        let text = report.to_string();
        assert!(text.ends_with("\n3 passed, 0 failed, 0 skipped"), "{text}");
        assert!(!text.contains("Failed, by step"), "{text}");
    }
}
