//! Reads what changes while a model runs: clocks, temperature, throttling, load.

use std::path::PathBuf;

use resmlp_report::{Clock, State};

use crate::affinity;
use crate::files::Files;

/// Returns whether this may be the clock of one of `cpus`, or of any core if `cpus` is empty.
pub fn is_clock_of(clock: &Clock, cpus: &[usize]) -> bool {
    let numbers = clock.cpus.as_deref().and_then(|text| affinity::parse(text).ok());
    cpus.is_empty() || numbers.is_none_or(|numbers| numbers.iter().any(|number| cpus.contains(number)))
}

/// Reads the current state of the machine.
pub fn state_now(files: &Files) -> State {
    let monitored = |driver: &str, suffix: &str| {
        let paths = files.monitors(driver).into_iter().flat_map(|folder| files.entries(folder, ""));
        let paths = paths.filter(|path| path.to_string_lossy().ends_with(suffix));
        paths.filter_map(|path| files.number(path)).reduce(|a, b| a + b)
    };
    let throttled = files.text("sys/devices/platform/soc/soc:firmware/get_throttled");
    State {
        clocks: policies(files).iter().filter_map(|policy| clock(files, policy)).collect(),
        temperature_c: temperature(files),
        throttled: throttled.as_deref().and_then(hex).or_else(|| ask_firmware(files)),
        under_voltage: monitored("rpi_volt", "in0_lcrit_alarm").map(|alarm| alarm > 0.0),
        // A count beyond the range of `u64` becomes its largest value.
        over_current_events: monitored("soctherm_oc", "_event_cnt").map(|events| events as u64),
        load: files.number("proc/loadavg"),
    }
}

/// Returns the folders of all groups of cores that share a clock.
fn policies(files: &Files) -> Vec<PathBuf> {
    files.entries("sys/devices/system/cpu/cpufreq", "policy")
}

/// Reads the clock of a group. Returns `None` if nothing can be read, because all cores of the group are off.
fn clock(files: &Files, policy: &std::path::Path) -> Option<Clock> {
    let mhz = |name| files.number(policy.join(name)).map(|kilohertz| kilohertz / 1000.0);
    let clock = Clock {
        cpus: files.text(policy.join("related_cpus")),
        governor: files.text(policy.join("scaling_governor")),
        mhz: mhz("scaling_cur_freq"),
        least_mhz: mhz("scaling_min_freq"),
        limit_mhz: mhz("scaling_max_freq"),
        max_mhz: mhz("cpuinfo_max_freq"),
    };
    (clock != Clock::default()).then_some(clock)
}

/// The files of some cores' clocks, one for each group, which are read again and again.
#[derive(Debug, Default)]
pub struct Clocks(Vec<PathBuf>);

impl Clocks {
    /// Finds the clocks of all groups with one of `cpus`, or of all groups if `cpus` is empty.
    pub fn of(files: &Files, cpus: &[usize]) -> Self {
        let mut policies = policies(files);
        policies.retain(|policy| clock(files, policy).is_some_and(|clock| is_clock_of(&clock, cpus)));
        Self(policies.into_iter().map(|policy| policy.join("scaling_cur_freq")).collect())
    }

    /// Reads all these clocks, in MHz.
    pub fn mhz(&self, files: &Files) -> Vec<f64> {
        self.0.iter().filter_map(|path| files.number(path)).map(|kilohertz| kilohertz / 1000.0).collect()
    }
}

/// Returns the highest temperature of the sensors that are named after the CPU, in °C.
pub fn temperature(files: &Files) -> Option<f64> {
    let is_cpus = |kind: String| ["cpu", "x86_pkg"].iter().any(|name| kind.to_ascii_lowercase().contains(name));
    let zones = files.entries("sys/class/thermal", "thermal_zone");
    let zones = zones.iter().filter(|zone| files.text(zone.join("type")).is_some_and(is_cpus));
    zones.filter_map(|zone| files.number(zone.join("temp"))).map(|thousandths| thousandths / 1000.0).reduce(f64::max)
}

/// Asks the firmware of a Raspberry Pi by its own program. This is for kernels that have no file for the answer.
fn ask_firmware(files: &Files) -> Option<u32> {
    hex(files.told_by("vcgencmd", "get_throttled")?.trim().strip_prefix("throttled=")?)
}

/// Parses a hexadecimal number with or without `0x`.
fn hex(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::board;

    #[test]
    fn a_boards_state_is_read() {
        let (_folder, files) = board("raspberry-pi-4-throttled");
        let clock = Clock {
            cpus: Some("0 1 2 3".into()),
            governor: Some("ondemand".into()),
            mhz: Some(600.0),
            least_mhz: Some(600.0),
            limit_mhz: Some(1500.0),
            max_mhz: Some(1500.0),
        };
        let expected = State {
            clocks: vec![clock],
            temperature_c: Some(82.303),
            throttled: Some(0x50005),
            under_voltage: Some(true),
            over_current_events: None,
            load: Some(0.04),
        };
        assert_eq!(state_now(&files), expected);
    }

    #[test]
    fn a_raspberry_pi_5_is_asked_by_its_program() {
        let (_folder, files) = board("raspberry-pi-5");
        assert_eq!(state_now(&files).throttled, Some(0));
    }

    #[test]
    fn a_jetson_counts_its_over_currents_and_fixes_its_clock() {
        let (_folder, files) = board("jetson-orin-nano");
        let state = state_now(&files);
        assert_eq!((state.over_current_events, state.throttled, state.under_voltage), (Some(2), None, None));
        assert!(state.clocks.len() == 2 && state.clocks.iter().all(Clock::is_fixed));
        assert!(!Clock::default().is_fixed());
    }

    #[test]
    fn cores_that_are_off_have_no_clock() {
        let (folder, files) = board("jetson-orin-nano");
        // The kernel keeps the folder of a group whose cores are off, but every read in it fails.
        for file in files.entries("sys/devices/system/cpu/cpufreq/policy4", "") {
            std::fs::remove_file(folder.path().join(file)).unwrap();
        }
        assert_eq!(state_now(&files).clocks.len(), 1);
        assert_eq!(Clocks::of(&files, &[]).mhz(&files), [1510.4]);
    }

    #[test]
    fn clocks_are_those_of_the_cores_in_use() {
        let (folder, files) = board("jetson-orin-nano");
        let second = folder.path().join("sys/devices/system/cpu/cpufreq/policy4/scaling_cur_freq");
        std::fs::write(second, "729600\n").unwrap();
        assert_eq!(Clocks::of(&files, &[]).mhz(&files), [1510.4, 729.6]);
        assert_eq!(Clocks::of(&files, &[5]).mhz(&files), [729.6]);
        assert_eq!(Clocks::of(&files, &[0, 3]).mhz(&files), [1510.4]);
    }

    #[test]
    fn facts_that_no_file_states_are_unknown() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(state_now(&Files::below(folder.path())), State::default());
    }

    #[test]
    fn firmware_and_kernel_write_the_same_number() {
        assert_eq!(hex("0x50000"), hex("50000"));
        assert_eq!(hex("0x0"), Some(0));
        assert_eq!(hex("error=2"), None);
    }
}
