//! `bench`: how long a model takes on this machine, and whether the figures can be trusted.

use std::fmt::Write;

use resmlp_runtime::measure::{self, Latency, Measured, Repeats};
use serde::Serialize;

use crate::arguments::Bench;
use crate::error::{Error, Result};
use crate::machine::{self, Files, Machine, State};
use crate::{model, say};

#[derive(Serialize)]
struct Outcome {
    model: String,
    kernels: &'static str,
    threads: usize,
    runs: usize,
    warmup: usize,
    latency_ms: Milliseconds,
    gmac_per_s: f64,
    model_bytes: usize,
    scratch_bytes: usize,
    /// All of this program's memory.
    peak_memory_bytes: Option<u64>,
    /// Whether the weights were rearranged at load.
    repacked: bool,
    layers: Vec<Layer>,
    machine: Machine,
    before: State,
    after: State,
    /// Whether there are no warnings.
    trusted: bool,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Milliseconds {
    min: f64,
    median: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    ms: f64,
    macs: u64,
}

/// Measures the model; returns what is to be printed.
pub fn execute(options: &Bench) -> Result<String> {
    let opened = model::open(&options.common)?;
    let engine = opened.engine()?;
    let default = Repeats::default();
    let repeats = Repeats { warmup: options.warmup.unwrap_or(default.warmup), runs: options.runs };
    let files = Files::here();
    let machine = Machine::read(&files);
    let before = State::now();
    let measured = measure::measure(&engine, repeats).map_err(|error| opened.failure(&error))?;
    let after = State::now();

    let threads = options.common.threads;
    let warnings = machine::warnings(&machine, threads, &before, &after);
    let Measured { runs, latency, macs: _, model_bytes, scratch_bytes, .. } = measured;
    let Latency { min_ms, median_ms, p90_ms, p99_ms, max_ms } = latency;
    let outcome = Outcome {
        model: options.common.model.display().to_string(),
        kernels: engine.kernels().name(),
        threads,
        runs,
        warmup: repeats.warmup,
        latency_ms: Milliseconds { min: min_ms, median: median_ms, p90: p90_ms, p99: p99_ms, max: max_ms },
        gmac_per_s: measured.gmac_per_s(),
        model_bytes,
        scratch_bytes,
        peak_memory_bytes: machine::peak_memory_bytes(&files),
        repacked: opened.repacked,
        layers: measured.layers.into_iter().map(|l| Layer { name: l.name, ms: l.ms, macs: l.macs }).collect(),
        machine,
        before,
        after,
        trusted: warnings.is_empty(),
        warnings,
    };
    if options.common.json {
        serde_json::to_string(&outcome).map_err(|error| Error::about("JSON", &error))
    } else {
        outcome.warnings.iter().for_each(|warning| say("warning", warning));
        Ok(text(&outcome))
    }
}

fn text(outcome: &Outcome) -> String {
    let Milliseconds { min, median, p90, p99, max } = outcome.latency_ms;
    let unknown = || "not known".to_owned();
    let temperature = |state: &State| state.temperature_c.map_or_else(unknown, |celsius| format!("{celsius:.1} °C"));
    let clocks = |state: &State| {
        let clocks = state.clocks.iter().filter_map(|clock| clock.mhz).map(|mhz| format!("{mhz:.0} MHz"));
        let clocks: Vec<String> = clocks.collect();
        if clocks.is_empty() { unknown() } else { clocks.join(", ") }
    };
    let cpu = outcome.machine.cpu.clone().unwrap_or_else(unknown);
    let mut rows = vec![
        ("board", outcome.machine.board.clone().unwrap_or_else(unknown)),
        ("cpu", format!("{cpu}; {} cores", outcome.machine.cores)),
        ("clock", format!("{} before, {} after", clocks(&outcome.before), clocks(&outcome.after))),
        ("temperature", format!("{} before, {} after", temperature(&outcome.before), temperature(&outcome.after))),
        ("kernels", outcome.kernels.to_owned()),
        ("threads", outcome.threads.to_string()),
        ("runs", format!("{} after {} to warm up", outcome.runs, outcome.warmup)),
        ("latency", format!("{median:.3} ms median, {min:.3} least, {p90:.3} p90, {p99:.3} p99, {max:.3} most")),
        (
            "rate",
            format!("{:.2} GMAC/s{}", outcome.gmac_per_s, if outcome.trusted { "" } else { " (not to be trusted)" }),
        ),
        ("model", format!("{} bytes", outcome.model_bytes)),
        ("scratch", format!("{} bytes", outcome.scratch_bytes)),
    ];
    if let Some(bytes) = outcome.peak_memory_bytes {
        rows.push(("all memory", format!("{bytes} bytes")));
    }
    let mut text = String::new();
    for (name, value) in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:12} {value}");
    }
    for layer in &outcome.layers {
        let rate = layer.macs as f64 / (1e6 * layer.ms).max(f64::MIN_POSITIVE);
        let _ = writeln!(text, "{:12} {:9.3} ms {rate:7.2} GMAC/s", layer.name, layer.ms);
    }
    text
}
