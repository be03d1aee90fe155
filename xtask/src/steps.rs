//! The steps of `cargo xtask test`. Adding one is adding an entry to [`all`].

use crate::cargo_test::test;
use crate::process::{Result, run};
use crate::step::Step;
use crate::tally::Tally;
use crate::toolchain::{BARE_METAL, LINUX, Toolchain};
use crate::tools::{self, Tool};
use crate::workspace;
use crate::{arm_count, c_library, cortex_m, device, fuzz, no_panic, pi, sanitizers, supply_chain};

const RUNTIME: &str = "resmlp-runtime";
/// What `--quick` does without.
const EMULATORS: [Tool; 3] = [Tool::QemuUser, Tool::QemuUserPlugins, Tool::QemuArm];

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

fn format(_: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.record("format of the workspace", run(Toolchain::Current.cargo("fmt").args(["--all", "--check"])));
    tally.record("format of firmware/cortex_m", run(&mut cortex_m::format_check()));
    Ok(tally)
}

/// In the release profile, as all else: build scripts and macros are then compiled once for all steps.
fn lint(_: &Toolchain) -> Result<Tally> {
    let mut workspace = Toolchain::Current.cargo("clippy");
    let mut tally = Tally::default();
    workspace.args(["--release", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    tally.record("clippy of the workspace", run(&mut workspace));
    let mut without_std = Toolchain::Current.cargo("clippy");
    without_std.args(["--release", "--package", RUNTIME, "--no-default-features", "--", "--deny", "warnings"]);
    tally.record("clippy of the runtime without std", run(&mut without_std));
    let mut documentation = Toolchain::Current.cargo("doc");
    documentation.args(["--release", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings");
    tally.record("rustdoc of the workspace", run(&mut documentation));
    Ok(tally)
}

fn lint_arm(arm: &Toolchain) -> Result<Tally> {
    let mut clippy = arm.cargo("clippy");
    clippy.args(["--release", "--package", RUNTIME, "--package", device::PACKAGE, "--all-targets", "--target", LINUX]);
    clippy.args(["--", "--deny", "warnings"]);
    run(&mut clippy).map(|()| Tally::passed(1))
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
    run(&mut cargo).map(|()| Tally::passed(1))
}

fn bare_metal(arm: &Toolchain) -> Result<Tally> {
    let mut build = arm.cargo("build");
    build.args(["--release", "--package", RUNTIME, "--no-default-features"]);
    run(build.args(BARE_METAL.iter().flat_map(|target| ["--target", target]))).map(|()| Tally::passed(1))
}

fn emulated(arm: &Toolchain, core: &str) -> Result<Tally> {
    let mut cargo = arm.cargo("test");
    cargo.args(["--release", "--package", RUNTIME, "--target", LINUX]);
    tools::link_for_aarch64(&mut cargo)?;
    tools::emulate_aarch64(&mut cargo, core)?;
    test(&mut cargo)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
