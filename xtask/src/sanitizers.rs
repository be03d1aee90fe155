//! Runs the runtime's tests under AddressSanitizer, its threads under ThreadSanitizer, and its kernels under valgrind.

use std::process::Command;

use crate::cargo::{self, cargo};
use crate::cargo_test::test;
use crate::packages::{FEW_SHAPES, RUNTIME};
use crate::process::{Result, run};
use crate::tally::Tally;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// Runs all three. The sanitizers are unstable flags of the compiler, which a stable one accepts with
/// `RUSTC_BOOTSTRAP`.
pub fn check(_: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    tally.record_all("AddressSanitizer", address());
    tally.record_all("ThreadSanitizer", thread());
    tally.record("valgrind", valgrind());
    Ok(tally)
}

/// Runs the runtime's tests under AddressSanitizer: every table of kernels that the CPU has, engines on many threads,
/// and workers that panic.
fn address() -> Result<Tally> {
    let mut cargo = with_sanitizer("test", "address", "")?;
    cargo.args(["--package", RUNTIME, "--lib", "--tests"]);
    test(cargo.env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1"))
}

/// Runs the runtime's tests under ThreadSanitizer if the source of the standard library is installed
/// (`rustup component add rust-src`), so that it can be instrumented, too.
///
/// Without the source only an example runs. In a library that is not instrumented, the sanitizer sees races where there
/// are none: in the channels of the test harness, and between a scope and its threads. The example's threads hand over
/// their work by atomics, which are compiled into the program and are instrumented.
fn thread() -> Result<Tally> {
    if toolchain::has_std_source() {
        let mut cargo = with_sanitizer("test", "thread", "")?;
        cargo.args(["-Zbuild-std", "--package", RUNTIME, "--lib", "--tests"]);
        return test(&cargo);
    }
    let mut cargo = with_sanitizer("run", "thread", "-Cunsafe-allow-abi-mismatch=sanitizer")?;
    cargo.args(["--package", RUNTIME, "--example", FEW_SHAPES]);
    run(cargo.env("TSAN_OPTIONS", "halt_on_error=1"))?;
    Ok(Tally::passed(1))
}

/// Returns a cargo command that builds with a sanitizer, in a folder of its own.
fn with_sanitizer(subcommand: &str, name: &str, flags: &str) -> Result<Command> {
    let mut cargo = cargo(subcommand);
    cargo.args(["--release", "--target", &toolchain::host()?]);
    cargo.env("CARGO_TARGET_DIR", workspace::target_dir().join(format!("sanitizer-{name}")));
    let flags = format!("-Zsanitizer={name} -Cforce-frame-pointers=yes {flags}");
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags.trim_end());
    Ok(cargo)
}

/// Runs an example under valgrind, with every table of kernels that valgrind's CPU has.
fn valgrind() -> Result<()> {
    let example = cargo::build_example(FEW_SHAPES)?;
    let mut memcheck = Command::new("valgrind");
    memcheck.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    run(memcheck.arg(example))
}
