//! Reads the power sensors that boards have.

use std::path::{Path, PathBuf};

use crate::files::Files;

/// Names of the rail through which a Jetson feeds everything else; they differ between its models.
const WHOLE_BOARD: [&str; 2] = ["VDD_IN", "POM_5V_IN"];

/// A power sensor, and the rails that it measures.
#[derive(Clone, Debug, PartialEq)]
pub enum Sensor {
    /// The power management chip of the Raspberry Pi 5. It measures the rails that it feeds, and not what is connected
    /// to 5 V (USB, HATs).
    Pmic,
    /// One or several INA3221 chips of a Jetson, with files for voltage and current.
    Ina3221 {
        /// Names of the measured rails.
        rails: String,
        /// Files with millivolts and milliamperes of each rail.
        files: Vec<[PathBuf; 2]>,
    },
    /// INA3221 chips of a Jetson with older software, which has files for the power.
    OldIna3221 {
        /// Names of the measured rails.
        rails: String,
        /// Files with milliwatts of each rail.
        files: Vec<PathBuf>,
    },
}

impl Sensor {
    /// Finds this machine's sensor, if it has one.
    pub fn find(files: &Files) -> Option<Self> {
        let rails = whole_board(ina3221(files));
        if !rails.is_empty() {
            return Some(Self::Ina3221 {
                rails: names(&rails),
                files: rails.into_iter().map(|(_, files)| files).collect(),
            });
        }
        let rails = whole_board(old_ina3221(files));
        if !rails.is_empty() {
            let (rails, files) = (names(&rails), rails.into_iter().map(|(_, file)| file).collect());
            return Some(Self::OldIna3221 { rails, files });
        }
        Self::Pmic.watts(files).map(|_| Self::Pmic)
    }

    /// Returns the name of the sensor and of what it measures.
    pub fn name(&self) -> String {
        match self {
            Self::Pmic => "PMIC: the rails that it feeds, not what is connected to 5 V".to_owned(),
            Self::Ina3221 { rails, .. } | Self::OldIna3221 { rails, .. } => format!("INA3221: {rails}"),
        }
    }

    /// Reads the power, in watts. Returns `None` if any rail cannot be read.
    pub fn watts(&self, files: &Files) -> Option<f64> {
        match self {
            Self::Pmic => pmic_watts(&files.told_by("vcgencmd", "pmic_read_adc")?),
            Self::Ina3221 { files: rails, .. } => {
                rails.iter().map(|[volts, amps]| Some(files.number(volts)? * files.number(amps)? / 1e6)).sum()
            }
            Self::OldIna3221 { files: rails, .. } => rails.iter().map(|rail| Some(files.number(rail)? / 1e3)).sum(),
        }
    }
}

/// Returns for every connected channel its label and its files with millivolts and milliamperes.
fn ina3221(files: &Files) -> Vec<(String, [PathBuf; 2])> {
    let channels = files.monitors("ina3221").into_iter().flat_map(|folder| (1..=3).map(move |n| (folder.clone(), n)));
    let channel = |(folder, n): (PathBuf, usize)| {
        let label = label(files, &folder.join(format!("in{n}_label")))?;
        Some((label, [folder.join(format!("in{n}_input")), folder.join(format!("curr{n}_input"))]))
    };
    channels.filter_map(channel).collect()
}

fn old_ina3221(files: &Files) -> Vec<(String, PathBuf)> {
    let chips = files.entries("sys/bus/i2c/drivers/ina3221x", "");
    let devices = chips.iter().flat_map(|chip| files.entries(chip, "iio:device"));
    let channels = devices.flat_map(|folder| (0..3).map(move |n| (folder.clone(), n)));
    let channel = |(folder, n): (PathBuf, usize)| {
        let label = label(files, &folder.join(format!("rail_name_{n}")))?;
        Some((label, folder.join(format!("in_power{n}_input"))))
    };
    channels.filter_map(channel).collect()
}

