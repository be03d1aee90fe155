//! Estimates what an inference costs on ARM cores that are not at hand. `cargo xtask arm-count` calls this tool.
//!
//! The tool measures the program `runtime/examples/random_model.rs`, built for aarch64 Linux, in two ways:
//!
//! * `arm-cost instructions` runs it in an emulator that counts executed instructions ([`inference`]). The counts are
//!   exact and the same in every run, but they are not cycles and know nothing of caches.
//! * `arm-cost loops` cuts the inner loops of the matrix products from it, and asks models of the cores how many cycles
//!   a pass takes ([`loops`], [`pairs`]).
//!
//! Each way prints a table in Markdown, and then one line for each check in the form of `cargo test`, so that the same
//! reader counts both. A check fails if something costs more than it may; the limits stand in the two files.

mod inference;
mod instructions;
mod loops;
mod pairs;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Usage:
  arm-cost instructions PROGRAM EMULATOR PLUGIN   executed instructions of one inference on several cores
  arm-cost loops PROGRAM OBJDUMP LLVM-MCA         products a cycle of the inner loops, in models of the cores

PROGRAM is the example `random_model` for aarch64 Linux, EMULATOR a qemu-aarch64 that loads plugins, PLUGIN the library
that is compiled from tools/qemu-plugin/blocks.c.
";

/// A check of something that has a limit, with its outcome.
struct Check {
    name: String,
    /// What exceeds the limit, and by how much.
    outcome: Result<(), String>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let checks = match arguments.as_slice() {
        ["instructions", program, emulator, plugin] => {
            inference::count_all(Path::new(program), emulator, Path::new(plugin))
        }
        ["loops", program, objdump, mca] => loops::check_all(Path::new(program), objdump, mca),
        _ => Err(USAGE.to_owned()),
    };
    match checks {
        Ok(checks) if report(&checks) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the checks as `cargo test` prints tests, and returns whether all of them passed.
fn report(checks: &[Check]) -> bool {
    println!("running {} tests", checks.len());
    for check in checks {
        println!("test {} ... {}", check.name, if check.outcome.is_ok() { "ok" } else { "FAILED" });
    }
    let reasons: Vec<&String> = checks.iter().filter_map(|check| check.outcome.as_ref().err()).collect();
    reasons.iter().for_each(|reason| println!("{reason}"));
    let (passed, failed) = (checks.len() - reasons.len(), reasons.len());
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {verdict}. {passed} passed; {failed} failed\n");
    failed == 0
}
