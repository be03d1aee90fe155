//! `bench`: measures how long a model takes on this machine, and judges whether the figures can be trusted.

mod energy;
mod peak;

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use resmlp_command_line::to_json;
use resmlp_report::{CoolDown, Cycles, Layer, Report, Sample, WarmUp, html, milliseconds, text};
use resmlp_runtime::Arithmetic;
use resmlp_runtime::measure::{Latency, Measured, Phase, Repeats, measure_watched};

use crate::arguments::Bench;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::machine::{self, Cores, Sensor};
use crate::model::{self, Opened};
use crate::observe::Observer;
use crate::output::say;
use crate::trust::{self, Evidence};

/// Longest wait for the processor to cool down, and time between two readings of its temperature.
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(300);
const COOL_DOWN_STEP: Duration = Duration::from_millis(500);

/// Measures the model and returns the report, as text or as JSON.
pub fn execute(options: &Bench) -> Result<String> {
    let opened = model::open(&options.common)?;
    // The page's file is opened before the measurement, so that a wrong path is an error now and not minutes later. An
    // existing page keeps its contents until the new one is complete.
    let page = options.options.html.as_deref().map(Page::open).transpose()?;
    let report = measure(&opened, options)?;
    if let Some(page) = page {
        let page_text = html::page(&report).map_err(|error| Error::about("JSON", &error))?;
        page.write(&page_text)?;
    }
    if options.common.json {
        to_json(&report).map_err(|error| Error::about("JSON", &error))
    } else {
        report.warnings.iter().for_each(|warning| say("warning", warning));
        Ok(text::text(&report))
    }
}

/// The file that a page is written to.
struct Page<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> Page<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let file = resmlp_files::create(path).map_err(|error| Error::about(path.display(), &error))?;
        Ok(Self { path, file })
    }

    fn write(mut self, text: &str) -> Result<()> {
        let written = resmlp_files::replace(&mut self.file, text.as_bytes());
        written.map_err(|error| Error::about(self.path.display(), &error))
    }
}

/// Measures in three steps: first what needs a quiet machine, then the measured runs, and last the runs that are
/// disturbed by reading the power sensor.
fn measure(opened: &Opened, options: &Bench) -> Result<Report> {
    let threads = options.common.threads;
    let default = Repeats::default();
    let warmup = options.options.warmup.unwrap_or(default.warmup);
    let repeats = Repeats { warmup, runs: options.options.runs };
    let files = Files::here();
    let cores = Cores::read(&files, std::env::consts::ARCH);
    // The machine is read before this thread is pinned: a pinned thread sees one core only.
    let machine = machine::describe(&files, &cores);
    let engine = &opened.engine()?;
    let cool_down = options.options.cool_down.map(|celsius| cool_down(&files, celsius, LONGEST_COOL_DOWN));
    let sensor = Sensor::find(&files);
    let idle_w = sensor.as_ref().and_then(|sensor| energy::idle_watts(sensor, &files));

    let before = machine::state_now(&files);
    let mut observer = Observer::new(&files, &opened.cpus);
    let measured = measure_watched(engine, repeats, &mut observer).map_err(|error| opened.failure(&error))?;
    let (samples, counted) = observer.finish();
    let after = machine::state_now(&files);

    let steady: Vec<Sample> = samples.iter().filter(|sample| sample.phase == Phase::Measured).cloned().collect();
    let cycles = counted.map(|counted| Cycles::of(counted.cycles, counted.instructions, &measured.times));
    // The cycles give the clock only for one thread: a thread that waits for others counts no cycles while it sleeps.
    let counted_mhz = cycles.as_ref().ok().filter(|_| threads == 1).map(|cycles| cycles.mhz);
    let evidence = Evidence {
        machine: &machine,
        threads,
        cpus: &opened.cpus,
        before: &before,
        after: &after,
        samples: &steady,
        drift_ms: drift(&measured.times),
        counted_mhz,
    };
    let mut warnings = trust::warnings(&evidence);
    warnings.extend(cool_down.as_ref().and_then(CoolDown::warning));

    let peak = match engine.model().dims().arithmetic() {
        Arithmetic::Int8 => peak::peak(&cores, &opened.cpus, threads, counted_mhz, &steady, measured.gmac_per_s()),
        Arithmetic::Float => Err("the peak is that of int8 kernels, and this model is f16".to_owned()),
    };
    let energy = match &sensor {
        Some(sensor) => energy::under_load(sensor, &files, engine, idle_w).map_err(|error| opened.failure(&error))?,
        None => Err("this board has no power sensor that the program knows".to_owned()),
    };
    let mut not_known = Vec::new();
    let mut known = |what: &str, why: String| not_known.push(format!("{what}: {why}"));
    let gmac_per_s = measured.gmac_per_s();
    let Measured { runs, latency, macs, model_bytes, scratch_bytes, .. } = measured;
    Ok(Report {
        model: options.options.name.clone().unwrap_or_else(|| options.common.model.display().to_string()),
        kernels: engine.kernels().name().to_owned(),
        threads,
        pinned_to: opened.cpus.clone(),
        runs,
        warmup,
        warmup_ms: WarmUp::of(&measured.warmup_times),
        latency_ms: latency.into(),
        times_ms: measured.times.iter().map(milliseconds).collect(),
        gmac_per_s,
        macs,
        model_bytes,
        scratch_bytes,
        peak_memory_bytes: machine::peak_memory_bytes(&files),
        repacked: opened.repacked,
        peak: peak.map_err(|why| known("share of the int8 peak", why)).ok(),
        cycles: cycles.map_err(|why| known("cycles", why)).ok(),
        energy: energy.map_err(|why| known("energy", why)).ok(),
        layers: measured.layers.into_iter().map(Layer::from).collect(),
        machine,
        cool_down,
        before,
        after,
        timeline: samples,
        not_known,
        trusted: warnings.is_empty(),
        warnings,
    })
}