/// Returns a channel's label, or `None` for a channel that is not connected.
fn label(files: &Files, path: &Path) -> Option<String> {
    files.text(path).filter(|label| !label.is_empty() && label != "NC")
}

/// Returns the rail that feeds all others if there is one, and otherwise all rails.
fn whole_board<T>(rails: Vec<(String, T)>) -> Vec<(String, T)> {
    let (whole, parts): (Vec<_>, Vec<_>) =
        rails.into_iter().partition(|(label, _)| WHOLE_BOARD.contains(&label.as_str()));
    if whole.is_empty() { parts } else { whole }
}

fn names<T>(rails: &[(String, T)]) -> String {
    rails.iter().map(|(label, _)| label.as_str()).collect::<Vec<_>>().join(" + ")
}

/// Sums the power of all rails that have a line for the current, such as `NAME_A current(3)=0.1A`, and one for the
/// voltage, such as `NAME_V volt(11)=3.3V`.
fn pmic_watts(text: &str) -> Option<f64> {
    let values = |suffix: &'static str, unit: char| {
        text.lines().filter_map(move |line| {
            let (name, value) = line.trim().split_once('=')?;
            let rail = name.split_whitespace().next()?.strip_suffix(suffix)?;
            Some((rail, value.strip_suffix(unit)?.parse::<f64>().ok()?))
        })
    };
    let watts: Vec<f64> = values("_A", 'A')
        .filter_map(|(rail, amps)| values("_V", 'V').find(|(name, _)| *name == rail).map(|(_, volts)| volts * amps))
        .collect();
    (!watts.is_empty()).then(|| watts.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::board;

    fn watts(name: &str) -> Option<(String, f64)> {
        let (_folder, files) = board(name);
        let sensor = Sensor::find(&files)?;
        Some((sensor.name(), sensor.watts(&files)?))
    }

    #[test]
    fn the_boards_sensors_are_read() {
        // VDD_IN has 5 V × 1.2 A. The other rails are fed through it and do not count again.
        assert_eq!(watts("jetson-orin-nano"), Some(("INA3221: VDD_IN".into(), 6.0)));
        let (name, watts_of_rails) = watts("raspberry-pi-5").unwrap();
        assert!(name.starts_with("PMIC") && (watts_of_rails - 3.177_19).abs() < 1e-6, "{name} {watts_of_rails}");
        assert_eq!(watts("raspberry-pi-4"), None);
    }

    #[test]
    fn without_a_common_rail_all_are_summed() {
        let (folder, files) = board("jetson-orin-nano");
        let label = folder.path().join("sys/class/hwmon/hwmon1/in1_label");
        std::fs::write(label, "NC\n").unwrap();
        let sensor = Sensor::find(&files).unwrap();
        assert_eq!(sensor.name(), "INA3221: VDD_CPU_GPU_CV + VDD_SOC");
        assert!((sensor.watts(&files).unwrap() - 4.992 * 0.58).abs() < 1e-9);
        std::fs::remove_file(folder.path().join("sys/class/hwmon/hwmon1/curr3_input")).unwrap();
        assert_eq!(sensor.watts(&files), None, "a sum without one of its rails is no sum");
    }

    #[test]
    fn older_jetsons_report_milliwatts() {
        let folder = tempfile::tempdir().unwrap();
        let device = folder.path().join("sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0");
        std::fs::create_dir_all(&device).unwrap();
        for (name, text) in [("rail_name_0", "POM_5V_IN"), ("in_power0_input", "2100"), ("rail_name_1", "POM_5V_GPU")] {
            std::fs::write(device.join(name), text).unwrap();
        }
        let files = Files::below(folder.path());
        let sensor = Sensor::find(&files).unwrap();
        assert_eq!((sensor.name(), sensor.watts(&files)), ("INA3221: POM_5V_IN".into(), Some(2.1)));
    }
}
