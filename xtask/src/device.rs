//! `cargo xtask device`: the program that is copied to a Raspberry Pi or a Jetson.

use std::fs;

use crate::process::{Result, run};
use crate::toolchain::{LINUX, Toolchain};
use crate::tools::{self, Tool};
use crate::workspace;

const PACKAGE: &str = "resmlp-device";

/// Builds `target/device/resmlp-device`: statically linked, so it runs whatever the device's C library is.
pub fn build() -> Result<()> {
    tools::ensure(&[Tool::Aarch64Linker])?;
    let mut cargo = Toolchain::for_targets(&[LINUX])?.cargo("build");
    cargo.args(["--release", "--package", PACKAGE, "--target", LINUX]);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    tools::link_for_aarch64(&mut cargo)?;
    run(&mut cargo)?;

    let built = workspace::target_dir().join(LINUX).join("release").join(PACKAGE);
    let folder = workspace::target_dir().join("device");
    let program = folder.join(PACKAGE);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    fs::copy(&built, &program)
        .map_err(|error| format!("cannot copy {} to {}: {error}", built.display(), program.display()))?;
    println!("{}", program.display());
    Ok(())
}
