//! `uf2 PROGRAM.elf OUTPUT.uf2`: turns a program for a Raspberry Pi Pico 2 into the file that its boot loader takes.
//!
//! A Pico 2 that is held in its boot loader shows itself to a PC as a USB drive. A file in the format UF2 that is
//! copied to this drive ends up in the chip's flash memory. `cargo xtask cortex-m` calls this tool; it is useful by
//! itself, too.

mod image;

use std::fs;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, output] = arguments.as_slice() else {
        eprintln!("usage: uf2 PROGRAM.elf OUTPUT.uf2");
        return ExitCode::FAILURE;
    };
    match convert(program, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn convert(program: &str, output: &str) -> Result<(), String> {
    let elf = fs::read(program).map_err(|error| format!("cannot read {program}: {error}"))?;
    let uf2 = image::from_elf(&elf, image::RP2350_ARM_S).map_err(|error| format!("{program}: {error}"))?;
    fs::write(output, uf2).map_err(|error| format!("cannot write {output}: {error}"))
}
