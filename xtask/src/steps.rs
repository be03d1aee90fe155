//! The steps of `cargo xtask test`. Adding one is adding an entry to [`all`].

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{Result, run as run_command, run_by_line};
use crate::tally::{Tally, TestOutput};
use crate::toolchain::{BARE_METAL, LINUX, Toolchain};
use crate::tools::{self, Tool};
use crate::workspace;
use crate::{arm_count, c_library, cortex_m, device, fuzz, no_panic, pi, sanitizers, supply_chain};

const RUNTIME: &str = "resmlp-runtime";
/// What `--quick` does without.
const EMULATORS: [Tool; 3] = [Tool::QemuUser, Tool::QemuUserPlugins, Tool::QemuArm];

/// Something that is checked, with one or several commands.
pub struct Step {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What it checks, in a few words.
    pub about: &'static str,
    tools: &'static [Tool],
    /// ARM targets that it builds for.
    targets: &'static [&'static str],
    action: fn(&Toolchain) -> Result<Tally>,
}

impl Step {
    const fn new(name: &'static str, about: &'static str, action: fn(&Toolchain) -> Result<Tally>) -> Self {
        Self { name, about, tools: &[], targets: &[], action }
    }

    const fn with(self, tools: &'static [Tool]) -> Self {
        Self { tools, ..self }
    }

    const fn building_for(self, targets: &'static [&'static str]) -> Self {
        Self { targets, ..self }
    }

    /// Something for aarch64 Linux, under an emulator.
    const fn emulated(name: &'static str, about: &'static str, action: fn(&Toolchain) -> Result<Tally>) -> Self {
        Self::new(name, about, action).with(&[Tool::Aarch64Linker, Tool::QemuUser]).building_for(&[LINUX])
    }
}

/// Every step, in the order in which they run: what fails soonest first.
pub fn all() -> Vec<Step> {
    vec![
        Step::new("format", "the code is formatted", format).with(&[Tool::Rustfmt]),
        Step::new("lint", "clippy and rustdoc, all packages", lint).with(&[Tool::Clippy]),
        Step::new("host", "all tests, on this machine", host).with(&[Tool::SshServer, Tool::Browser, Tool::FatTools]),
        Step::new("supply-chain", "dependencies: reasons, licences, sources", supply_chain::check),
        Step::new("runtime-checked", "the runtime's tests with overflow checks", runtime_checked),
        Step::new("endurance", "8,000 inferences on changing threads", endurance),
        Step::new("sanitizers", "the runtime under AddressSanitizer, ThreadSanitizer and valgrind", sanitizers::check)
            .with(&[Tool::Valgrind]),
        Step::new("fuzz", "every reader and kernel table, fuzzed for half a minute each", fuzz::check)
            .with(&[Tool::Fuzzer]),
        Step::new("bare-metal", "the runtime builds without std or alloc", bare_metal).building_for(&BARE_METAL),
        Step::new("no-panic", "no panic can be reached from the runtime", no_panic::check)
            .with(&[Tool::Aarch64Linker])
            .building_for(&[LINUX, no_panic::AARCH64]),
        Step::new("lint-arm", "clippy, what runs on ARM", lint_arm).with(&[Tool::Clippy]).building_for(&[LINUX]),
        Step::emulated("cortex-a53", "the runtime's tests as on a Raspberry Pi 3", |arm| emulated(arm, "cortex-a53")),
        Step::emulated("cortex-a72", "… on a Raspberry Pi 4", |arm| emulated(arm, "cortex-a72")),
        Step::emulated("cortex-a76", "… on a Raspberry Pi 5: dotprod, fp16", |arm| emulated(arm, "cortex-a76")),
        Step::emulated("max", "… on a core that has everything: i8mm too", |arm| emulated(arm, "max")),
        Step::new("arm-count", "what an inference costs on ARM: no more than it may", arm_count::check)
            .with(&arm_count::TOOLS)
            .building_for(&[LINUX]),
        Step::emulated("c", "the C library and its example, here and on all of these", c_library::check).with(&[
            Tool::Aarch64Linker,
            Tool::QemuUser,
            Tool::Cxx,
        ]),
        Step::emulated("device", "the program for boards, on all of these", device::check),
        Step::new("cortex-m", "a model in the flash of a Cortex-M4, M7 and M33", cortex_m::check)
            .with(&[Tool::Clippy, Tool::QemuArm])
            .building_for(&cortex_m::TARGETS),
        Step::new("raspberry-pi", "the image without an operating system, on a Raspberry Pi 3", pi::check)
            .with(&[Tool::Clippy, Tool::QemuArm, Tool::DeviceTreeCompiler, Tool::FatTools])
            .building_for(&[pi::TARGET]),
    ]
}

