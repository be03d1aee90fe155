//! Checks `bindings/c`: the static library and its example in C, on this machine and for aarch64 Linux, and its header
//! in C++.

use std::path::PathBuf;
use std::process::Command;

use crate::demo::Demo;
use crate::packages::C_LIBRARY;
use crate::process::{Result, report_of, run, shown};
use crate::tally::Tally;
use crate::targets::LINUX;
use crate::toolchain::{self, Toolchain};
use crate::{device, tools, workspace};

/// The flags with which the C and C++ compilers accept the example and the header without a warning.
const WARNINGS: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2"];

/// Builds and runs the example. Its logits must be those of the Rust program, bit for bit.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let demo = Demo::new()?;
    let host = toolchain::host()?;
    let mut tally = Tally::default();
    tally.record("the header in C++", compiles_as_cxx());

    let here = build(&Toolchain::Current, &host, "cc")?;
    for threads in ["1", "3"] {
        let mut example = Command::new(&here);
        example.arg(threads);
        tally.record(&format!("the example here, threads: {threads}"), compare(example, &demo));
    }
    let there = build(arm, LINUX, if host == LINUX { "cc" } else { tools::AARCH64_GCC })?;
    for core in device::CORES {
        let example = tools::emulated(&there, core).map(|mut example| {
            example.arg("2");
            example
        });
        tally.record(&format!("the example on {core}"), example.and_then(|example| compare(example, &demo)));
    }
    Ok(tally)
}

/// Runs the example and compares its logits with those of the Rust program.
fn compare(mut example: Command, demo: &Demo) -> Result<()> {
    let found = logits(example.arg(&demo.model).args(&demo.pictures))?;
    let expected: Vec<u32> = demo.logits.iter().flat_map(|logits| numbers(logits)).collect();
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "`{}` computes other logits than the Rust program: {found:x?}, expected {expected:x?}",
        shown(&example)
    ))
}

/// Links the example with the library, and returns the program. It links only if no panic can be reached in the
/// library.
fn build(toolchain: &Toolchain, target: &str, compiler: &str) -> Result<PathBuf> {
    // The static library is built alone. Beside a Rust library, the compiler would not optimise it as a whole.
    let mut cargo = toolchain.cargo("rustc");
    cargo.args([
        "--crate-type",
        "staticlib",
        "--profile",
        "freestanding",
        "--package",
        C_LIBRARY,
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

/// Compiles the header as C++.
fn compiles_as_cxx() -> Result<()> {
    let mut cxx = Command::new("c++");
    cxx.arg("-std=c++11").args(WARNINGS).arg("-I").arg(package().join("include"));
    cxx.arg("-c").arg(package().join("example/header.cpp")).arg("-o").arg(workspace::made("c")?.join("header.o"));
    run(&mut cxx)
}

/// Returns the folder of the library.
fn package() -> PathBuf {
    workspace::root().join("bindings/c")
}

/// Returns the bits of all logits, which the example prints in lines of their own.
fn logits(example: &mut Command) -> Result<Vec<u32>> {
    let report = report_of(example)?;
    let lines = report.lines().filter_map(|line| line.strip_prefix("logits "));
    Ok(lines.flat_map(numbers).collect())
}

/// Returns the bits of all numbers in a text.
fn numbers(text: &str) -> Vec<u32> {
    let words = text.split([' ', ',']).filter(|word| !word.is_empty());
    words.filter_map(|word| word.parse().ok()).map(f32::to_bits).collect()
}
