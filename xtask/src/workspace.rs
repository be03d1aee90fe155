//! Knows the folders of this repository and the release of Rust that it requires.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::process::Result;

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Returns cargo's output folder.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Returns a folder in cargo's output folder, and creates the folder if it does not exist.
pub fn made(name: &str) -> Result<PathBuf> {
    let folder = target_dir().join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    Ok(folder)
}

/// Returns whether a release of Rust is new enough for the workspace. `release` is a version such as `1.96.0`, or the
/// version of a package that begins with one.
pub fn accepts_rust(release: &str) -> bool {
    version(release) >= version(env!("CARGO_PKG_RUST_VERSION"))
}

/// Returns the major and the minor number, or (0, 0) if the text is no version.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("1.96.0+dfsg1-1~deb12u2"), (1, 96));
        assert!(version("1.100.0") > version("1.96"));
        assert_eq!(version("(none)"), (0, 0));
        assert!(!accepts_rust("1.63.0"));
        assert!(accepts_rust("2.0.0"));
    }
}
