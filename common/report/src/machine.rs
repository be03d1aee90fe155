//! What a report says about the machine that measured.

use resmlp_runtime::measure::Phase;
use serde::{Deserialize, Serialize};

/// The part of the description that does not change while a model runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Architecture for which the measuring program was compiled, such as `aarch64`.
    pub architecture: String,
    /// Name of the board, such as `Raspberry Pi 4 Model B Rev 1.4`. Only machines with a device tree state one.
    pub board: Option<String>,
    /// Name of the processor, such as `4 × Cortex-A72`.
    pub cpu: Option<String>,
    /// Number of cores that the program may use.
    pub cores: usize,
    /// Size of the main memory.
    pub memory_bytes: Option<u64>,
    /// Power mode of a Jetson, as `nvpmodel` names it.
    pub power_mode: Option<String>,
}

/// The state of the machine at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// One entry for each group of cores that share a clock; empty if the kernel states none.
    pub clocks: Vec<Clock>,
    /// Temperature of the hottest CPU sensor.
    pub temperature_c: Option<f64>,
    /// `get_throttled` of the Raspberry Pi's firmware, whose low four bits say what limits the board now: the voltage
    /// of the supply, a capped clock, a throttled clock, the temperature. Bits 16 to 19 say the same about the time
    /// since the board was started.
    pub throttled: Option<u32>,
    /// Whether the Raspberry Pi has raised its alarm for too low a supply voltage.
    pub under_voltage: Option<bool>,
    /// How often a Jetson has throttled itself for drawing too much current since it was started.
    pub over_current_events: Option<u64>,
    /// Mean number of programs that were ready to run in the last minute.
    pub load: Option<f64>,
}

/// The clock of a group of cores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// Numbers of the cores, such as `0 1 2 3`.
    pub cpus: Option<String>,
    /// Policy that sets the clock; `performance` keeps it at its highest.
    pub governor: Option<String>,
    /// The current clock.
    pub mhz: Option<f64>,
    /// The lowest clock that the governor may choose; `jetson_clocks` raises it to the highest.
    pub least_mhz: Option<f64>,
    /// The highest clock that the governor may choose.
    pub limit_mhz: Option<f64>,
    /// The highest clock of the hardware.
    pub max_mhz: Option<f64>,
}

impl Clock {
    /// Returns whether the governor, whatever its name, has only one clock to choose from.
    pub fn is_fixed(&self) -> bool {
        self.least_mhz.is_some() && self.least_mhz == self.limit_mhz
    }
}

/// Clock and temperature at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Time since the observation began, in seconds.
    pub seconds: f64,
    /// What the last run was for.
    #[serde(with = "PhaseName")]
    pub phase: Phase,
    /// One clock for each group of cores that share a clock, in MHz.
    pub mhz: Vec<f64>,
    /// Temperature of the hottest CPU sensor.
    pub temperature_c: Option<f64>,
}

/// The names of the phases in the JSON.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Phase", rename_all = "kebab-case")]
enum PhaseName {
    WarmUp,
    Measured,
    Layers,
}
