//! `cargo xtask …`: the one place where builds, emulators and checks are wired together. CI calls nothing else.
//!
//! The files form three layers, each of which uses only the layers below it:
//!
//! * commands: `main` reads the command line, `steps` lists the steps of `cargo xtask test`, `step` runs them, and
//!   there is one file for each thing that is built or checked (`device`, `raspberry_pi`, `cortex_m`, `c_library`,
//!   `no_panic`, `arm_count`, `fuzz`, `sanitizers`, `supply_chain`)
//! * running cargo's tests: `cargo_test`, `tally`, `needs`, `firmware_tests`, and the demo's model in `demo`
//! * the machine: `tools` and `toolchain` install what is missing, by `apt`, `debian`, `sysroot` and `qemu_system`;
//!   all of them use `cargo`, `process`, `workspace`, `packages` and `targets`

mod apt;
mod arm_count;
mod c_library;
mod cargo;
mod cargo_test;
mod cortex_m;
mod debian;
mod demo;
mod device;
#[cfg(test)]
mod documents;
mod firmware_tests;
mod fuzz;
mod needs;
mod no_panic;
mod packages;
mod process;
mod qemu_system;
mod raspberry_pi;
mod sanitizers;
mod step;
mod steps;
mod supply_chain;
mod sysroot;
mod tally;
mod targets;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use process::Result;

const USAGE: &str = "\
Builds and checks this project. On Debian, Ubuntu and Raspberry Pi OS, missing tools are installed first.

Usage: cargo xtask COMMAND

Check the project:
  test                  Run everything that CI runs. Every step runs, and the last lines of the output
                        list all failures.
    --quick             Leave out the steps that need an emulator.
    --only STEP         Run only this step. The option can be given several times.
  fuzz [SECONDS]        Fuzz every target for this long; the default is 600 seconds. SECURITY.md
                        describes the targets.
  arm-count             Count the instructions of an inference on emulated ARM cores, and estimate the
                        cycles of the inner loops.

Build for boards, into target/device/:
  device                Build resmlp-device, a static program for 64-bit ARM Linux such as Raspberry Pi OS.
  pi                    Build kernel8.img, the image for a Raspberry Pi without an operating system.
  cortex-m              Build a program for each microcontroller board, with the demo's model in it, and
                        pico2.uf2, which is copied to a Pico 2.
    --model MODEL.rmlp --picture PICTURE.ppm
                        Put this model and this picture into the programs instead.

Run on emulated boards, and compare what they print with the committed transcripts:
  qemu pi               Run the image on a Raspberry Pi 3.
  qemu cortex-m         Run the programs on a Cortex-M4, an M7 and an M33.
    --overwrite         Replace the committed transcripts instead.

Steps of `test`, with the sentence that each of them checks:
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test", options @ ..] => match test(options) {
            // The report has listed the failures, and scripts expect its last line to be the last one of all.
            Ok(false) => return ExitCode::FAILURE,
            outcome => outcome.map(|_| ()),
        },
        ["device"] => device::build(),
        ["arm-count"] => arm_count::print(),
        ["cortex-m", options @ ..] => cortex_m::build(options),
        ["qemu", "cortex-m"] => cortex_m::emulate(false),
        ["qemu", "cortex-m", "--overwrite"] => cortex_m::emulate(true),
        ["pi"] => raspberry_pi::build(),
        ["qemu", "pi"] => raspberry_pi::emulate(false),
        ["qemu", "pi", "--overwrite"] => raspberry_pi::emulate(true),
        ["fuzz"] => fuzz_for("600"),
        ["fuzz", seconds] => fuzz_for(seconds),
        [] | ["help" | "-h" | "--help"] => {
            print!("{}", usage());
            Ok(())
        }
        words => {
            Err(format!("`cargo xtask {}` is not a command; `cargo xtask help` lists all commands", words.join(" ")))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the chosen steps and returns whether all of them passed.
fn test(options: &[&str]) -> Result<bool> {
    let mut quick = false;
    let mut only = Vec::new();
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match *option {
            "--quick" => quick = true,
            "--only" => only.push(
                *options
                    .next()
                    .ok_or("`--only` needs the name of a step behind it; `cargo xtask help` lists the steps")?,
            ),
            other => return Err(format!("`test` has no option `{other}`; `cargo xtask help` lists its options")),
        }
    }
    Ok(step::run(&steps::select(quick, &only)?))
}

/// Fuzzes every target.
fn fuzz_for(seconds: &str) -> Result<()> {
    let seconds = seconds.parse().map_err(|_| format!("`fuzz` takes a whole number of seconds, found `{seconds}`"))?;
    tools::ensure(&[tools::Tool::Fuzzer])?;
    match fuzz::all(seconds)?.failures.len() {
        0 => Ok(()),
        failed => Err(format!("{failed} fuzz targets failed; each failure is described above")),
    }
}

/// Returns the help text, with the steps of `test`.
fn usage() -> String {
    let steps: Vec<String> = steps::all().iter().map(|step| format!("  {:<20}  {}\n", step.name, step.about)).collect();
    format!("{USAGE}{}", steps.concat())
}
