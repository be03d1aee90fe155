//! What `/proc` and `/sys` say about this machine. What they do not say stays unknown: nothing is guessed.

mod cpu;
mod state;
mod trust;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::Serialize;

pub use state::State;
pub use trust::warnings;

/// What does not change while a model runs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// What this program was compiled for, such as `aarch64`.
    pub architecture: &'static str,
    /// `Raspberry Pi 4 Model B Rev 1.4`; only boards with a device tree say it.
    pub board: Option<String>,
    /// `4 × Cortex-A72`.
    pub cpu: Option<String>,
    /// Cores that this program may use.
    pub cores: usize,
    /// Main memory.
    pub memory_bytes: Option<u64>,
}

impl Machine {
    /// This machine; `files` is its root folder.
    pub fn read(files: &Files) -> Self {
        let architecture = std::env::consts::ARCH;
        let text = |path| files.text(path).filter(|text| !text.is_empty());
        Self {
            architecture,
            board: text("proc/device-tree/model").or_else(|| text("sys/firmware/devicetree/base/model")),
            cpu: files.text("proc/cpuinfo").and_then(|cpuinfo| cpu::name(&cpuinfo, architecture)),
            cores: available_parallelism().map_or(1, NonZeroUsize::get),
            memory_bytes: files.kilobytes("proc/meminfo", "MemTotal:"),
        }
    }
}

/// The small files through which the kernel tells things, below a root folder: `/`, or another one in tests.
#[derive(Debug)]
pub struct Files(PathBuf);

impl Files {
    /// Those of this machine.
    pub fn here() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A file's text without surrounding spaces and zeros; `None` where it cannot be read.
    fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.0.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    fn number(&self, path: impl AsRef<Path>) -> Option<f64> {
        self.text(path)?.split_whitespace().next()?.parse().ok()
    }

    /// The value of a line `KEY 123 kB`, in bytes.
    fn kilobytes(&self, path: &str, key: &str) -> Option<u64> {
        let text = self.text(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Paths in `folder` whose names begin with `prefix`, in the order of their names.
    fn folders(&self, folder: &str, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| Path::new(folder).join(entry.file_name()))
            .collect();
        paths.sort();
        paths
    }
}

/// The most memory that this program has had in use so far.
pub fn peak_memory_bytes(files: &Files) -> Option<u64> {
    files.kilobytes("proc/self/status", "VmHWM:")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks as `/` does on a Raspberry Pi 4.
    pub fn raspberry_pi() -> (tempfile::TempDir, Files) {
        let cores = "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n".repeat(4);
        let files = [
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("proc/cpuinfo", &cores),
            ("proc/meminfo", "MemTotal:        3885396 kB\nMemFree:         3000000 kB\n"),
            ("proc/loadavg", "0.04 0.10 0.20 1/150 900\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/related_cpus", "0 1 2 3\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "ondemand\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", "600000\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq", "1500000\n"),
            ("sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq", "1500000\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48199\n"),
            ("sys/class/thermal/thermal_zone1/type", "gpu-thermal\n"),
            ("sys/class/thermal/thermal_zone1/temp", "90000\n"),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = Files(folder.path().to_owned());
        (folder, files)
    }

    #[test]
    fn a_board_tells_what_it_is() {
        let (_folder, files) = raspberry_pi();
        let machine = Machine::read(&files);
        assert_eq!(machine.board.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(machine.memory_bytes, Some(3_885_396 << 10));
        assert!(machine.cores >= 1);
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::read(&Files(folder.path().to_owned()));
        assert!(machine.board.is_none() && machine.cpu.is_none() && machine.memory_bytes.is_none());
    }

    #[test]
    fn this_program_uses_memory() {
        assert!(peak_memory_bytes(&Files::here()).is_none_or(|bytes| bytes > 100_000));
    }
}
