//! `bindings/c`: the static library, its example in C, and its header in C++; on this machine and for aarch64 Linux.

use std::path::PathBuf;
use std::process::Command;

use crate::device::{self, report_of};
use crate::process::{Result, run, shown};
use crate::tally::Tally;
use crate::toolchain::{self, LINUX, Toolchain};
use crate::{tools, workspace};

const PACKAGE: &str = "resmlp-c";
const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"];

/// Builds and runs the example: its logits must be those of the Rust program, bit for bit.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let pictures = device::demo_pictures()?;
    let (model, expected) = device::demo(&pictures)?;
    let host = toolchain::host()?;
    let mut tally = Tally::default();
    let mut compare = |mut example: Command| -> Result<()> {
        let found = logits(example.arg(&model).args(&pictures))?;
        let expected: Vec<u32> = expected.iter().flat_map(|logits| numbers(logits)).collect();
        if found != expected {
            return Err(format!("`{}` has other logits than the Rust program", shown(&example)));
        }
        tally.passed += 1;
        Ok(())
    };

    compiles_as_cxx()?;
    let here = build(&Toolchain::Current, &host, "cc")?;
    for threads in ["1", "3"] {
        let mut example = Command::new(&here);
        example.arg(threads);
        compare(example)?;
    }
    let there = build(arm, LINUX, if host == LINUX { "cc" } else { tools::AARCH64_GCC })?;
    for core in device::CORES {
        let mut example = tools::emulated(&there, core)?;
        example.arg("2");
        compare(example)?;
    }
    Ok(tally)
}

/// Links the example with the library. That it links also says that no panic can be reached.
fn build(toolchain: &Toolchain, target: &str, compiler: &str) -> Result<PathBuf> {
    // As a static library alone: with a Rust library beside it there is no optimisation of the whole.
    let mut cargo = toolchain.cargo("rustc");
    cargo.args([
        "--crate-type",
        "staticlib",
        "--profile",
        "freestanding",
        "--package",
        PACKAGE,
        "--no-default-features",
        "--features",
        "hosted",
    ]);
    run(cargo.args(["--target", target]))?;
    let library = workspace::target_dir().join(target).join("freestanding/libresmlp.a");
    let program = workspace::made("c")?.join(format!("classify-{target}"));
    let mut cc = Command::new(compiler);
    cc.arg("-std=c99").args(WARNINGS).arg("-static").arg("-o").arg(&program);
    cc.arg("-I").arg(package().join("include")).arg(package().join("example/classify.c")).arg(library).arg("-pthread");
    run(&mut cc)?;
    Ok(program)
}

fn compiles_as_cxx() -> Result<()> {
    let mut cxx = Command::new("c++");
    cxx.arg("-std=c++11").args(WARNINGS).arg("-I").arg(package().join("include"));
    cxx.arg("-c").arg(package().join("example/header.cpp")).arg("-o").arg(workspace::made("c")?.join("header.o"));
    run(&mut cxx)
}

fn package() -> PathBuf {
    workspace::root().join("bindings/c")
}

/// The bits of all logits, which the example prints in lines of their own.
fn logits(example: &mut Command) -> Result<Vec<u32>> {
    let report = report_of(example)?;
    let lines = report.lines().filter_map(|line| line.strip_prefix("logits "));
    Ok(lines.flat_map(numbers).collect())
}

fn numbers(text: &str) -> Vec<u32> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    words.filter_map(|word| word.parse().ok()).map(f32::to_bits).collect()
}
