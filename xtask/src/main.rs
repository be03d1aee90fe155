//! `cargo xtask …`: the one place where builds, emulators and checks are wired. CI calls nothing else.

mod apt;
mod c_library;
mod debian;
mod device;
mod no_panic;
mod process;
mod steps;
mod sysroot;
mod tally;
mod toolchain;
mod tools;
mod workspace;

use std::process::ExitCode;

use process::Result;

const USAGE: &str = "\
Usage: cargo xtask <command>

  test [--quick] [--only STEP]…  everything CI runs; installs what is missing (Debian, Ubuntu, Raspberry Pi OS)
                                 --quick leaves out what needs emulators, --only runs the named steps alone
  device                         target/device/resmlp-device, static, aarch64 Linux

Steps of `test`:
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test", options @ ..] => test(options),
        ["device"] => device::build(),
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

fn test(options: &[&str]) -> Result<()> {
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
    steps::run(&steps::select(quick, &only)?)
}

fn usage() -> String {
    let steps: Vec<String> = steps::all().iter().map(|step| format!("  {:<20} {}\n", step.name, step.about)).collect();
    format!("{USAGE}{}", steps.concat())
}
