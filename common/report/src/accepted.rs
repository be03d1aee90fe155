//! Reads a report that a board sent, and refuses one that no board of this project can have measured.

use std::fmt;

use crate::{Clock, CoolDown, Cycles, Energy, Layer, Machine, Peak, Report, Sample, State};

/// Largest number of runs that `resmlp-device bench` makes.
const MOST_RUNS: usize = 1_000_000;

/// Largest number of entries of every list that grows neither with the runs nor with their time.
const LONGEST_LIST: usize = 4096;

/// Largest number of points in the drawing of clocks and temperature. Two hundred bytes of the page show one point.
const MOST_POINTS: usize = 250_000;

/// Largest number of groups of cores that have clocks of their own.
const MOST_GROUPS: usize = 1024;

/// Longest text, in bytes.
const LONGEST_TEXT: usize = 4096;

/// Largest number, and largest distance of a temperature from zero. Every smaller integer is exact as an `f64`.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Says in one sentence why a report is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

type Result = std::result::Result<(), Refused>;

impl Report {
    /// Reads a report from the JSON that a board sent. Fields that this program does not know are skipped.
    ///
    /// # Errors
    /// Returns an error where the JSON is damaged, lacks a field or has a field of another type, and where a number, a
    /// list or a text has no plausible size. The error names the field.
    pub fn from_json(json: &str) -> std::result::Result<Self, Refused> {
        let report: Self = serde_json::from_str(json).map_err(|error| Refused(error.to_string()))?;
        report.check()?;
        Ok(report)
    }

    fn check(&self) -> Result {
        text("model", &self.model)?;
        text("kernels", &self.kernels)?;
        list("pinned_to", self.pinned_to.len(), LONGEST_LIST)?;
        self.pinned_to.iter().try_for_each(|&cpu| count("pinned_to", cpu as u64))?;
        for (name, runs) in [("runs", self.runs), ("warmup", self.warmup)] {
            list(name, runs, MOST_RUNS)?;
        }
        numbers([("warmup_ms.first", self.warmup_ms.first), ("warmup_ms.median", self.warmup_ms.median)])?;
        self.check_latency()?;
        number("gmac_per_s", self.gmac_per_s)?;
        for (name, value) in [
            ("threads", self.threads as u64),
            ("macs", self.macs),
            ("model_bytes", self.model_bytes as u64),
            ("scratch_bytes", self.scratch_bytes as u64),
            ("peak_memory_bytes", self.peak_memory_bytes.unwrap_or(0)),
        ] {
            count(name, value)?;
        }
        self.peak.iter().try_for_each(Peak::check)?;
        self.cycles.iter().try_for_each(Cycles::check)?;
        self.energy.iter().try_for_each(Energy::check)?;
        list("layers", self.layers.len(), LONGEST_LIST)?;
        self.layers.iter().try_for_each(Layer::check)?;
        self.machine.check()?;
        self.cool_down.iter().try_for_each(CoolDown::check)?;
        [&self.before, &self.after].into_iter().try_for_each(State::check)?;
        self.check_timeline()?;
        for (name, sentences) in [("not_known", &self.not_known), ("warnings", &self.warnings)] {
            list(name, sentences.len(), LONGEST_LIST)?;
            sentences.iter().try_for_each(|sentence| text(name, sentence))?;
        }
        Ok(())
    }

    fn check_latency(&self) -> Result {
        let latency = &self.latency_ms;
        let percentiles = [latency.min, latency.median, latency.p90, latency.p99, latency.max];
        percentiles.into_iter().chain(self.times_ms.iter().copied()).try_for_each(|ms| number("a latency", ms))?;
        if !percentiles.is_sorted() {
            return Err(Refused(format!("latency_ms has {percentiles:?}, expected min ≤ median ≤ p90 ≤ p99 ≤ max")));
        }
        list("times_ms", self.times_ms.len(), MOST_RUNS)
    }

    fn check_timeline(&self) -> Result {
        let points = self.timeline.iter().map(|sample| sample.mhz.len() + 1).sum();
        list("timeline", points, MOST_POINTS)?;
        self.timeline.iter().try_for_each(Sample::check)?;
        if !self.timeline.is_sorted_by_key(|sample| sample.seconds) {
            return Err(Refused("timeline.seconds falls, expected it to rise".to_owned()));
        }
        Ok(())
    }
}

