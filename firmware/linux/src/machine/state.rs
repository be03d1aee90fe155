//! What changes while a model runs: clocks, temperature, throttling.

use std::process::{Command, Stdio};

use serde::Serialize;

use super::Files;

/// The machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct State {
    /// One entry for each group of cores that share a clock; empty where the kernel tells of none.
    pub clocks: Vec<Clock>,
    /// Of the hottest CPU sensor.
    pub temperature_c: Option<f64>,
    /// The Raspberry Pi firmware's `get_throttled`: see [`super::trust`].
    pub throttled: Option<u32>,
    /// Programs that wanted to run, mean of the last minute.
    pub load: Option<f64>,
}

/// The clock of a group of cores.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Clock {
    /// Their numbers, such as `0 1 2 3`.
    pub cpus: Option<String>,
    /// What sets the clock: `performance` keeps it at its highest.
    pub governor: Option<String>,
    /// Now.
    pub mhz: Option<f64>,
    /// The highest that the governor may choose.
    pub limit_mhz: Option<f64>,
    /// The highest that the hardware has.
    pub max_mhz: Option<f64>,
}

impl State {
    /// This machine's state now.
    pub fn now() -> Self {
        let state = Self::read(&Files::here());
        Self { throttled: state.throttled.or_else(ask_firmware), ..state }
    }

    /// What the files tell.
    pub(super) fn read(files: &Files) -> Self {
        let policies = files.folders("sys/devices/system/cpu/cpufreq", "policy");
        let clock = |policy: &std::path::PathBuf| {
            let mhz = |name| files.number(policy.join(name)).map(|kilohertz| kilohertz / 1000.0);
            Clock {
                cpus: files.text(policy.join("related_cpus")),
                governor: files.text(policy.join("scaling_governor")),
                mhz: mhz("scaling_cur_freq"),
                limit_mhz: mhz("scaling_max_freq"),
                max_mhz: mhz("cpuinfo_max_freq"),
            }
        };
        Self {
            clocks: policies.iter().map(clock).collect(),
            temperature_c: temperature(files),
            throttled: files.text("sys/devices/platform/soc/soc:firmware/get_throttled").as_deref().and_then(hex),
            load: files.number("proc/loadavg"),
        }
    }
}

/// The hottest of the sensors that are named after the CPU, °C.
fn temperature(files: &Files) -> Option<f64> {
    let is_cpus = |kind: String| ["cpu", "x86_pkg"].iter().any(|name| kind.to_ascii_lowercase().contains(name));
    let zones = files.folders("sys/class/thermal", "thermal_zone");
    let zones = zones.iter().filter(|zone| files.text(zone.join("type")).is_some_and(is_cpus));
    zones.filter_map(|zone| files.number(zone.join("temp"))).map(|thousandths| thousandths / 1000.0).reduce(f64::max)
}

/// Asks a Raspberry Pi's firmware by its own program, where the kernel has no file for it.
fn ask_firmware() -> Option<u32> {
    let output = Command::new("vcgencmd").arg("get_throttled").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let output = output.ok().filter(|output| output.status.success())?;
    hex(str::from_utf8(&output.stdout).ok()?.trim().strip_prefix("throttled=")?)
}

/// A hexadecimal number, with or without `0x`.
fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::raspberry_pi;
    use super::*;

    #[test]
    fn a_boards_state_is_read() {
        let (_folder, files) = raspberry_pi();
        let clock = Clock {
            cpus: Some("0 1 2 3".into()),
            governor: Some("ondemand".into()),
            mhz: Some(600.0),
            limit_mhz: Some(1500.0),
            max_mhz: Some(1500.0),
        };
        let expected =
            State { clocks: vec![clock], temperature_c: Some(48.199), throttled: Some(0x50005), load: Some(0.04) };
        assert_eq!(State::read(&files), expected);
    }

    #[test]
    fn what_is_not_told_is_not_known() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(State::read(&Files(folder.path().to_owned())), State::default());
    }

    #[test]
    fn firmware_and_kernel_write_the_same_number() {
        assert_eq!(hex("0x50000"), hex("50000"));
        assert_eq!(hex("0x0"), Some(0));
        assert_eq!(hex("error=2"), None);
    }
}
