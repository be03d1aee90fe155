//! Debian's own Rust, which builds for ARM on machines where rustup is missing or cannot download.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::apt::{self, Package};
use crate::process::{Result, output_of};
use crate::toolchain::LINUX;
use crate::workspace;

/// Where Debian's compiler is installed: its sysroot.
pub const SYSROOT: &str = "/usr";

/// What it consists of.
const PACKAGES: [Package; 6] = [
    Package { name: "rustc-web", purpose: "compile for ARM" },
    Package { name: "cargo-web", purpose: "compile for ARM" },
    Package { name: "rust-web-clippy", purpose: "lint the kernels for ARM" },
    Package { name: "rust-web-src", purpose: "build Rust's core library for bare metal" },
    Package { name: "libstd-rust-web-dev:arm64", purpose: "have Rust's standard library for aarch64 Linux" },
    Package { name: "lld", purpose: "link bare-metal programs" },
];

/// One of the toolchain's programs, free of what the cargo that runs xtask has set for its own compiler.
pub fn program(name: &str) -> Command {
    let mut command = Command::new(Path::new(SYSROOT).join("bin").join(name));
    command.env_remove("LD_LIBRARY_PATH").env_remove("RUSTUP_TOOLCHAIN");
    command
}

/// Whether all of it is installed, and new enough.
pub fn is_complete() -> bool {
    let rustlib = Path::new(SYSROOT).join("lib/rustlib");
    // /usr/bin/rustc may also be rustup, or a package of another make.
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

/// Installs all of it.
///
/// Fails where the system has no such packages or they are too old; the message says what to do instead.
pub fn install() -> Result<()> {
    let advice = "no Rust that builds for ARM: install it from https://rustup.rs and run this again";
    if !apt::is_there() {
        return Err(advice.to_string());
    }
    apt::update()?;
    match apt::candidate(PACKAGES[0].name) {
        Some(version) if workspace::accepts_rust(&version) => {}
        Some(version) => return Err(format!("{advice} (this system's own, {version}, is too old)")),
        None => return Err(format!("{advice} (this system has no package {})", PACKAGES[0].name)),
    }
    if apt::add_architecture("arm64")? {
        apt::update()?;
    }
    apt::install(&PACKAGES)?;
    if is_complete() { Ok(()) } else { Err(format!("{advice} (Debian's packages do not suffice)")) }
}

/// Whether the folder holds the compiled library `name` of a Rust toolchain.
pub fn has_library(folder: &Path, name: &str) -> bool {
    let prefix = format!("lib{name}-");
    let is_it = |file: OsString| {
        let file = file.to_string_lossy();
        file.starts_with(&prefix) && file.ends_with(".rlib")
    };
    fs::read_dir(folder).is_ok_and(|entries| entries.flatten().any(|entry| is_it(entry.file_name())))
}
