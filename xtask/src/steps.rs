//! The steps of `cargo xtask test`. A new step is a new entry in [`all`].

use std::process::Command;

use crate::cargo::{self, cargo};
use crate::cargo_test::test;
use crate::packages::{DEVICE, ENDURANCE, RUNTIME};
use crate::process::{Result, run};
use crate::step::Step;
use crate::tally::Tally;
use crate::targets::{AARCH64, BARE_METAL, CORTEX_M, LINUX};
use crate::toolchain::Toolchain;
use crate::tools::{self, Tool};
use crate::workspace;
use crate::{arm_count, c_library, cortex_m, demo, device, fuzz, no_panic, raspberry_pi, sanitizers, supply_chain};

/// The tools that `--quick` does without.
const EMULATORS: [Tool; 3] = [Tool::QemuUser, Tool::QemuUserPlugins, Tool::QemuArm];

/// Returns every step in the order in which they run. The steps that tend to fail soonest come first.
pub fn all() -> Vec<Step> {
    vec![
        Step::new("format", "All code has the standard format.", format).with(&[Tool::Rustfmt]),
        Step::new("lint", "Clippy and rustdoc have no complaints about any package.", lint).with(&[Tool::Clippy]),
        Step::new("host", "All tests pass on this machine.", host).with_helpers(&[
            Tool::SshServer,
            Tool::Browser,
            Tool::FatTools,
        ]),
        Step::new(
            "supply-chain",
            "Each dependency has a reason, a known licence and a known source.",
            supply_chain::check,
        ),
        Step::new("runtime-checked", "The runtime's tests pass with checks of overflow.", runtime_checked),
        Step::new("endurance", "8,000 inferences on changing threads give the same logits.", endurance),
        Step::new("sanitizers", "AddressSanitizer, ThreadSanitizer and valgrind find no fault.", sanitizers::check)
            .with(&[Tool::Valgrind]),
        Step::new("fuzz", "Half a minute of fuzzing finds no fault in any reader or kernel.", fuzz::check)
            .with(&[Tool::Fuzzer]),
        Step::new("bare-metal", "The runtime builds without std and alloc.", bare_metal).building_for(&BARE_METAL),
        Step::new("no-panic", "No panic can be reached from the runtime.", no_panic::check)
            .with(&[Tool::Aarch64Linker])
            .building_for(&[LINUX, AARCH64]),
        Step::new("lint-arm", "Clippy has no complaints about the code for ARM.", lint_arm)
            .with(&[Tool::Clippy])
            .building_for(&[LINUX]),
        Step::emulated("cortex-a53", "The runtime's tests pass on the core of a Raspberry Pi 3.", |arm| {
            emulated(arm, "cortex-a53")
        }),
        Step::emulated("cortex-a72", "The runtime's tests pass on the core of a Raspberry Pi 4.", |arm| {
            emulated(arm, "cortex-a72")
        }),
        Step::emulated("cortex-a76", "The runtime's tests pass on the core of a Raspberry Pi 5.", |arm| {
            emulated(arm, "cortex-a76")
        }),
        Step::emulated("max", "The runtime's tests pass on a core with every extension.", |arm| emulated(arm, "max")),
        Step::new("arm-count", "An inference takes no more instructions on ARM than it may.", arm_count::check)
            .with(&arm_count::TOOLS)
            .building_for(&[LINUX]),
        Step::emulated("c", "The C library's example computes the same logits, here and on ARM.", c_library::check)
            .with(&[Tool::Aarch64Linker, Tool::QemuUser, Tool::Cxx]),
        Step::emulated("device", "The program for boards computes the same logits on ARM.", device::check),
        Step::new("cortex-m", "The programs for Cortex-M4, M7 and M33 pass their tests.", cortex_m::check)
            .with(&[Tool::Clippy, Tool::QemuArm])
            .building_for(&CORTEX_M),
        Step::new("raspberry-pi", "The image without an operating system passes its tests.", raspberry_pi::check)
            .with(&[Tool::Clippy, Tool::QemuArm, Tool::DeviceTreeCompiler, Tool::FatTools])
            .building_for(&[AARCH64]),
    ]
}

