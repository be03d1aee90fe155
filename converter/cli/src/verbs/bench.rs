//! `resmlp bench`: measures how long a packed model takes on this machine.

use std::fmt;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use resmlp_cli::error::{Error, Result};
use resmlp_cli::packed::PackedModel;
use resmlp_command_line::Milliseconds;
use resmlp_runtime::Threads;
use resmlp_runtime::measure::{Layer, Measured, Repeats, measure};
use serde::Serialize;

use super::flags::{KernelFlags, ThreadFlags};
use super::open;
use super::report::{columns, grouped, shown, table};

#[derive(clap::Args)]
pub struct Args {
    /// Packed model to measure
    #[arg(value_name = "MODEL")]
    file: PathBuf,

    /// Number of measured runs [default: as many as take three seconds, but 10 to 1000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    runs: Option<u32>,

    /// Number of runs before the measured ones, which warm up caches and clocks
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    warmup: u32,

    #[command(flatten)]
    kernels: KernelFlags,

    #[command(flatten)]
    threads: ThreadFlags,
}

/// What `bench` reports. With `--json` these are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Path of the model.
    #[serde(serialize_with = "shown")]
    model: PathBuf,
    /// Name of the kernels.
    kernels: &'static str,
    /// Whether the weights were rearranged for the kernels at load.
    repacked: bool,
    /// Number of threads.
    threads: usize,
    /// Number of measured runs.
    runs: usize,
    /// Latency of a whole forward pass.
    latency_ms: Milliseconds,
    /// Billions of multiply-accumulate operations in a second, by the median latency.
    gmac_per_s: f64,
    /// Multiply-accumulate operations of one forward pass.
    macs: u64,
    /// Length of the model file.
    model_bytes: u64,
    /// Scratch memory of a forward pass.
    scratch_bytes: usize,
    /// Largest amount of memory that this program has used so far; `null` on other systems than Linux.
    peak_memory_bytes: Option<u64>,
    /// Stages from the stem to the head, timed one by one in further runs.
    layers: Vec<Stage>,
}

/// One stage of the forward pass.
#[derive(Serialize)]
struct Stage {
    /// Name of the stage: `stem`, `block.3.mix`, `block.3.mlp` or `head`.
    name: String,
    /// Median time of the stage in milliseconds.
    ms: f64,
    /// Multiply-accumulate operations of the stage.
    macs: u64,
}

/// One measurement with certain kernels and a certain number of threads.
pub struct Timed {
    /// Name of the kernels.
    pub kernels: &'static str,
    /// Number of threads.
    pub threads: usize,
    /// The measurement itself.
    pub measured: Measured,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    let model = open::packed(&args.file, &args.kernels)?;
    let model_bytes = std::fs::metadata(&args.file).map_err(|error| Error::io(&args.file, error))?.len();
    let repeats = Repeats { warmup: args.warmup as usize, runs: args.runs.map(|runs| runs as usize) };
    let threads = args.threads.threads.map_or_else(cores, usize::from);
    let Timed { kernels, measured, .. } = time(&model, threads, repeats)?;
    Ok(Outcome {
        model: args.file.clone(),
        kernels,
        repacked: model.repacked(),
        threads,
        runs: measured.runs,
        latency_ms: measured.latency.into(),
        gmac_per_s: measured.gmac_per_s(),
        macs: measured.macs,
        model_bytes,
        scratch_bytes: measured.scratch_bytes,
        peak_memory_bytes: peak_memory_bytes(),
        layers: measured.layers.into_iter().map(Stage::from).collect(),
    })
}

/// Returns the number of cores that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// Returns the largest resident set of this program so far in bytes, where the system tells it.
fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Measures `model` on `threads` threads.
///
/// # Errors
/// Returns an error where the threads cannot be started or the model cannot be run.
pub fn time(model: &PackedModel, threads: usize, repeats: Repeats) -> Result<Timed> {
    let path: &Path = model.path();
    let workers = Threads::new(threads).map_err(|error| Error::Usage(format!("--threads {threads}: {error}")))?;
    let engine = model.engine(workers)?;
    let measured = measure(&engine, repeats).map_err(|error| Error::file(path, error.to_string()))?;
    Ok(Timed { kernels: engine.kernels().name(), threads, measured })
}

impl From<Layer> for Stage {
    fn from(Layer { name, ms, macs }: Layer) -> Self {
        Self { name, ms, macs }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Milliseconds { min, median, p90, p99, max } = &self.latency_ms;
        let memory =
            self.peak_memory_bytes.map_or_else(|| "not known".to_owned(), |bytes| format!("{} bytes", grouped(bytes)));
        f.write_str(&table(&[
            ("model", self.model.display().to_string()),
            ("kernels", format!("{}, threads {}", self.kernels, self.threads)),
            ("median ms", format!("{median:.3} of {} runs", self.runs)),
            ("p90, p99 ms", format!("{p90:.3}, {p99:.3}")),
            ("min, max ms", format!("{min:.3}, {max:.3}")),
            ("GMAC/s", format!("{:.2}", self.gmac_per_s)),
            ("model bytes", grouped(self.model_bytes)),
            ("scratch bytes", grouped(self.scratch_bytes as u64)),
            ("all memory", memory),
        ]))?;
        let total: f64 = self.layers.iter().map(|layer| layer.ms).sum();
        let row = |layer: &Stage| {
            let share = 100.0 * layer.ms / total.max(f64::MIN_POSITIVE);
            let rate = layer.macs as f64 / (layer.ms * 1e6).max(f64::MIN_POSITIVE);
            [layer.name.clone(), format!("{:.4}", layer.ms), format!("{share:.1} %"), format!("{rate:.2}")]
        };
        let rows: Vec<_> = self.layers.iter().map(row).collect();
        write!(f, "\n{}", columns(["stage", "ms", "share", "GMAC/s"], &rows))
    }
}
