//! Measures what a run costs on a board that has a power sensor.
//!
//! The runs under load are runs of their own, because reading the sensor disturbs the runs whose latency is measured.
//! They last a set time and not a set number, so that the sensor is read as often on a fast machine as on a slow one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use resmlp_report::Energy;
use resmlp_runtime::measure::picture;
use resmlp_runtime::{Engine, RunError, Threads};

use crate::files::Files;
use crate::machine::Sensor;

/// Time between two readings of the sensor.
const INTERVAL: Duration = Duration::from_millis(100);

/// Readings of an idle machine.
const IDLE_READINGS: usize = 10;

/// Time for which the model runs while the sensor is read; the last run that begins within it is completed.
const LOAD_TIME: Duration = Duration::from_secs(3);

/// Returns the mean power over a second, or `None` if the sensor gives no reading.
pub fn idle_watts(sensor: &Sensor, files: &Files) -> Option<f64> {
    let reading = |_| {
        sleep(INTERVAL);
        sensor.watts(files)
    };
    mean(&(0..IDLE_READINGS).filter_map(reading).collect::<Vec<_>>())
}

/// Runs the model for three seconds while a second thread reads the sensor. The inner error says why there is no
/// figure.
///
/// # Errors
/// Returns those of [`Engine::run`].
pub fn under_load(
    sensor: &Sensor,
    files: &Files,
    engine: &Engine<Threads>,
    idle_w: Option<f64>,
) -> Result<Result<Energy, String>, RunError> {
    let finished = AtomicBool::new(false);
    let (load, readings) = scope(|scope| {
        let reader = scope.spawn(|| readings_until(&finished, sensor, files));
        let load = Load::run(engine, LOAD_TIME);
        finished.store(true, Ordering::Relaxed);
        (load, reader.join().unwrap_or_default())
    });
    Ok(energy(sensor.name(), idle_w, load?, &readings))
}

/// Reads the sensor again and again until `finished` is set. A reading during which the runs ended is left out, because
/// it may be that of an idle machine.
fn readings_until(finished: &AtomicBool, sensor: &Sensor, files: &Files) -> Vec<Option<f64>> {
    let mut readings = Vec::new();
    loop {
        sleep(INTERVAL);
        let reading = sensor.watts(files);
        if finished.load(Ordering::Relaxed) {
            return readings;
        }
        readings.push(reading);
    }
}

/// Runs of the model, one after the other.
struct Load {
    runs: usize,
    time: Duration,
}

impl Load {
    /// Runs the model until `time` is over, and at least once.
    fn run(engine: &Engine<Threads>, time: Duration) -> Result<Self, RunError> {
        let dims = engine.model().dims();
        let (picture, mut scratch) = (picture(dims), vec![0; engine.scratch_len()]);
        let mut logits = vec![0.0; dims.outputs];
        let start = Instant::now();
        let mut load = Self { runs: 0, time: Duration::ZERO };
        while load.runs == 0 || load.time < time {
            engine.run(&picture, &mut scratch, &mut logits)?;
            load = Self { runs: load.runs + 1, time: start.elapsed() };
        }
        Ok(load)
    }
}

/// Computes the energy of a run from the sensor's readings, one of which is `None` if the sensor gave no answer.
///
/// # Errors
/// Returns a sentence for people if there is no reading.
fn energy(sensor: String, idle_w: Option<f64>, load: Load, readings: &[Option<f64>]) -> Result<Energy, String> {
    let Load { runs, time } = load;
    if readings.is_empty() {
        let interval = INTERVAL.as_secs_f64();
        return Err(format!(
            "the model ran for {:.3} s, too short a time for the sensor, which is read every {interval} s; run bench again \
             while no other program is busy",
            time.as_secs_f64()
        ));
    }
    let watts: Vec<f64> = readings.iter().flatten().copied().collect();
    let load_w = mean(&watts).ok_or_else(|| {
        let asked = readings.len();
        format!("the sensor ({sensor}) gave no reading while the model ran, although it was asked {asked} times; check that this user may read it")
    })?;
    let milliseconds = time.as_secs_f64() * 1e3 / runs as f64;
    Ok(Energy { sensor, idle_w, load_w, millijoules_per_run: load_w * milliseconds, looks: watts.len() })
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

    #[test]
    fn the_energy_of_a_run_is_power_times_time() {
        let load = Load { runs: 20, time: Duration::from_secs(4) };
        let found = energy("a sensor".to_owned(), Some(1.5), load, &[Some(2.0), None, Some(4.0)]);
        let expected = Energy {
            sensor: "a sensor".to_owned(),
            idle_w: Some(1.5),
            load_w: 3.0,
            millijoules_per_run: 600.0,
            looks: 2,
        };
        assert_eq!(found, Ok(expected));
    }

    #[test]
    fn without_a_reading_the_report_says_what_to_do() {
        let load = || Load { runs: 1000, time: Duration::from_millis(8) };
        let too_short = energy("a sensor".to_owned(), None, load(), &[]).unwrap_err();
        assert!(too_short.starts_with("the model ran for 0.008 s, too short a time"), "{too_short}");
        assert!(too_short.ends_with("run bench again while no other program is busy"), "{too_short}");
        let silent = energy("a sensor".to_owned(), None, load(), &[None, None]).unwrap_err();
        assert!(silent.contains("(a sensor) gave no reading") && silent.contains("asked 2 times"), "{silent}");
    }
}
