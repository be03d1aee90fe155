//! Uses the Rust toolchain that Debian packages. It builds for ARM on machines where rustup is missing or cannot
//! download.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::apt::{self, Package};
use crate::process::{Result, output_of};
use crate::targets::LINUX;
use crate::workspace;

/// The sysroot of Debian's compiler, which is the folder that it is installed in.
pub const SYSROOT: &str = "/usr";

/// The packages of Debian's toolchain.
const PACKAGES: [Package; 6] = [
    Package { name: "rustc-web", purpose: "compile for ARM" },
    Package { name: "cargo-web", purpose: "compile for ARM" },
    Package { name: "rust-web-clippy", purpose: "lint the kernels for ARM" },
    Package { name: "rust-web-src", purpose: "build Rust's core library for bare metal" },
    Package { name: "libstd-rust-web-dev:arm64", purpose: "provide Rust's standard library for aarch64 Linux" },
    Package { name: "lld", purpose: "link bare-metal programs" },
];

/// Returns a command for one of the toolchain's programs. The cargo that runs xtask sets variables for its own
/// compiler, and the command does without these.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(Path::new(SYSROOT).join("bin").join(name));
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Returns whether all of Debian's toolchain is installed and new enough.
pub fn is_complete() -> bool {
    let rustlib = Path::new(SYSROOT).join("lib/rustlib");
    // /usr/bin/rustc may also be rustup's, or come from another package. The sysroot shows which one it is.
    let sysroot = output_of(program("rustc").args(["--print", "sysroot"])).unwrap_or_default();
    let version = output_of(program("rustc").arg("--version")).unwrap_or_default();
    let has_programs = ["cargo", "cargo-clippy", "rustdoc", "lld"]
        .iter()
        .all(|name| Path::new(SYSROOT).join("bin").join(name).is_file());
    sysroot.trim() == SYSROOT
        && workspace::accepts_rust(version.trim_start_matches("rustc "))
        && has_programs
        && rustlib.join("src/rust/library/core").is_dir()
        && has_library(&rustlib.join(LINUX).join("lib"), "std")
}

/// Installs all of Debian's toolchain.
///
/// # Errors
///
/// Returns an error if the system has no such packages or they are too old. The message says what to do instead.
pub fn install() -> Result<()> {
    let advice = "no Rust that builds for ARM was found: install one from https://rustup.rs and run this again";
    if !apt::is_there() {
        return Err(advice.to_string());
    }
    apt::update()?;
    match apt::candidate(PACKAGES[0].name) {
        Some(version) if workspace::accepts_rust(&version) => {}
        Some(version) => {
            return Err(format!("{advice} (the version that this system packages, {version}, is too old)"));
        }
        None => return Err(format!("{advice} (this system has no package called {})", PACKAGES[0].name)),
    }
    if apt::add_architecture("arm64")? {
        apt::update()?;
    }
    apt::install(&PACKAGES)?;
    if is_complete() {
        Ok(())
    } else {
        Err(format!("{advice} (the packages of this system were installed, but are not complete)"))
    }
}

/// Returns whether the folder holds the compiled library `name` of a Rust toolchain.
pub fn has_library(folder: &Path, name: &str) -> bool {
    let prefix = format!("lib{name}-");
    let is_it = |file: OsString| {
        let file = file.to_string_lossy();
        file.starts_with(&prefix) && file.ends_with(".rlib")
    };
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_it(entry.file_name())))
}
