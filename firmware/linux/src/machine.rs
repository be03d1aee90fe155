//! Describes this machine by what `/proc` and `/sys` say. What they do not say is reported as unknown and never
//! guessed.

mod cores;
mod power;
mod state;

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use serde::Serialize;

use crate::files::Files;

pub use cores::Cores;
pub use power::Sensor;
#[cfg(test)]
pub use state::Clock;
pub use state::{Clocks, State, temperature};

/// The part of the description that does not change while a model runs.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Architecture for which this program was compiled, such as `aarch64`.
    pub architecture: &'static str,
    /// Name of the board, such as `Raspberry Pi 4 Model B Rev 1.4`. Only machines with a device tree state one.
    pub board: Option<String>,
    /// Name of the processor, such as `4 × Cortex-A72`.
    pub cpu: Option<String>,
    /// Number of cores that this program may use.
    pub cores: usize,
    /// Size of the main memory.
    pub memory_bytes: Option<u64>,
    /// Power mode of a Jetson, as `nvpmodel` names it.
    pub power_mode: Option<String>,
}

impl Machine {
    /// Reads the description of this machine.
    pub fn read(files: &Files, cores: &Cores) -> Self {
        let text = |path| files.text(path).filter(|text| !text.is_empty());
        let power_mode =
            |text: String| Some(text.lines().find_map(|l| l.strip_prefix("NV Power Mode:"))?.trim().into());
        Self {
            architecture: std::env::consts::ARCH,
            board: text("proc/device-tree/model").or_else(|| text("sys/firmware/devicetree/base/model")),
            cpu: cores.name(),
            cores: available_parallelism().map_or(1, NonZeroUsize::get),
            memory_bytes: memory_bytes(files),
            power_mode: files.told_by("nvpmodel", "-q").and_then(power_mode),
        }
    }
}

/// Returns the machine's memory in bytes, if the system tells.
pub fn memory_bytes(files: &Files) -> Option<u64> {
    files.kilobytes("proc/meminfo", "MemTotal:")
}

/// Returns the largest resident set of this program so far, in bytes.
pub fn peak_memory_bytes(files: &Files) -> Option<u64> {
    files.kilobytes("proc/self/status", "VmHWM:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::board;

    #[test]
    fn boards_are_described_by_their_files() {
        for (name, told, cpu, memory, mode) in [
            ("raspberry-pi-4", "Raspberry Pi 4 Model B Rev 1.4", "4 × Cortex-A72", 3_885_396, None),
            ("raspberry-pi-5", "Raspberry Pi 5 Model B Rev 1.0", "4 × Cortex-A76", 8_248_720, None),
            ("jetson-orin-nano", "NVIDIA Jetson Orin Nano Developer Kit", "6 × Cortex-A78AE", 7_802_736, Some("15W")),
        ] {
            let (_folder, files) = board(name);
            let machine = Machine::read(&files, &Cores::read(&files, "aarch64"));
            assert_eq!(machine.board.as_deref(), Some(told));
            assert_eq!(machine.cpu.as_deref(), Some(cpu));
            assert_eq!(machine.memory_bytes, Some(memory << 10));
            assert_eq!(machine.power_mode.as_deref(), mode);
            assert!(machine.cores >= 1);
        }
    }

    #[test]
    fn facts_that_no_file_states_are_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::below(folder.path());
        let machine = Machine::read(&files, &Cores::read(&files, "aarch64"));
        assert!(machine.board.is_none() && machine.cpu.is_none() && machine.memory_bytes.is_none());
        assert_eq!(peak_memory_bytes(&files), None);
    }

    #[test]
    fn this_program_uses_memory() {
        assert!(peak_memory_bytes(&Files::here()).is_none_or(|bytes| bytes > 100_000));
    }
}
