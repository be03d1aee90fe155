//! Observes the machine while a model is measured: it counts cycles during the runs, and samples clock and temperature
//! between them.

use std::time::{Duration, Instant};

use resmlp_report::Sample;
use resmlp_runtime::measure::{Phase, Watch};

use crate::files::Files;
use crate::machine::{Clocks, temperature};
use crate::pmu::{Counted, Counters};

/// Least time between two samples. Taking one takes a fraction of a millisecond, between two runs.
const INTERVAL: Duration = Duration::from_millis(100);

/// Takes samples and counts cycles and instructions.
pub struct Observer<'f> {
    files: &'f Files,
    clocks: Clocks,
    start: Instant,
    next: Instant,
    samples: Vec<Sample>,
    counters: std::io::Result<Counters>,
}

impl<'f> Observer<'f> {
    /// Creates an observer of the calling thread and of the clocks of `cpus`, or of all clocks if `cpus` is empty.
    pub fn new(files: &'f Files, cpus: &[usize]) -> Self {
        let start = Instant::now();
        let clocks = Clocks::of(files, cpus);
        Self { files, clocks, start, next: start, samples: Vec::new(), counters: Counters::new() }
    }

    /// Returns all samples, and what was counted in the measured runs or the reason why nothing was.
    pub fn finish(self) -> (Vec<Sample>, Result<Counted, String>) {
        let counted = match self.counters {
            Ok(mut counters) => {
                counters.read().ok_or_else(|| "the cycle counter of this machine stands still".to_owned())
            }
            Err(error) => Err(format!("the kernel gives no access to a cycle counter: {error}")),
        };
        (self.samples, counted)
    }
}

impl Watch for Observer<'_> {
    fn begins(&mut self, phase: Phase) {
        if let (Phase::Measured, Ok(counters)) = (phase, &mut self.counters) {
            counters.start();
        }
    }

    fn ended(&mut self, phase: Phase) {
        if let (Phase::Measured, Ok(counters)) = (phase, &mut self.counters) {
            counters.stop();
        }
        let now = Instant::now();
        let entered = self.samples.last().is_none_or(|last| last.phase != phase);
        if now >= self.next || entered {
            let seconds = (now - self.start).as_secs_f64();
            let (mhz, temperature_c) = (self.clocks.mhz(self.files), temperature(self.files));
            self.samples.push(Sample { seconds, phase, mhz, temperature_c });
            self.next = now + INTERVAL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::board;

    #[test]
    fn every_phase_is_seen() {
        let (folder, files) = board("raspberry-pi-4");
        let mut observer = Observer::new(&files, &[0]);
        let clock = folder.path().join("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq");
        for (phase, kilohertz) in [(Phase::WarmUp, 600_000), (Phase::Measured, 1_500_000), (Phase::Layers, 900_000)] {
            std::fs::write(&clock, format!("{kilohertz}\n")).unwrap();
            for _ in 0..3 {
                observer.begins(phase);
                observer.ended(phase);
            }
        }
        let (samples, _) = observer.finish();
        let seen: Vec<_> = samples.iter().map(|s| (s.phase, s.mhz.clone(), s.temperature_c)).collect();
        let expected = [(Phase::WarmUp, 600.0), (Phase::Measured, 1500.0), (Phase::Layers, 900.0)]
            .map(|(phase, mhz)| (phase, vec![mhz], Some(48.199)));
        // A slow machine may take more samples than these three.
        assert!(expected.iter().all(|sample| seen.contains(sample)), "{seen:?}");
    }
}
