//! Describes this machine by what `/proc` and `/sys` say. What they do not say is reported as unknown and never
//! guessed.

mod cores;
mod power;
mod state;

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use resmlp_report::Machine;

use crate::files::Files;

pub use cores::Cores;
pub use power::Sensor;
pub use state::{Clocks, is_clock_of, state_now, temperature};

/// Reads the part of the description that does not change while a model runs.
pub fn describe(files: &Files, cores: &Cores) -> Machine {
    let text = |path| files.text(path).filter(|text| !text.is_empty());
    let power_mode = |text: String| Some(text.lines().find_map(|l| l.strip_prefix("NV Power Mode:"))?.trim().into());
    Machine {
        architecture: std::env::consts::ARCH.to_owned(),
        board: text("proc/device-tree/model").or_else(|| text("sys/firmware/devicetree/base/model")),
        cpu: cores.name(),
        cores: available_parallelism().map_or(1, NonZeroUsize::get),
        memory_bytes: memory_bytes(files),
        power_mode: files.told_by("nvpmodel", "-q").and_then(power_mode),
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
            let machine = describe(&files, &Cores::read(&files, "aarch64"));
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
        let machine = describe(&files, &Cores::read(&files, "aarch64"));
        assert!(machine.board.is_none() && machine.cpu.is_none() && machine.memory_bytes.is_none());
        assert_eq!(peak_memory_bytes(&files), None);
    }

    #[test]
    fn this_program_uses_memory() {
        assert!(peak_memory_bytes(&Files::here()).is_none_or(|bytes| bytes > 100_000));
    }
}
