//! The report of `resmlp-device bench`: its JSON, its text for people and its page for a browser.
//!
//! A board measures and sends the report as JSON. [`Report::from_json`] reads it on a PC, which does not trust the
//! board: it accepts only numbers, lists and texts of a plausible size. [`html::page`] and [`text::text`] write the
//! report for people. The page escapes every text of the report.

mod accepted;
pub mod html;
mod machine;
pub mod text;

use std::time::Duration;

use resmlp_command_line::Milliseconds;
use resmlp_runtime::measure::{self, Latency};
use serde::{Deserialize, Serialize};

pub use accepted::Refused;
pub use machine::{Clock, Machine, Sample, State};

/// The whole report, field by field as it stands in the JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Name of the model, as the user gave it.
    pub model: String,
    /// Name of the kernels that computed.
    pub kernels: String,
    /// Number of threads that worked at the same time.
    pub threads: usize,
    /// The core of each thread; empty if the threads were not pinned.
    pub pinned_to: Vec<usize>,
    /// Number of measured runs.
    pub runs: usize,
    /// Number of runs before the measured ones.
    pub warmup: usize,
    /// Times of the runs before the measured ones.
    pub warmup_ms: WarmUp,
    /// Latency of the measured runs.
    pub latency_ms: Milliseconds,
    /// Time of every measured run, in the order of the runs.
    pub times_ms: Vec<f64>,
    /// Rate at the median latency, in 10^9 multiply-accumulates per second.
    pub gmac_per_s: f64,
    /// Multiply-accumulates of a run.
    pub macs: u64,
    /// Bytes of the model.
    pub model_bytes: usize,
    /// Bytes of scratch memory.
    pub scratch_bytes: usize,
    /// Largest resident set of the measuring program so far.
    pub peak_memory_bytes: Option<u64>,
    /// Whether the weights were rearranged for the kernels when the model was loaded.
    pub repacked: bool,
    /// The share of the cores' peak rate that the model reached.
    pub peak: Option<Peak>,
    /// Figures of the processor's counters.
    pub cycles: Option<Cycles>,
    /// Power, and the energy of one run.
    pub energy: Option<Energy>,
    /// Time of each stage, in the order of execution.
    pub layers: Vec<Layer>,
    /// The machine that measured.
    pub machine: Machine,
    /// The outcome of waiting for a cooler processor, where the user asked for it.
    pub cool_down: Option<CoolDown>,
    /// State of the machine before the measured runs.
    pub before: State,
    /// State of the machine after the measured runs.
    pub after: State,
    /// Clock and temperature during the runs.
    pub timeline: Vec<Sample>,
    /// For each figure that is missing, its name and the reason.
    pub not_known: Vec<String>,
    /// Whether there is no warning.
    pub trusted: bool,
    /// A sentence for each fact that speaks against the figures.
    pub warnings: Vec<String>,
}

/// Times of the runs before the measured ones, in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WarmUp {
    /// Time of the first run, which finds the caches cold.
    pub first: f64,
    /// Half of the runs took no longer.
    pub median: f64,
}

/// The time of one stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layer {
    /// Name of the stage, such as `block.0.mix`.
    pub name: String,
    /// Median time, in milliseconds.
    pub ms: f64,
    /// Multiply-accumulates of the stage.
    pub macs: u64,
    /// Rate at the median time, in 10^9 multiply-accumulates per second.
    pub gmac_per_s: f64,
}

/// Means of one run by the processor's counters. They count the calling thread alone, outside the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cycles {
    /// Cycles of one run.
    pub cycles_per_run: f64,
    /// Instructions of one run.
    pub instructions_per_run: f64,
    /// The clock that follows from the cycles and the time.
    pub mhz: f64,
}

