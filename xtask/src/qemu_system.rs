//! Finds and installs the emulators of whole boards.
//!
//! Debian 12's package of these emulators cannot be installed beside the package `qemu-utils` of its backports. No
//! installed package is removed for them: their files are unpacked under `target/tools`, and run from there.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::apt;
use crate::process::{Result, find_program, run};
use crate::workspace;

/// The name of the package, and of the emulator in it that runs 32-bit boards.
pub const NAME: &str = "qemu-system-arm";

/// The emulator in the same package that runs 64-bit boards.
pub const NAME_64: &str = "qemu-system-aarch64";

/// Returns the path of an emulator, installed or unpacked.
pub fn find(name: &str) -> Option<PathBuf> {
    find_program(name).or_else(|| Some(folder().join("usr/bin").join(name)).filter(|path| path.is_file()))
}

/// Returns the folder that the emulators are unpacked in.
fn folder() -> PathBuf {
    workspace::target_dir().join("tools/qemu-system")
}

/// Unpacks the emulators and installs the libraries that they need, if installing their package would remove another
/// one.
pub fn unpack_if_it_conflicts() -> Result<()> {
    if apt::installs_beside_all(NAME) {
        return Ok(());
    }
    let (own, libraries): (Vec<String>, Vec<String>) =
        apt::needed_for(NAME).into_iter().partition(|package| package.starts_with("qemu-system"));
    if own.is_empty() {
        return Ok(());
    }
    eprintln!("installing {NAME} would remove other packages, so it is unpacked under target/tools instead");
    if !libraries.is_empty() {
        apt::install_named(libraries.iter().map(String::as_str))?;
    }
    let unfinished = folder().with_extension("unfinished");
    let failed = |error: std::io::Error| format!("{}: {error}", unfinished.display());
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    fs::create_dir_all(&unfinished).map_err(failed)?;
    run(Command::new("apt-get").args(["download", "-qq"]).args(&own).current_dir(&unfinished))?;
    for file in fs::read_dir(&unfinished).map_err(failed)? {
        let file = file.map_err(failed)?.path();
        if file.extension().is_some_and(|kind| kind == "deb") {
            run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&unfinished))?;
            fs::remove_file(&file).map_err(failed)?;
        }
    }
    fs::rename(&unfinished, folder()).map_err(failed)
}
