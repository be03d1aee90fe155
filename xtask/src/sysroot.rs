//! Makes a toolchain folder from Debian's compiler and a core library for bare metal, which Debian does not package.
//!
//! `core` and `alloc` are compiled once, offline, from Debian's copy of Rust's source. After that the folder works like
//! a toolchain of rustup's: a plain `cargo build --target …` suffices, without unstable options.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::debian::{self, SYSROOT};
use crate::process::{Result, output_of, run};
use crate::targets::{BARE_METAL, LINUX};
use crate::workspace;

/// The version of this file. Raise it with every change after which the folder has to be made anew.
const RECIPE: &str = "1";

/// Returns the folder, and makes it anew if Debian's compiler has changed since it was made.
///
/// All of Debian's toolchain has to be installed: see [`debian::is_complete`].
pub fn ensure() -> Result<PathBuf> {
    let folder = workspace::target_dir().join("cross-toolchain");
    let compiler = output_of(debian::program("rustc").arg("-vV")).ok_or("Debian's rustc does not run")?;
    let stamp = format!("recipe {RECIPE}\n{compiler}");
    if fs::read_to_string(folder.join("stamp")).is_ok_and(|found| found == stamp) {
        return Ok(folder);
    }
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    make(&folder, host).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    fs::write(folder.join("stamp"), stamp).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Makes the folder from nothing.
fn make(folder: &Path, host: &str) -> Result<()> {
    eprintln!("Building Rust's core library for bare metal, which takes two minutes and is kept:");
    remove(folder)?;
    link_compiler(folder, host).map_err(|error| error.to_string())?;
    let built = build_core(&folder.join("build"))?;
    for target in BARE_METAL {
        let library = folder.join("lib/rustlib").join(target).join("lib");
        copy_libraries(&built.join(target).join("release/deps"), &library).map_err(|error| error.to_string())?;
        // Programs that were compiled against the previous libraries would not link any more.
        remove(&workspace::target_dir().join(target))?;
    }
    remove(&folder.join("build"))
}

/// Fills the folder with wrappers and links, so that everything but the libraries for bare metal is Debian's own.
fn link_compiler(folder: &Path, host: &str) -> std::io::Result<()> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    symlink(Path::new(SYSROOT).join("bin/cargo"), bin.join("cargo"))?;
    for tool in ["rustc", "rustdoc"] {
        let script = format!("#!/bin/sh\nexec {SYSROOT}/bin/{tool} --sysroot \"{}\" \"$@\"\n", folder.display());
        fs::write(bin.join(tool), script)?;
        fs::set_permissions(bin.join(tool), fs::Permissions::from_mode(0o755))?;
    }
    let (from, to) = (Path::new(SYSROOT).join("lib/rustlib"), folder.join("lib/rustlib"));
    fs::create_dir_all(to.join(host).join("bin"))?;
    symlink(Path::new(SYSROOT).join("bin/lld"), to.join(host).join("bin/rust-lld"))?;
    symlink(from.join(host).join("lib"), to.join(host).join("lib"))?;
    if host != LINUX {
        symlink(from.join(LINUX), to.join(LINUX))?;
    }
    Ok(())
}

/// Compiles `core` and `alloc` for all of [`BARE_METAL`], and returns the folder that has one folder for each target.
fn build_core(package: &Path) -> Result<PathBuf> {
    let write = |name: &str, text: &str| {
        fs::write(package.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))
    };
    fs::create_dir_all(package.join(".cargo")).map_err(|error| error.to_string())?;
    // The few crates that Rust's library uses are in a folder beside it.
    let vendored = format!("{SYSROOT}/lib/rustlib/src/rust/library/vendor");
    let sources = format!("source.crates-io.replace-with = \"vendored\"\nsource.vendored.directory = \"{vendored}\"\n");
    write(".cargo/config.toml", &sources)?;
    write("Cargo.toml", "[package]\nname = \"empty\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n")?;
    write("lib.rs", "#![no_std]\n")?;

    let target_dir = package.join("target");
    let rustc = debian::program("rustc");
    let mut cargo = debian::program("cargo");
    cargo.args(["build", "--quiet", "--release", "--offline", "-Zbuild-std=core,alloc"]);
    cargo.args(BARE_METAL.iter().flat_map(|target| ["--target", target]));
    cargo.current_dir(package).env("CARGO_TARGET_DIR", &target_dir).env("RUSTC", rustc.get_program());
    // Bitcode in the libraries lets firmware be built with link-time optimisation.
    cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Cembed-bitcode=yes");
    run(&mut cargo)?;
    Ok(target_dir)
}

/// Copies the compiled libraries of one target.
fn copy_libraries(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let is_library = name.ends_with(".rlib") || name.ends_with(".rmeta");
        // The folder also holds the empty library that the others were compiled for.
        if is_library && !name.starts_with("libempty-") {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

/// Removes a folder, if it exists.
fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    Ok(())
}
