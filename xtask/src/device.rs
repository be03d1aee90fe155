//! `cargo xtask device`: builds the program for a Raspberry Pi or a Jetson, and checks it on emulated cores.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::copy;
use crate::demo::{self, Demo};
use crate::packages::DEVICE;
use crate::process::{Result, report_of, run, shown};
use crate::tally::Tally;
use crate::targets::LINUX;
use crate::toolchain::Toolchain;
use crate::tools::{self, Tool};
use crate::workspace;

/// The emulated cores: those of a Raspberry Pi 3, 4 and 5, and one with every extension.
pub const CORES: [&str; 4] = ["cortex-a53", "cortex-a72", "cortex-a76", "max"];

/// Builds `target/device/resmlp-device` and prints its path.
pub fn build() -> Result<()> {
    tools::ensure(&[Tool::Aarch64Linker])?;
    println!("{}", build_with(&Toolchain::for_targets(&[LINUX])?)?.display());
    Ok(())
}

/// Builds the program with all libraries linked in, so that it runs whatever C library the board has.
fn build_with(toolchain: &Toolchain) -> Result<PathBuf> {
    let mut cargo = toolchain.cargo("build");
    cargo.args(["--release", "--package", DEVICE, "--target", LINUX]);
    tools::static_for_aarch64(&mut cargo)?;
    run(&mut cargo)?;
    let program = workspace::made("device")?.join(DEVICE);
    copy(&workspace::target_dir().join(LINUX).join("release").join(DEVICE), &program)?;
    Ok(program)
}

/// Checks that the program computes the logits of this machine and reports times, on every emulated core.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let program = build_with(arm)?;
    let demo = Demo::new()?;
    let mut tally = Tally::default();
    for core in CORES {
        for threads in ["1", "3"] {
            tally.record(&format!("{core}, threads: {threads}"), check_logits(&program, core, threads, &demo));
        }
        let bench = tools::emulated(&program, core);
        tally.record(&format!("{core}, bench"), bench.and_then(|mut b| check_bench(b.arg("bench").arg(&demo.model))));
    }
    Ok(tally)
}

fn check_logits(program: &Path, core: &str, threads: &str, demo: &Demo) -> Result<()> {
    let mut emulated = tools::emulated(program, core)?;
    emulated.arg("run").arg(&demo.model).args(&demo.pictures).args(["--json", "--threads", threads]);
    let found = demo::logits(&mut emulated)?;
    if found == demo.logits {
        return Ok(());
    }
    Err(format!("`{}` computes the logits {found:?}, this machine computes {:?}", shown(&emulated), demo.logits))
}

/// Checks the report of `resmlp-device bench`, and prints which kernels were chosen. Times in an emulator mean nothing,
/// and the report must say so.
fn check_bench(bench: &mut Command) -> Result<()> {
    let report = report_of(bench.args(["--runs", "2", "--warmup", "1", "--pin", "0", "--json"]))?;
    let after = |part| report.split_once(part).map(|(_, rest)| rest);
    for part in [
        "\"runs\":2,",
        "\"latency_ms\":{\"min\":",
        "\"layers\":[{\"name\":\"stem\"",
        "\"trusted\":false",
        "\"pinned_to\":[0]",
    ] {
        after(part).ok_or_else(|| format!("`{}` reports no {part}: {report}", shown(bench)))?;
    }
    let kernels = after("\"kernels\":\"").and_then(|rest| rest.split_once('"')).map(|(name, _)| name);
    let kernels = kernels.ok_or_else(|| format!("`{}` names no kernels: {report}", shown(bench)))?;
    eprintln!("kernels: {kernels}");
    Ok(())
}