/// The steps of these names, or all; without those that emulate if `quick`.
pub fn select(quick: bool, only: &[&str]) -> Result<Vec<Step>> {
    let steps = all();
    if let Some(unknown) = only.iter().find(|name| !steps.iter().any(|step| step.name == **name)) {
        return Err(format!("no step is called `{unknown}`; `cargo xtask help` lists them"));
    }
    let wanted = |step: &Step| match only {
        [] => !quick || !EMULATORS.iter().any(|emulator| step.tools.contains(emulator)),
        names => names.contains(&step.name),
    };
    Ok(steps.into_iter().filter(wanted).collect())
}

/// Installs what the steps need and runs them; stops at the first that fails, and says how to run it again.
pub fn run(steps: &[Step]) -> Result<()> {
    let mut report = Report::default();
    heading("tools");
    let start = Instant::now();
    let arm = prepare(steps)?;
    report.timed("tools", start.elapsed(), &Tally::default());
    for step in steps {
        heading(&format!("{}: {}", step.name, step.about));
        let start = Instant::now();
        let tally = (step.action)(&arm).map_err(|error| again(step, &error))?;
        report.timed(step.name, start.elapsed(), &tally);
        if tally.failed > 0 {
            report.print();
            return Err(again(step, "tests failed"));
        }
    }
    report.print();
    Ok(())
}

fn prepare(steps: &[Step]) -> Result<Toolchain> {
    let mut tools: Vec<Tool> = Vec::new();
    for tool in steps.iter().flat_map(|step| step.tools) {
        if !tools.contains(tool) {
            tools.push(*tool);
        }
    }
    tools::ensure(&tools)?;
    let targets: BTreeSet<&str> = steps.iter().flat_map(|step| step.targets).copied().collect();
    let arm = Toolchain::for_targets(&targets.into_iter().collect::<Vec<_>>())?;
    eprintln!("all there");
    Ok(arm)
}

fn format(_: &Toolchain) -> Result<Tally> {
    check(Toolchain::Current.cargo("fmt").args(["--all", "--check"]))?;
    check(&mut cortex_m::format_check())
}