/// Power, and the energy of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Name of the sensor and of the rails that it measures.
    pub sensor: String,
    /// Mean power before the runs, in watts.
    pub idle_w: Option<f64>,
    /// Mean power during the runs, in watts.
    pub load_w: f64,
    /// Energy of one run: everything that the sensor measures, the idle power included.
    pub millijoules_per_run: f64,
    /// Readings of the sensor during the runs.
    pub looks: usize,
}

/// The rate of int8 multiply-accumulates that the cores in use could reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Multiply-accumulates that a core can do in a cycle.
    pub macs_per_cycle_and_core: u32,
    /// Number of cores in use.
    pub cores: usize,
    /// Mean clock during the measured runs.
    pub mhz: f64,
    /// Source of the clock: `cycle counter` or `kernel`.
    pub mhz_from: String,
    /// The peak rate, in 10^9 multiply-accumulates per second.
    pub gmac_per_s: f64,
    /// The share of the peak that the model reached, from 0 to 1.
    pub share: f64,
}

/// The outcome of waiting for a cooler processor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CoolDown {
    /// The temperature that the user asked for, in °C.
    pub wanted_c: f64,
    /// Temperature before the wait.
    pub from_c: Option<f64>,
    /// Temperature after the wait.
    pub to_c: Option<f64>,
    /// Length of the wait.
    pub seconds: f64,
}

impl WarmUp {
    /// Summarises the times of the runs before the measured ones, in the order of the runs.
    pub fn of(times: &[Duration]) -> Self {
        Self { first: times.first().map_or(0.0, milliseconds), median: Latency::of(&mut times.to_vec()).median_ms }
    }
}

impl Cycles {
    /// Returns the means of runs that took these times, and these numbers of cycles and instructions together.
    pub fn of(cycles: u64, instructions: u64, times: &[Duration]) -> Self {
        let (cycles, instructions, runs) = (cycles as f64, instructions as f64, times.len() as f64);
        let seconds = times.iter().sum::<Duration>().as_secs_f64().max(f64::MIN_POSITIVE);
        Self { cycles_per_run: cycles / runs, instructions_per_run: instructions / runs, mhz: cycles / seconds / 1e6 }
    }
}

impl From<measure::Layer> for Layer {
    fn from(measure::Layer { name, ms, macs }: measure::Layer) -> Self {
        // A clock that ticks slowly may see a short stage take no time. The rate of such a stage is that of one
        // nanosecond.
        let nanoseconds = (ms * 1e6).max(1.0);
        Self { name, ms, macs, gmac_per_s: macs as f64 / nanoseconds }
    }
}

impl CoolDown {
    /// Returns the reason why the processor is not as cool as the user asked for, or `None` if it is.
    pub fn warning(&self) -> Option<String> {
        match self.to_c {
            None => Some("this machine tells no temperature, so there was no waiting for it to cool down".to_owned()),
            Some(to_c) if to_c > self.wanted_c => {
                let Self { wanted_c, seconds, .. } = self;
                Some(format!("the processor still had {to_c:.1} °C after {seconds:.0} s of waiting for {wanted_c} °C"))
            }
            Some(_) => None,
        }
    }
}

/// Returns a time in milliseconds.
pub fn milliseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_those_of_one_run() {
        let Cycles { cycles_per_run, instructions_per_run, mhz } =
            Cycles::of(6_000_000, 9_000_000, &[Duration::from_millis(2); 2]);
        assert_eq!([cycles_per_run, instructions_per_run, mhz], [3e6, 4.5e6, 1500.0]);
    }

    #[test]
    fn a_stage_too_short_to_be_timed_has_a_finite_rate() {
        let layer = |ms| Layer::from(measure::Layer { name: "head".to_owned(), ms, macs: 5_000_000 });
        assert_eq!([layer(0.0).gmac_per_s, layer(2.0).gmac_per_s], [5e6, 2.5]);
    }

    #[test]
    fn warm_up_runs_are_reported_separately() {
        let warmup = WarmUp::of(&[9, 5, 4].map(Duration::from_millis));
        assert_eq!((warmup.first, warmup.median), (9.0, 5.0));
    }
}
