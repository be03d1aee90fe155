//! Finds the files that `cargo xtask` has built for the tests.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, Result};

/// The paths of everything that the tests cannot build themselves.
#[derive(Debug)]
pub struct Inputs {
    /// The images and models that go on the boards (`RESMLP_FIRMWARE`).
    pub firmware: PathBuf,
    /// This machine's `resmlp` and `resmlp-device` (`RESMLP_PROGRAMS`).
    pub programs: PathBuf,
    /// The emulator of the boards (`RESMLP_QEMU`).
    pub qemu: PathBuf,
    /// Whether the committed transcripts are written anew instead of compared (`RESMLP_OVERWRITE`).
    pub overwrite: bool,
}

impl Inputs {
    /// Finds everything by its variable.
    ///
    /// # Errors
    ///
    /// Returns an error if a variable is missing; the message names the variable and the command that sets it.
    pub fn find() -> Result<Self> {
        let advice = "run these tests by `cargo xtask test --only raspberry-pi` or `--only cortex-m`";
        let path = |variable: &str| match std::env::var_os(variable) {
            Some(path) => Ok(PathBuf::from(path)),
            None => Err(Failure::from(format!("the variable {variable} is not set: {advice}"))),
        };
        Ok(Self {
            firmware: path("RESMLP_FIRMWARE")?,
            programs: path("RESMLP_PROGRAMS")?,
            qemu: path("RESMLP_QEMU")?,
            overwrite: std::env::var_os("RESMLP_OVERWRITE").is_some(),
        })
    }

    /// Returns a command that begins with this machine's `resmlp` or `resmlp-device`.
    pub fn program(&self, name: &str) -> Command {
        Command::new(self.programs.join(name))
    }

    /// Returns the logits that this machine computes for each picture: their bits in hexadecimal, as the boards print
    /// them.
    ///
    /// # Errors
    ///
    /// Returns an error if `resmlp-device run` fails or its report holds no logits.
    pub fn logits(&self, model: &Path, pictures: &[impl AsRef<OsStr>]) -> Result<Vec<String>> {
        let report = output(self.program("resmlp-device").arg("run").arg(model).args(pictures).arg("--json"))?;
        let report = String::from_utf8_lossy(&report);
        let lists = report.split("\"logits\":[").skip(1).filter_map(|rest| Some(rest.split_once(']')?.0));
        let logits: Vec<String> = lists.map(bits).collect::<Result<_>>()?;
        if logits.is_empty() {
            Err(format!("`resmlp-device run` reports no logits: {report}").into())
        } else {
            Ok(logits)
        }
    }
}

/// Runs a command and returns what it prints.
///
/// # Errors
///
/// Returns an error if the command does not start or fails; the message holds what it wrote to standard error.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("cannot start {shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(output.stdout)
}

/// Converts a list of numbers in JSON to the bits of f32 numbers in hexadecimal.
fn bits(numbers: &str) -> Result<String> {
    let number = |text: &str| text.parse::<f32>().map(|number| format!("{:08x}", number.to_bits()));
    let bits: std::result::Result<Vec<String>, _> = numbers.split(',').map(number).collect();
    bits.map(|bits| bits.join(" "))
        .map_err(|error| format!("expected a list of numbers, found {numbers}: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_the_bits_that_a_board_prints() {
        assert_eq!(bits("1,-2.5").unwrap(), "3f800000 c0200000");
        assert!(format!("{:?}", bits("1,x").unwrap_err()).contains("1,x"));
    }

    #[test]
    fn the_output_of_a_failing_command_is_an_error_with_its_words() {
        let error = output(Command::new("sh").args(["-c", "echo no model >&2; exit 3"])).unwrap_err();
        let error = format!("{error:?}");
        assert!(error.contains("no model") && error.contains("3"), "{error}");
    }
}
