//! `cargo xtask arm-count`: estimates what an inference costs on ARM cores that are not at hand. The tool
//! `tools/arm-cost` does
//! the work, with the emulator's plugin in `tools/qemu-plugin`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::build_programs;
use crate::cargo_test::run_checks;
use crate::packages::{ARM_COST, RANDOM_MODEL, RUNTIME};
use crate::process::{Result, run};
use crate::tally::Tally;
use crate::targets::LINUX;
use crate::toolchain::Toolchain;
use crate::tools::{self, Tool};
use crate::workspace;

/// The tools that counting needs, in addition to a toolchain for [`LINUX`].
pub const TOOLS: [Tool; 4] = [Tool::Aarch64Linker, Tool::CCompiler, Tool::QemuUserPlugins, Tool::Mca];

/// Prints both tables, and says which of them this machine cannot make.
pub fn print() -> Result<()> {
    tools::ensure(&TOOLS)?;
    let tally = check(&Toolchain::for_targets(&[LINUX])?)?;
    tally.skipped.iter().for_each(|what| eprintln!("skipped: {what}"));
    match tally.failures.len() {
        0 => Ok(()),
        failed => Err(format!("{failed} of the checks above failed")),
    }
}

/// Prints both tables, and checks that nothing costs more than it may. What this machine cannot count is skipped, by
/// name.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let arm_cost = build_programs(&[ARM_COST])?.join(ARM_COST);
    let program = build(arm)?;
    let mut tally = Tally::default();
    if tools::counts_instructions() {
        let mut count = Command::new(&arm_cost);
        count.arg("instructions").arg(&program).arg(tools::QEMU_WITH_PLUGINS).arg(build_plugin()?);
        tally.record_all("instructions of an inference", run_checks(&mut count));
    } else {
        tally.skipped.push("instructions of an inference (needs qemu-user 7.2 or 8, such as Debian 12's)".to_owned());
    }
    if let Some(mca) = tools::mca() {
        tally.record_all("inner loops in models of cores", check_loops(&arm_cost, &program, mca));
    } else {
        tally.skipped.push("inner loops in models of cores (needs llvm-mca 20 or newer)".to_owned());
    }
    Ok(tally)
}

fn check_loops(arm_cost: &Path, program: &Path, mca: &str) -> Result<Tally> {
    run_checks(Command::new(arm_cost).arg("loops").arg(program).arg(tools::aarch64_objdump()?).arg(mca))
}

/// Builds the program that is counted.
fn build(arm: &Toolchain) -> Result<PathBuf> {
    let mut cargo = arm.cargo("build");
    cargo.args(["--release", "--package", RUNTIME, "--example", RANDOM_MODEL, "--target", LINUX]);
    tools::static_for_aarch64(&mut cargo)?;
    run(&mut cargo)?;
    Ok(workspace::target_dir().join(LINUX).join("release/examples").join(RANDOM_MODEL))
}

/// Compiles the emulator's plugin.
fn build_plugin() -> Result<PathBuf> {
    let source = workspace::root().join("tools/qemu-plugin/blocks.c");
    let plugin = workspace::made("arm-count")?.join("blocks.so");
    run(Command::new("cc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&plugin).arg(source))?;
    Ok(plugin)
}
