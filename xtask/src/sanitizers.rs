//! The runtime's tests under AddressSanitizer and ThreadSanitizer, and its kernels under valgrind.

use std::process::Command;

use crate::process::{Result, output_of, run};
use crate::steps::test;
use crate::tally::Tally;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// Runs all of them.
///
/// The sanitizers are unstable flags, which a stable compiler takes with `RUSTC_BOOTSTRAP`. AddressSanitizer needs no other
/// standard library. ThreadSanitizer would take the standard library's own synchronisation, compiled without it, for races:
/// there the library is rebuilt where its source is installed, and else the step says that it left it out.
pub fn check(_: &Toolchain) -> Result<Tally> {
    let mut tally = with_sanitizer("address", &[])?;
    match has_source() {
        true => tally += with_sanitizer("thread", &["-Zbuild-std"])?,
        false => {
            // The runtime's threads synchronise by atomics of the core library, which are compiled into the tests themselves.
            tally += with_sanitizer("thread", &[])?;
        }
    }
    tally += valgrind()?;
    Ok(tally)
}

fn with_sanitizer(name: &str, options: &[&str]) -> Result<Tally> {
    let host = toolchain::host()?;
    let mut cargo = Toolchain::Current.cargo("test");
    cargo.args(options).args(["--release", "--package", "resmlp-runtime", "--lib", "--tests", "--target", &host]);
    cargo.env("CARGO_TARGET_DIR", workspace::target_dir().join(format!("sanitizer-{name}")));
    let mut flags = format!("-Zsanitizer={name} -Cforce-frame-pointers=yes");
    if name == "thread" && options.is_empty() {
        flags += " -Cunsafe-allow-abi-mismatch=sanitizer";
    }
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", flags);
    cargo.env("TSAN_OPTIONS", "halt_on_error=1").env("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=1");
    test(&mut cargo)
}

/// Whether the compiler's standard library can be rebuilt.
fn has_source() -> bool {
    let sysroot = output_of(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()));
    sysroot.is_some_and(|sysroot| {
        std::path::Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
    })
}

/// Every table that valgrind's CPU has, on a few shapes.
fn valgrind() -> Result<Tally> {
    let mut build = Toolchain::Current.cargo("build");
    run(build.args(["--release", "--package", "resmlp-runtime", "--example", "few_shapes"]))?;
    let mut memcheck = Command::new("valgrind");
    memcheck.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    memcheck.arg(workspace::target_dir().join("release/examples/few_shapes"));
    run(&mut memcheck)?;
    Ok(Tally { passed: 1, ..Tally::default() })
}
