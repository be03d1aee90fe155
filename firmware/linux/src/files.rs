//! Where this program learns about the machine: small files of the kernel, and two programs of the boards' makers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names another root folder than `/`; tests put boards there that they do not have.
const ROOT: &str = "RESMLP_DEVICE_ROOT";

/// The files below a root folder: `/`, or another one in tests.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
    /// Whether programs can be asked; else their answers lie in the folder `programs`.
    is_this_machine: bool,
}

impl Files {
    /// Those of this machine.
    pub fn here() -> Self {
        match std::env::var_os(ROOT) {
            Some(root) => Self::below(root),
            None => Self { root: "/".into(), is_this_machine: true },
        }
    }

    /// Those of the machine whose files were copied to `root`.
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), is_this_machine: false }
    }

    /// A file's text without surrounding spaces and zeros; `None` where it cannot be read.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// The number that a file begins with.
    pub fn number(&self, path: impl AsRef<Path>) -> Option<f64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    /// The value of a line `KEY 123 kB`, in bytes.
    pub fn kilobytes(&self, path: &str, key: &str) -> Option<u64> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Paths in `folder` whose names begin with `prefix`, in the order of their names.
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

    /// Folders of the hardware monitor's drivers of this name.
    pub fn monitors(&self, driver: &str) -> Vec<PathBuf> {
        let mut folders = self.entries("sys/class/hwmon", "hwmon");
        folders.retain(|folder| self.text(folder.join("name")).as_deref() == Some(driver));
        folders
    }

    /// What `program argument` prints; `None` where there is no such program, or it fails.
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

    /// The committed files of a board, in a folder of their own: `tests/boards/NAME.txt`.
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
