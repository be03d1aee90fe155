//! `cargo xtask pi`: builds the image for a Raspberry Pi without an operating system, and checks it on an emulated
//! board. The checks are the tests in `firmware/raspberry_pi/tests`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::copy;
use crate::demo;
use crate::firmware_tests::FirmwareTests;
use crate::packages::{RASPBERRY_PI, RASPBERRY_PI_IMAGE, RASPBERRY_PI_TESTS};
use crate::process::{Result, expect_no_link, run};
use crate::qemu_system;
use crate::tally::Tally;
use crate::targets::AARCH64;
use crate::toolchain::Toolchain;
use crate::tools::{self, Tool};
use crate::workspace;

/// The tools that an emulated run needs.
const TOOLS: [Tool; 2] = [Tool::QemuArm, Tool::DeviceTreeCompiler];

/// The size that the image, without a model, must not exceed, in bytes.
const LARGEST_IMAGE: u64 = 256 << 10;

/// Builds `target/device/kernel8.img` and prints its path.
pub fn build() -> Result<()> {
    println!("{}", build_image(&Toolchain::for_targets(&[AARCH64])?)?.display());
    Ok(())
}

/// Runs the demo's model on four emulated cores and compares what the board prints with the committed transcript, or
/// writes that anew if `overwrite`.
pub fn emulate(overwrite: bool) -> Result<()> {
    tools::ensure(&TOOLS)?;
    build_image(&Toolchain::for_targets(&[AARCH64])?)?;
    let folder = workspace::made("device")?;
    let programs = make_inputs(&folder)?;
    tests(&folder, &programs).show("transcript", overwrite)
}

/// Builds the image, and runs the tests on an emulated board.
pub fn check(arm: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut clippy = arm.cargo("clippy");
    tally.record("clippy", run(choose_image(&mut clippy, "board").args(["--", "--deny", "warnings"])));
    let with_a_panic = expect_no_link(&mut builder(arm, "board,with-a-panic"), "error: a panic is reachable");
    tally.record("the image does not link with a panic", with_a_panic);
    tally.record_failure("build of the image", build_image(arm).map(|_| ()));
    let folder = workspace::made("device")?;
    let programs = make_inputs(&folder)?;
    tally += tests(&folder, &programs).check()?;
    Ok(tally)
}

/// Makes the model and the pictures of the tests, and returns the folder of this machine's programs.
fn make_inputs(folder: &Path) -> Result<PathBuf> {
    demo::write_pictures(folder)?;
    demo::make_model(&folder.join("raspberry-pi-3.rmlp"), "raspberry-pi-3")
}

/// Returns the tests on an emulated board.
fn tests<'a>(firmware: &'a Path, programs: &'a Path) -> FirmwareTests<'a> {
    FirmwareTests { name: RASPBERRY_PI_TESTS, firmware, programs, emulator: qemu_system::NAME_64 }
}

/// Adds the words that choose the image to a cargo command.
fn choose_image<'c>(cargo: &'c mut Command, features: &str) -> &'c mut Command {
    cargo.args(["--profile", "freestanding", "--package", RASPBERRY_PI, "--bin", RASPBERRY_PI_IMAGE]);
    cargo.args(["--features", features, "--target", AARCH64])
}

/// Returns the command that builds the image.
fn builder(toolchain: &Toolchain, features: &str) -> Command {
    let mut cargo = toolchain.cargo("build");
    choose_image(&mut cargo, features);
    // The first feature lets the compiler use unaligned access. The target avoids it, because unaligned access faults
    // while the MMU is off; the image turns the MMU on before anything else, and without unaligned access the kernels
    // take a third more instructions. The second feature avoids erratum 835769 of Cortex-A53, by which a multiplication
    // may give a wrong result. The compiler warns that it does not know these features by name, and passes them on.
    // Erratum 843419 needs no feature: on this target the linker avoids it by itself.
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_NONE_RUSTFLAGS", "-Ctarget-feature=-strict-align,+fix-cortex-a53-835769");
    cargo
}

/// Builds the image and checks its size.
fn build_image(toolchain: &Toolchain) -> Result<PathBuf> {
    let image = workspace::made("device")?.join("kernel8.img");
    // The image of an earlier build is removed first, so that it cannot be mistaken for this one if this build fails.
    if image.exists() {
        fs::remove_file(&image).map_err(|error| format!("cannot remove {}: {error}", image.display()))?;
    }
    run(&mut builder(toolchain, "board"))?;
    copy(&workspace::target_dir().join(AARCH64).join("freestanding").join(RASPBERRY_PI_IMAGE), &image)?;
    let size = fs::metadata(&image).map_err(|error| format!("cannot read {}: {error}", image.display()))?.len();
    if size > LARGEST_IMAGE {
        return Err(format!("{} has {size} bytes, expected {LARGEST_IMAGE} at most", image.display()));
    }
    eprintln!("{} has {size} bytes of at most {LARGEST_IMAGE}", image.display());
    Ok(image)
}
