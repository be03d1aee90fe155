//! The runtime's tests under AddressSanitizer, its threads under ThreadSanitizer, and its kernels under valgrind.

use std::process::Command;

use crate::cargo_test::test;
use crate::process::{Result, run};
use crate::tally::Tally;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// Runs a few models of all precisions on every kernel table, alone and on threads.
const EXAMPLE: &str = "few_shapes";

/// Runs all of them. The sanitizers are unstable flags, which a stable compiler takes with `RUSTC_BOOTSTRAP`.
pub fn check(_: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    for (name, check) in [("AddressSanitizer", address as fn() -> Result<Tally>), ("ThreadSanitizer", thread)] {
        match check() {
            Ok(counted) => tally += counted,
            Err(reason) => tally.record(name, Err(reason)),
        }
    }
    tally.record("valgrind", valgrind());
    Ok(tally)
}

/// The runtime's tests: every table that the CPU has, engines on many threads, workers that panic.
fn address() -> Result<Tally> {
    let mut cargo = with_sanitizer("test", "address", "")?;
    cargo.args(["--package", "resmlp-runtime", "--lib", "--tests"]);
    test(cargo.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1"))
}

/// The runtime's tests where the standard library's source is at hand (`rustup component add rust-src`) and can be instrumented.
/// Else the example alone: the sanitizer takes what the test harness does with channels, and scopes with their threads, for races.
/// Our threads hand their work over by atomics that are compiled into the program.
fn thread() -> Result<Tally> {
    if toolchain::has_std_source() {
        let mut cargo = with_sanitizer("test", "thread", "")?;
        cargo.args(["-Zbuild-std", "--package", "resmlp-runtime", "--lib", "--tests"]);
        return test(&mut cargo);
    }
    let mut cargo = with_sanitizer("run", "thread", "-Cunsafe-allow-abi-mismatch=sanitizer")?;
    cargo.args(["--package", "resmlp-runtime", "--example", EXAMPLE]);
    run(cargo.env("TSAN_OPTIONS", "halt_on_error=1"))?;
    Ok(Tally::passed(1))
}

fn with_sanitizer(subcommand: &str, name: &str, flags: &str) -> Result<Command> {
    let mut cargo = Toolchain::Current.cargo(subcommand);
    cargo.args(["--release", "--target", &toolchain::host()?]);
    cargo.env("CARGO_TARGET_DIR", workspace::target_dir().join(format!("sanitizer-{name}")));
    let flags = format!("-Zsanitizer={name} -Cforce-frame-pointers=yes {flags}");
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags.trim_end());
    Ok(cargo)
}

/// Every table that valgrind's CPU has.
fn valgrind() -> Result<()> {
    let mut build = Toolchain::Current.cargo("build");
    run(build.args(["--release", "--package", "resmlp-runtime", "--example", EXAMPLE]))?;
    let mut memcheck = Command::new("valgrind");
    memcheck.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    run(memcheck.arg(workspace::target_dir().join("release/examples").join(EXAMPLE)))
}
