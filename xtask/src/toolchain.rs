//! Which cargo builds for ARM: the user's own where it can, else one made of Debian's packages.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, find_program, output_of, run};
use crate::{debian, sysroot, workspace};

/// Raspberry Pi OS and Jetson.
pub const LINUX: &str = "aarch64-unknown-linux-gnu";
/// Raspberry Pi without an operating system, Cortex-M4/M7, Cortex-M33.
pub const BARE_METAL: [&str; 3] = ["aarch64-unknown-none", "thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

/// A cargo that can build for certain targets.
pub enum Toolchain {
    /// The one that runs xtask.
    Current,
    /// A folder with `bin/cargo`, `bin/rustc` and `bin/rustdoc`: see [`sysroot`].
    Folder(PathBuf),
}

impl Toolchain {
    /// A toolchain for these targets; installs what it takes, and does nothing where all is there.
    ///
    /// In this order: the current toolchain has the targets; Debian's is installed; rustup can add the targets;
    /// Debian's can be installed.
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

    /// `cargo <subcommand>` of this toolchain, in the repository's root.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = match self {
            Self::Current => Command::new("cargo"),
            Self::Folder(folder) => {
                let bin = folder.join("bin");
                // Found through PATH or ~/.cargo/bin, `cargo clippy` would be another toolchain's.
                let mut cargo = debian::program(if subcommand == "clippy" { "cargo-clippy" } else { "cargo" });
                cargo.env("CARGO", debian::program("cargo").get_program()).env("SYSROOT", folder);
                cargo.env("RUSTC", bin.join("rustc")).env("RUSTDOC", bin.join("rustdoc"));
                cargo
            }
        };
        command.arg(subcommand).current_dir(workspace::root());
        command
    }
}

/// The triple of the machine that we run on.
pub fn host() -> Result<String> {
    let version = output_of(Command::new("rustc").arg("-vV")).ok_or("rustc does not run")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    Ok(host.to_string())
}

/// Whether cargo can compile the standard library anew.
pub fn has_std_source() -> bool {
    let sysroot = output_of(Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()));
    sysroot.is_some_and(|folder| Path::new(folder.trim()).join("lib/rustlib/src/rust/library/Cargo.lock").is_file())
}

/// `rustup <kind> add <names>` for the current toolchain; false where there is no rustup or it fails.
pub fn rustup_add(kind: &str, names: &[&str]) -> bool {
    if find_program("rustup").is_none() {
        return false;
    }
    let outcome = run(Command::new("rustup").args([kind, "add"]).args(names).current_dir(workspace::root()));
    if let Err(error) = &outcome {
        eprintln!("note: {error}; trying the system's packages instead");
    }
    outcome.is_ok()
}

fn current_has(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(workspace::root());
    output_of(&mut rustc).is_some_and(|folder| debian::has_library(Path::new(folder.trim()), "core"))
}
