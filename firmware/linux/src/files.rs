//! The sources of what this program knows about the machine: small files of the kernel, and two programs of the boards'
//! makers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the variable that replaces the root folder `/`. Tests set it to a folder with the files of a board.
const ROOT: &str = "RESMLP_DEVICE_ROOT";

/// The files below a root folder, which is `/` except in tests.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    /// Whether programs can be started. If they cannot, files in the folder `programs` hold their answers.
    is_this_machine: bool,
}

impl Files {
    /// Returns the files of this machine.
    pub fn here() -> Self {
        match std::env::var_os(ROOT) {
            Some(root) => Self::below(root),
            None => Self { root: "/".into(), is_this_machine: true },
        }
    }

    /// Returns the files of a machine that were copied to `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_this_machine: false }
    }

    /// Returns a file's text without surrounding white space and zero bytes, or `None` if the file cannot be read.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// Returns the number that a file begins with.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<f64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    /// Returns the value of a line `KEY 123 kB`, in bytes.
    pub fn kilobytes(&self, path: &str, key: &str) -> Option<u64> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Returns the paths in `folder` whose names begin with `prefix`, sorted by name.
    pub fn entries(&self, folder: impl AsRef<Path>, prefix: &str) -> Vec<PathBuf> {
        let folder = folder.as_ref();
        let entries = fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| folder.join(entry.file_name()))
            .collect();
        paths.sort();
        paths
    }

    /// Returns the folders of hardware monitors (hwmon) with this driver.
    pub fn monitors(&self, driver: &str) -> Vec<PathBuf> {
        let mut folders = self.entries("sys/class/hwmon", "hwmon");
        folders.retain(|folder| self.text(folder.join("name")).as_deref() == Some(driver));
        folders
    }

    /// Returns what `program argument` prints, or `None` if there is no such program or it fails.
    pub fn told_by(&self, program: &str, argument: &str) -> Option<String> {
        if !self.is_this_machine {
            return self.text(format!("programs/{program} {argument}"));
        }
        let output = Command::new(program).arg(argument).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Unpacks the committed files of a board, `tests/boards/NAME.txt`, into a folder of their own.
    pub fn board(name: &str) -> (tempfile::TempDir, Files) {
        let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/boards/{name}.txt"));
        let folder = tempfile::tempdir().unwrap();
        unpack(&fs::read_to_string(text).unwrap(), folder.path());
        let files = Files::below(folder.path());
        (folder, files)
    }

    include!("../tests/boards/unpack.rs");

    #[test]
    fn files_and_programs_answer_alike() {
        let (_folder, files) = board("raspberry-pi-4");
        assert_eq!(files.number("proc/loadavg"), Some(0.04));
        assert_eq!(files.kilobytes("proc/meminfo", "MemTotal:"), Some(3_885_396 << 10));
        assert_eq!(files.told_by("vcgencmd", "get_throttled").as_deref(), Some("throttled=0x0"));
        assert_eq!(files.told_by("vcgencmd", "version"), None);
        assert_eq!(Files { is_this_machine: true, ..files }.told_by("echo", "hello").as_deref(), Some("hello\n"));
    }
}