impl Peak {
    fn check(&self) -> Result {
        text("peak.mhz_from", &self.mhz_from)?;
        count("peak.cores", self.cores as u64)?;
        numbers([("peak.mhz", self.mhz), ("peak.gmac_per_s", self.gmac_per_s), ("peak.share", self.share)])
    }
}

impl Cycles {
    fn check(&self) -> Result {
        let Self { cycles_per_run, instructions_per_run, mhz } = *self;
        numbers([
            ("cycles.cycles_per_run", cycles_per_run),
            ("cycles.instructions_per_run", instructions_per_run),
            ("cycles.mhz", mhz),
        ])
    }
}

impl Energy {
    fn check(&self) -> Result {
        text("energy.sensor", &self.sensor)?;
        count("energy.looks", self.looks as u64)?;
        // A sensor near its zero point may read a little less than nothing.
        signed("energy.idle_w", self.idle_w)?;
        signed("energy.load_w", Some(self.load_w))?;
        signed("energy.millijoules_per_run", Some(self.millijoules_per_run))
    }
}

impl Layer {
    fn check(&self) -> Result {
        text("layers.name", &self.name)?;
        count("layers.macs", self.macs)?;
        numbers([("layers.ms", self.ms), ("layers.gmac_per_s", self.gmac_per_s)])
    }
}

impl Machine {
    fn check(&self) -> Result {
        text("machine.architecture", &self.architecture)?;
        for (name, value) in
            [("machine.board", &self.board), ("machine.cpu", &self.cpu), ("machine.power_mode", &self.power_mode)]
        {
            text(name, value.as_deref().unwrap_or_default())?;
        }
        count("machine.cores", self.cores as u64)?;
        count("machine.memory_bytes", self.memory_bytes.unwrap_or(0))
    }
}

impl CoolDown {
    fn check(&self) -> Result {
        number("cool_down.seconds", self.seconds)?;
        [Some(self.wanted_c), self.from_c, self.to_c]
            .into_iter()
            .try_for_each(|celsius| signed("a temperature of cool_down", celsius))
    }
}

impl State {
    fn check(&self) -> Result {
        list("clocks", self.clocks.len(), MOST_GROUPS)?;
        self.clocks.iter().try_for_each(Clock::check)?;
        signed("temperature_c", self.temperature_c)?;
        count("over_current_events", self.over_current_events.unwrap_or(0))?;
        number("load", self.load.unwrap_or(0.0))
    }
}

impl Clock {
    fn check(&self) -> Result {
        text("clocks.cpus", self.cpus.as_deref().unwrap_or_default())?;
        text("clocks.governor", self.governor.as_deref().unwrap_or_default())?;
        let clocks = [self.mhz, self.least_mhz, self.limit_mhz, self.max_mhz];
        clocks.into_iter().flatten().try_for_each(|mhz| number("a clock of clocks", mhz))
    }
}

impl Sample {
    fn check(&self) -> Result {
        number("timeline.seconds", self.seconds)?;
        list("timeline.mhz", self.mhz.len(), MOST_GROUPS)?;
        self.mhz.iter().try_for_each(|&mhz| number("timeline.mhz", mhz))?;
        signed("timeline.temperature_c", self.temperature_c)
    }
}

fn text(name: &str, text: &str) -> Result {
    match text.len() {
        ..=LONGEST_TEXT => Ok(()),
        len => Err(Refused(format!("a text of {name} has {len} bytes, expected at most {LONGEST_TEXT}"))),
    }
}

fn list(name: &str, len: usize, most: usize) -> Result {
    if len <= most { Ok(()) } else { Err(Refused(format!("{name} counts {len}, expected at most {most}"))) }
}

fn count(name: &str, value: u64) -> Result {
    number(name, value as f64)
}

fn numbers<const N: usize>(values: [(&str, f64); N]) -> Result {
    values.into_iter().try_for_each(|(name, value)| number(name, value))
}

fn number(name: &str, value: f64) -> Result {
    within(name, value, 0.0)
}

/// Checks a number that may be negative.
fn signed(name: &str, value: Option<f64>) -> Result {
    within(name, value.unwrap_or(0.0), -LARGEST)
}

fn within(name: &str, value: f64, least: f64) -> Result {
    // Nothing that is not a number lies within a range.
    if (least..=LARGEST).contains(&value) {
        Ok(())
    } else {
        Err(Refused(format!("{name} is {value:e}, expected a number from {least} to {LARGEST}")))
    }
}
