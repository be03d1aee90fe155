//! Chooses the cargo that builds for ARM: the user's own if it has the targets, or else one that is made from Debian's
//! packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::cargo;
use crate::process::{Result, find_program, output_of, run};
use crate::{debian, sysroot, workspace};

/// A cargo that can build for certain targets.
pub enum Toolchain {
    /// The cargo that runs xtask.
    Current,
    /// A folder with `bin/cargo`, `bin/rustc` and `bin/rustdoc`: see [`sysroot`].
    Folder(PathBuf),
}

impl Toolchain {
    /// Returns a toolchain for these targets, and installs it if there is none.
    ///
    /// The first of these that is possible is done: take the current toolchain, if it has the targets; take Debian's
    /// toolchain, if it is installed; let rustup add the targets to the current toolchain; install Debian's toolchain.
    ///
    /// # Errors
    ///
    /// Returns an error if none of these is possible. The message says what to install.
    pub fn for_targets(targets: &[&str]) -> Result<Self> {
        let current_has_all = || targets.iter().all(|target| current_has(target));
        if current_has_all() {
            return Ok(Self::Current);
        }
        if !debian::is_complete() {
            if rustup_add("target", targets) && current_has_all() {
                return Ok(Self::Current);
            }
            debian::install()?;
        }
        Ok(Self::Folder(sysroot::ensure()?))
    }

    /// Returns `cargo <subcommand>` of this toolchain, in the root of the repository.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let Self::Folder(folder) = self else { return cargo(subcommand) };
        let bin = folder.join("bin");
        // Cargo would find `cargo-clippy` in PATH or in ~/.cargo/bin, and that one would belong to another toolchain.
        let mut command = debian::program(if subcommand == "clippy" { "cargo-clippy" } else { "cargo" });
        command.env("CARGO", debian::program("cargo").get_program()).env("SYSROOT", folder);
        command.env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc"));
        command.arg(subcommand).current_dir(workspace::root());
        command
    }
}

/// Returns the target triple of the machine that runs xtask.
pub fn host() -> Result<String> {
    let version = output_of(Command::new("rustc").arg("-vV")).ok_or("rustc does not run")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    Ok(host.to_string())
}

/// Returns whether the source of the standard library is installed, so that cargo can compile it.
pub fn has_std_source() -> bool {
    let sysroot = output_of(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()));
    sysroot.is_some_and(|folder| Path::new(folder.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file())
}

/// Runs `rustup <kind> add <names>` for the current toolchain. Returns false if there is no rustup or it fails.
pub fn rustup_add(kind: &str, names: &[&str]) -> bool {
    if find_program("rustup").is_none() {
        return false;
    }
    let outcome = run(Command::new("rustup").args([kind, "add"]).args(names).current_dir(workspace::root()));
    if let Err(error) = &outcome {
        eprintln!("note: {error}; the packages of the system are tried instead");
    }
    outcome.is_ok()
}

/// Returns whether the current toolchain can build for a target.
fn current_has(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(workspace::root());
    output_of(&mut rustc).is_some_and(|folder| debian::has_library(Path::new(folder.trim()), "core"))
}