/// Waits until the processor is no hotter than `celsius`, but no longer than `longest`.
fn cool_down(files: &Files, celsius: f64, longest: Duration) -> CoolDown {
    let start = Instant::now();
    let from_c = machine::temperature(files);
    let mut to_c = from_c;
    while to_c.is_some_and(|found| found > celsius) && start.elapsed() < longest {
        sleep(COOL_DOWN_STEP.min(longest));
        to_c = machine::temperature(files);
    }
    CoolDown { wanted_c: celsius, from_c, to_c, seconds: start.elapsed().as_secs_f64() }
}

/// Returns the medians of the first and of the last quarter of the runs, in milliseconds. Both are 0 if the runs are
/// too few.
fn drift(times: &[Duration]) -> [f64; 2] {
    /// Fewest runs of a quarter. With so many, one interrupted run does not move the median.
    const FEWEST: usize = 5;
    let quarter = times.len() / 4;
    if quarter < FEWEST {
        return [0.0; 2];
    }
    let median = |times: &[Duration]| Latency::of(&mut times.to_vec()).median_ms;
    [median(&times[..quarter]), median(&times[times.len() - quarter..])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::board;

    #[test]
    fn cooling_down_waits_and_gives_up() {
        let (folder, files) = board("raspberry-pi-4");
        let cool = cool_down(&files, 50.0, LONGEST_COOL_DOWN);
        assert_eq!((cool.from_c, cool.warning()), (Some(48.199), None));

        let hot = cool_down(&files, 40.0, Duration::from_millis(1));
        assert!(hot.seconds > 0.0 && hot.warning().unwrap().contains("48.2 °C"), "{:?}", hot.warning());

        let file = folder.path().join("sys/class/thermal/thermal_zone0/temp");
        let cooler = std::thread::spawn(move || {
            sleep(Duration::from_millis(100));
            std::fs::write(file, "39000\n").unwrap();
        });
        let cooled = cool_down(&files, 40.0, LONGEST_COOL_DOWN);
        cooler.join().unwrap();
        assert_eq!((cooled.to_c, cooled.warning()), (Some(39.0), None));

        let unknown = cool_down(&Files::below("nowhere"), 40.0, LONGEST_COOL_DOWN);
        assert!(unknown.warning().unwrap().contains("no temperature"));
    }

    #[test]
    fn drift_is_between_the_ends() {
        let times: Vec<Duration> = (0..40).map(|run| Duration::from_millis(if run < 20 { 10 } else { 12 })).collect();
        assert_eq!(drift(&times), [10.0, 12.0]);
        assert_eq!(drift(&times[..19]), [0.0; 2]);
    }
}
