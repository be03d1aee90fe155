//! Builds programs of this workspace for the machine that runs xtask.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Result, run};
use crate::workspace;

/// Returns `cargo <subcommand>` of the current toolchain, in the repository's root.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg(subcommand).current_dir(workspace::root());
    command
}

/// Builds programs of any package, in the release profile, and returns the folder that holds them.
///
/// Cargo chooses the features of the dependencies for the whole workspace here, as it does for `cargo test
/// --workspace`. With `--package` it would choose others, and compile the runtime and the converter a second time.
pub fn build_programs(names: &[&str]) -> Result<PathBuf> {
    let mut build = cargo("build");
    build.args(["--release", "--workspace"]).args(names.iter().flat_map(|name| ["--bin", name]));
    run(&mut build)?;
    Ok(workspace::target_dir().join("release"))
}

/// Builds an example of any package, in the release profile, and returns its path.
pub fn build_example(name: &str) -> Result<PathBuf> {
    run(cargo("build").args(["--release", "--workspace", "--example", name]))?;
    Ok(workspace::target_dir().join("release/examples").join(name))
}

/// Copies a file that cargo has built.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = std::fs::copy(from, to).map(|_| ());
    copied.map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), to.display()))
}