/// In the release profile, as all else: build scripts and macros are then compiled once for all steps.
fn lint(_: &Toolchain) -> Result<Tally> {
    let mut workspace = Toolchain::Current.cargo("clippy");
    check(workspace.args(["--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    let mut without_std = Toolchain::Current.cargo("clippy");
    without_std.args(["--release", "--package", RUNTIME, "--no-default-features", "--", "--deny", "warnings"]);
    check(&mut without_std)?;
    let mut documentation = Toolchain::Current.cargo("doc");
    documentation.args(["--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
    check(&mut documentation)
}

fn lint_arm(arm: &Toolchain) -> Result<Tally> {
    let mut clippy = arm.cargo("clippy");
    clippy.args(["--release", "--package", RUNTIME, "--package", device::PACKAGE, "--all-targets", "--target", LINUX]);
    clippy.args(["--", "--deny", "warnings"]);
    check(&mut clippy)
}

fn host(_: &Toolchain) -> Result<Tally> {
    test(Toolchain::Current.cargo("test").args(["--release", "--workspace"]))
}

/// The dev profile panics where arithmetic overflows or a debug assertion does not hold.
fn runtime_checked(_: &Toolchain) -> Result<Tally> {
    test(Toolchain::Current.cargo("test").args(["--package", RUNTIME]))
}

/// A shortened form of what `SECURITY.md` states for a million.
fn endurance(_: &Toolchain) -> Result<Tally> {
    let model = workspace::target_dir().join("demo.rmlp");
    device::demo_model(&model, "any")?;
    let mut cargo = Toolchain::Current.cargo("run");
    cargo.args(["--release", "--package", RUNTIME, "--example", "endurance", "--"]).arg(model).arg("8000");
    check(&mut cargo).map(|tally| Tally { passed: 1, ..tally })
}

fn bare_metal(arm: &Toolchain) -> Result<Tally> {
    let mut build = arm.cargo("build");
    build.args(["--release", "--package", RUNTIME, "--no-default-features"]);
    check(build.args(BARE_METAL.iter().flat_map(|target| ["--target", target])))
}

fn emulated(arm: &Toolchain, core: &str) -> Result<Tally> {
    let mut cargo = arm.cargo("test");
    cargo.args(["--release", "--package", RUNTIME, "--target", LINUX]);
    tools::link_for_aarch64(&mut cargo)?;
    tools::emulate_aarch64(&mut cargo, core)?;
    test(&mut cargo)
}

/// A command that runs no tests.
pub fn check(command: &mut Command) -> Result<Tally> {
    run_command(command).map(|()| Tally::default())
}

/// A `cargo test`: all its test programs run, also after one of them fails.
pub fn test(cargo: &mut Command) -> Result<Tally> {
    let mut output = TestOutput::default();
    let outcome = run_by_line(cargo.args(["--no-fail-fast", "--", "--show-output"]), |line| {
        if output.read(line) {
            println!("{line}");
        }
    });
    let tally = output.tally();
    // Failing tests are in the tally; what else goes wrong, such as a compiler's error, is not.
    if tally.failed == 0 {
        outcome?;
    }
    Ok(tally)
}

fn again(step: &Step, error: &str) -> String {
    format!("step {}: {error}\nrun it again with: cargo xtask test --only {}", step.name, step.name)
}

fn heading(text: &str) {
    eprintln!("\n=== {text}");
}

/// What the steps took and found.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    total: Duration,
    tally: Tally,
}

impl Report {
    fn timed(&mut self, name: &str, took: Duration, tally: &Tally) {
        let run = tally.passed + tally.failed;
        let tests = if run > 0 { format!("{run:>6} tests") } else { String::new() };
        self.lines.push(format!("{name:<16} {:>7.1} s {tests}", took.as_secs_f64()));
        self.total += took;
        self.tally += tally.clone();
    }

    /// The last line printed is `N passed, N failed, N skipped`, over all steps: scripts look for it.
    fn print(&self) {
        let Tally { passed, failed, skipped } = &self.tally;
        println!("\n{}", self.lines.join("\n"));
        println!("{:<16} {:>7.1} s {:>6} test functions ran", "in all", self.total.as_secs_f64(), passed + failed);
        if !skipped.is_empty() {
            let names: BTreeSet<&str> = skipped.iter().map(String::as_str).collect();
            let names: Vec<&str> = names.into_iter().collect();
            println!(
                "skipped {} tests (those that want shared data find it by the variable RESMLP_SHARED): {}",
                skipped.len(),
                names.join(", ")
            );
        }
        println!("{passed} passed, {failed} failed, {} skipped", skipped.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(quick: bool, only: &[&str]) -> Vec<&'static str> {
        select(quick, only).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn quick_leaves_out_what_emulates() {
        let left_out: Vec<_> = names(false, &[]).into_iter().filter(|name| !names(true, &[]).contains(name)).collect();
        let cores = ["cortex-a53", "cortex-a72", "cortex-a76", "max"];
        assert_eq!(left_out, [&cores[..], &["arm-count", "c", "device", "cortex-m", "raspberry-pi"]].concat());
    }

    #[test]
    fn steps_are_selected_by_name() {
        assert_eq!(names(true, &["max", "host"]), ["host", "max"]);
        assert!(select(false, &["hots"]).is_err_and(|error| error.contains("hots")));
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(names(false, &[]).iter().collect::<BTreeSet<_>>().len(), all().len());
    }
}
