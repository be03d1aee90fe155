//! Runs the firmware's tests on emulated boards, which are tests of cargo's in `firmware/`. They find what was built
//! for them by the variables that `firmware/emulation` describes.

use std::path::Path;
use std::process::Command;

use crate::cargo::cargo;
use crate::cargo_test::run_ignored;
use crate::process::{Result, run};
use crate::qemu_system;
use crate::tally::Tally;

/// The tests of one kind of board, and what they find by the variables.
pub struct FirmwareTests<'a> {
    /// The name of the test program.
    pub name: &'a str,
    /// The folder of the images and models.
    pub firmware: &'a Path,
    /// The folder of this machine's `resmlp` and `resmlp-device`.
    pub programs: &'a Path,
    /// The emulator's name.
    pub emulator: &'a str,
}

impl FirmwareTests<'_> {
    /// Runs all of the tests.
    pub fn check(&self) -> Result<Tally> {
        run_ignored(&self.cargo()?, &[])
    }

    /// Runs the tests whose names contain `filter`, and shows what the boards print. The committed transcripts are
    /// written anew if `overwrite`.
    pub fn show(&self, filter: &str, overwrite: bool) -> Result<()> {
        let mut cargo = self.cargo()?;
        if overwrite {
            cargo.env("RESMLP_OVERWRITE", "1");
        }
        run(cargo.args(["--", "--ignored", "--nocapture", "--test-threads=1", filter]))
    }

    fn cargo(&self) -> Result<Command> {
        let emulator = self.emulator;
        let qemu = qemu_system::find(emulator).ok_or_else(|| format!("the emulator {emulator} is not installed"))?;
        let mut cargo = cargo("test");
        cargo.args(["--release", "--workspace", "--test", self.name]);
        cargo.env("RESMLP_FIRMWARE", self.firmware).env("RESMLP_PROGRAMS", self.programs).env("RESMLP_QEMU", qemu);
        Ok(cargo)
    }
}
