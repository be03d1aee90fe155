//! What a run costs, where the board has a sensor: measured in runs of their own, as reading a sensor disturbs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use resmlp_runtime::measure::{Repeats, measure};
use resmlp_runtime::{Engine, RunError, Threads};
use serde::Serialize;

use crate::files::Files;
use crate::machine::Sensor;

/// Time between two looks at the sensor, and how often to look at an idle machine.
const INTERVAL: Duration = Duration::from_millis(100);
const IDLE_LOOKS: usize = 10;

/// Power, and the energy of one run.
#[derive(Debug, PartialEq, Serialize)]
pub struct Energy {
    /// What measured it, and what of.
    pub sensor: String,
    /// Before the runs.
    pub idle_w: Option<f64>,
    /// During the runs.
    pub load_w: f64,
    /// Of everything that the sensor sees, idle or not.
    pub millijoules_per_run: f64,
    /// Looks at the sensor during the runs.
    pub looks: usize,
}

/// Mean power over a second.
pub fn idle_watts(sensor: &Sensor, files: &Files) -> Option<f64> {
    let look = |_| {
        sleep(INTERVAL);
        sensor.watts(files)
    };
    mean(&(0..IDLE_LOOKS).filter_map(look).collect::<Vec<_>>())
}

/// Runs the model for some three seconds and looks at the sensor meanwhile; the inner error says why there is no figure.
pub fn under_load(
    sensor: &Sensor,
    files: &Files,
    engine: &Engine<Threads>,
    idle_w: Option<f64>,
) -> Result<Result<Energy, String>, RunError> {
    let finished = AtomicBool::new(false);
    let (measured, watts) = scope(|scope| {
        let looking = scope.spawn(|| {
            let mut watts = Vec::new();
            while !finished.load(Ordering::Relaxed) {
                sleep(INTERVAL);
                watts.extend(sensor.watts(files));
            }
            watts
        });
        let measured = measure(engine, Repeats::default());
        finished.store(true, Ordering::Relaxed);
        (measured, looking.join().unwrap_or_default())
    });
    let times = measured?.times;
    let Some(load_w) = mean(&watts) else { return Ok(Err("the sensor tells nothing".to_owned())) };
    let milliseconds = times.iter().sum::<Duration>().as_secs_f64() * 1e3 / times.len() as f64;
    let (sensor, looks) = (sensor.name(), watts.len());
    Ok(Ok(Energy { sensor, idle_w, load_w, millijoules_per_run: load_w * milliseconds, looks }))
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::board;

    #[test]
    fn idle_power_is_a_mean() {
        let (_folder, files) = board("jetson-orin-nano");
        let sensor = Sensor::find(&files).unwrap();
        assert_eq!(idle_watts(&sensor, &files), Some(6.0));
        assert_eq!(mean(&[1.0, 2.0, 6.0]), Some(3.0));
        assert_eq!(mean(&[]), None);
    }
}
