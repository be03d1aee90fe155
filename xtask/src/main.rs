//! `cargo xtask …`: the one place where builds, emulators and checks are wired. CI calls nothing else.

mod apt;
mod arm_count;
mod c_library;
mod cargo_test;
mod cortex_m;
mod debian;
mod device;
mod emulator;
mod errata;
mod fuzz;
mod no_panic;
mod pi;
mod process;
mod qemu_system;
mod sanitizers;
mod step;
mod steps;
mod supply_chain;
mod sysroot;
mod tally;
mod toolchain;
mod tools;
mod transcript;
mod uf2;
mod workspace;

use std::process::ExitCode;

use process::Result;

const USAGE: &str = "\
Usage: cargo xtask <command>

  test [--quick] [--only STEP]…  everything CI runs; installs what is missing (Debian, Ubuntu, Raspberry Pi OS)
                                 --quick leaves out what needs emulators, --only runs the named steps alone
  device                         target/device/resmlp-device, static, aarch64 Linux
  arm-count                      instructions per inference on emulated ARM cores, and the inner loops in models of cores
  cortex-m [--model MODEL.rmlp --picture PICTURE.ppm]
                                 target/device/cortex-m/<board>.elf, and pico2.uf2: with the demo's model, or another
  qemu cortex-m [--overwrite]    runs them, emulated, and compares what they print with the committed transcripts,
                                 or renews these
  pi                             target/device/kernel8.img, for a Raspberry Pi without an operating system
  qemu pi [--overwrite]          runs it, emulated, and compares what it prints with the committed transcript,
                                 or renews that
  fuzz [SECONDS]                 fuzzes every target for so long, 600 by default; see SECURITY.md

Steps of `test`:
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test", options @ ..] => match test(options) {
            // The report has told what failed, and its last line is to stay the last one.
            Ok(false) => return ExitCode::FAILURE,
            outcome => outcome.map(|_| ()),
        },
        ["device"] => device::build(),
        ["arm-count"] => arm_count::print(),
        ["cortex-m", options @ ..] => cortex_m::build(options),
        ["qemu", "cortex-m"] => cortex_m::emulate(false),
        ["qemu", "cortex-m", "--overwrite"] => cortex_m::emulate(true),
        ["pi"] => pi::build(),
        ["qemu", "pi"] => pi::emulate(false),
        ["qemu", "pi", "--overwrite"] => pi::emulate(true),
        ["fuzz"] => fuzz_for("600"),
        ["fuzz", seconds] => fuzz_for(seconds),
        [] | ["help" | "-h" | "--help"] => {
            print!("{}", usage());
            Ok(())
        }
        [unknown, ..] => Err(format!("`{unknown}` is no command, or has options that it does not know\n\n{}", usage())),
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
            "--only" => only.push(*options.next().ok_or("--only wants the name of a step")?),
            other => return Err(format!("`test` has no option `{other}`\n\n{}", usage())),
        }
    }
    Ok(step::run(&steps::select(quick, &only)?))
}

fn fuzz_for(seconds: &str) -> Result<()> {
    let seconds = seconds.parse().map_err(|_| format!("`{seconds}` is no number of seconds"))?;
    tools::ensure(&[tools::Tool::Fuzzer])?;
    fuzz::all(seconds)
}

fn usage() -> String {
    let steps: Vec<String> = steps::all().iter().map(|step| format!("  {:<20} {}\n", step.name, step.about)).collect();
    format!("{USAGE}{}", steps.concat())
}