/// Returns the steps of these names, or all of them if there are no names. With `quick`, the steps that need an
/// emulator are left out, unless they are named.
pub fn select(quick: bool, only: &[&str]) -> Result<Vec<Step>> {
    let steps = all();
    if let Some(unknown) = only.iter().find(|name| !steps.iter().any(|step| step.name == **name)) {
        return Err(format!("there is no step `{unknown}`; `cargo xtask help` lists all of them"));
    }
    let wanted = |step: &Step| match only {
        [] => !quick || !EMULATORS.iter().any(|emulator| step.tools.contains(emulator)),
        names => names.contains(&step.name),
    };
    Ok(steps.into_iter().filter(wanted).collect())
}

fn format(_: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.record("format of the workspace", run(cargo("fmt").args(["--all", "--check"])));
    tally.record("format of firmware/cortex_m", run(&mut cortex_m::format_check()));
    Ok(tally)
}

/// Lints in the release profile, in which everything else is built, too. Build scripts and macros are then compiled
/// only once.
fn lint(_: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut workspace = cargo("clippy");
    workspace.args(["--release", "--workspace", "--all-targets"]);
    tally.record("clippy of the workspace", run(without_warnings(&mut workspace)));
    let mut without_std = cargo("clippy");
    without_std.args(["--release", "--package", RUNTIME, "--no-default-features"]);
    tally.record("clippy of the runtime without std", run(without_warnings(&mut without_std)));
    let mut documentation = cargo("doc");
    documentation.args(["--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
    tally.record("rustdoc of the workspace", run(&mut documentation));
    Ok(tally)
}

fn lint_arm(arm: &Toolchain) -> Result<Tally> {
    let mut clippy = arm.cargo("clippy");
    clippy.args(["--release", "--package", RUNTIME, "--package", DEVICE, "--all-targets", "--target", LINUX]);
    run(without_warnings(&mut clippy)).map(|()| Tally::passed(1))
}

/// Makes every warning of clippy an error.
fn without_warnings(clippy: &mut Command) -> &mut Command {
    clippy.args(["--", "--deny", "warnings"])
}

fn host(_: &Toolchain) -> Result<Tally> {
    test(cargo("test").args(["--release", "--workspace"]))
}

/// Tests in the dev profile, which panics if arithmetic overflows or a debug assertion does not hold.
fn runtime_checked(_: &Toolchain) -> Result<Tally> {
    test(cargo("test").args(["--package", RUNTIME]))
}

/// Runs a short form of the test that `SECURITY.md` describes with a million inferences.
fn endurance(_: &Toolchain) -> Result<Tally> {
    let model = workspace::target_dir().join("demo.rmlp");
    demo::make_model(&model, "any")?;
    let mut endurance = Command::new(cargo::build_example(ENDURANCE)?);
    run(endurance.arg(model).arg("8000")).map(|()| Tally::passed(1))
}

fn bare_metal(arm: &Toolchain) -> Result<Tally> {
    let mut build = arm.cargo("build");
    build.args(["--release", "--keep-going", "--package", RUNTIME, "--no-default-features"]);
    build.args(BARE_METAL.iter().flat_map(|target| ["--target", target]));
    run(&mut build).map(|()| Tally::passed(1))
}

/// Runs the runtime's tests on an emulated core, linked in the same way as the program for boards.
fn emulated(arm: &Toolchain, core: &str) -> Result<Tally> {
    let mut cargo = arm.cargo("test");
    cargo.args(["--release", "--package", RUNTIME, "--target", LINUX]);
    tools::static_for_aarch64(&mut cargo)?;
    tools::emulate_aarch64(&mut cargo, core)?;
    test(&cargo)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(quick: bool, only: &[&str]) -> Vec<&'static str> {
        select(quick, only).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn quick_leaves_out_the_steps_that_need_an_emulator() {
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
    fn every_step_is_described_by_a_sentence() {
        for step in all() {
            assert!(step.about.starts_with(char::is_uppercase) || step.about.starts_with("8,000"), "{}", step.about);
            assert!(step.about.ends_with('.'), "{}", step.about);
        }
    }

    #[test]
    fn names_are_unique() {
        assert_eq!(names(false, &[]).iter().collect::<BTreeSet<_>>().len(), all().len());
    }
}
