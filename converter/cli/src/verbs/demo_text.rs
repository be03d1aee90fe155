//! The demo's report, as JSON and as text.

use std::fmt;
use std::path::PathBuf;

use resmlp_cli::check::Findings;
use resmlp_command_line::{Guess, Milliseconds};
use serde::Serialize;

use super::report::{columns, grouped, percent, shown, table};

/// Command that runs `resmlp` in the folder of the source code.
const RESMLP: &str = "cargo run --release --";

/// What `demo` reports. With `--json` these are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Path of the checkpoint.
    #[serde(serialize_with = "shown")]
    pub checkpoint: PathBuf,
    /// Implementation that the checkpoint comes from.
    pub dialect: &'static str,
    /// Number of trained parameters.
    pub parameters: usize,
    /// Multiply-accumulate operations of one forward pass.
    pub macs: u64,
    /// Number of calibration pictures.
    pub calibration_pictures: usize,
    /// Time that reading, calibrating, quantising and writing took.
    pub convert_seconds: f64,
    /// Path of the packed model.
    #[serde(serialize_with = "shown")]
    pub model: PathBuf,
    /// Length of the packed model.
    pub model_bytes: usize,
    /// Comparison with the unfolded network in tract, with the fields of `check`.
    pub check: Findings,
    /// Name of the kernels that classified the photographs.
    pub kernels: String,
    /// One entry for each photograph.
    pub results: Vec<Classified>,
    /// One entry for each combination of kernels and threads that was measured.
    pub latency: Vec<Line>,
    /// Whether all kernels and numbers of threads gave the same logits for all photographs, bit for bit.
    pub bit_identical: bool,
    /// Time that the whole demo took.
    pub seconds: f64,
}

/// The classes of a photograph.
#[derive(Serialize)]
pub struct Classified {
    /// Path of the photograph.
    #[serde(serialize_with = "shown")]
    pub image: PathBuf,
    /// The five most probable classes of the packed model, most probable first.
    pub top: Vec<Guess>,
    /// The most probable class of the unfolded f32 network in tract.
    pub f32_top1: Option<Guess>,
}

/// One line of the latency table.
#[derive(Serialize)]
pub struct Line {
    /// Name of the kernels.
    pub kernels: &'static str,
    /// Number of threads.
    pub threads: usize,
    /// Number of measured runs.
    pub runs: usize,
    /// Latency of a whole forward pass.
    pub latency_ms: Milliseconds,
    /// Billions of multiply-accumulate operations in a second, by the median latency.
    pub gmac_per_s: f64,
    /// Scratch memory of a forward pass.
    pub scratch_bytes: usize,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(self))
    }
}

/// Returns the report as numbered sections.
fn render(outcome: &Outcome) -> String {
    let sections = [
        ("Convert the trained checkpoint to an int8 model", convert(outcome)),
        ("Check the model against the unfolded network in tract", check(&outcome.check)),
        ("Classify the photographs that come with the source code", classify(&outcome.results)),
        ("Measure the latency of one picture on this machine", latency(outcome)),
        ("What to try next", next(outcome)),
    ];
    let section = |(index, (title, text)): (usize, (&str, String))| {
        let lines: String =
            text.trim_end().lines().map(|line| format!("   {line}").trim_end().to_owned() + "\n").collect();
        format!("{}  {title}\n{lines}\n", index + 1)
    };
    let sections: String = sections.into_iter().enumerate().map(section).collect();
    format!("{sections}{:.1} s in all\n", outcome.seconds)
}

fn convert(outcome: &Outcome) -> String {
    let ratio = outcome.model_bytes as f64 / outcome.parameters as f64;
    table(&[
        ("checkpoint", outcome.checkpoint.display().to_string()),
        ("network", format!("{}, {} parameters, f32", outcome.dialect, grouped(outcome.parameters as u64))),
        ("calibrated", format!("{} pictures", outcome.calibration_pictures)),
        ("model", outcome.model.display().to_string()),
        ("size", format!("{} bytes, {ratio:.3} a parameter", grouped(outcome.model_bytes as u64))),
        ("time", format!("{:.1} s", outcome.convert_seconds)),
    ])
}

fn check(findings: &Findings) -> String {
    let Findings { fold_error, top1_agreement, cosine_min, cosine_mean, layers, images, .. } = findings;
    let noise = layers.last().map_or(String::new(), |last| format!("{:.1} dB after {}", last.sqnr_db, last.name));
    table(&[
        ("pictures", format!("{images} (photographs and calibration)")),
        ("folding", format!("folded f32 differs from unfolded f32 by {fold_error:.1e} of the logits' range")),
        ("same top-1", percent(*top1_agreement)),
        ("cosine", format!("least {cosine_min:.5}, mean {cosine_mean:.5} between int8 logits and unfolded f32 logits")),
        ("SQNR", format!("{noise}, of the int8 residual stream against the folded f32 one")),
    ])
}

fn classify(results: &[Classified]) -> String {
    let agrees = |result: &Classified| match (result.top.first(), &result.f32_top1) {
        (Some(first), Some(exact)) => first.index == exact.index,
        _ => false,
    };
    let width = results.iter().map(|result| name(result).chars().count()).max().unwrap_or_default();
    let line = |result: &Classified| {
        let guesses: String = result.top.iter().map(guess).collect();
        let other = result.f32_top1.as_ref().filter(|_| !agrees(result));
        let other = other.map_or(String::new(), |exact| format!("  (f32: {})", exact.name()));
        format!("{:width$}{guesses}{other}\n", name(result))
    };
    let lines: String = results.iter().map(line).collect();
    let same = results.iter().filter(|result| agrees(result)).count();
    let verdict = format!("The f32 network puts the same class first for {same} of {}.", results.len());
    format!("{lines}{verdict} The network knows ten classes of 32 × 32 pixels; see demo/README.md.\n")
}

fn name(result: &Classified) -> String {
    result.image.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

fn guess(guess: &Guess) -> String {
    format!("  {:10} {:4.1} %", guess.name(), guess.probability * 100.0)
}

fn latency(outcome: &Outcome) -> String {
    let row = |line: &Line| {
        let ms = [line.latency_ms.min, line.latency_ms.median, line.latency_ms.p99].map(|ms| format!("{ms:.3}"));
        let [min, median, p99] = ms;
        let (threads, rate) = (line.threads.to_string(), format!("{:.1}", line.gmac_per_s));
        [line.kernels.to_owned(), threads, min, median, p99, rate, line.runs.to_string()]
    };
    let rows: Vec<_> = outcome.latency.iter().map(row).collect();
    let table = columns(["kernels", "threads", "min ms", "median", "p99", "GMAC/s", "runs"], &rows);
    let gmac = outcome.macs as f64 / 1e9;
    let verdict =
        if outcome.bit_identical { "the same logits, bit for bit" } else { "DIFFERENT logits, which is a bug" };
    format!("{table}{gmac:.3} GMAC a picture. All lines gave {verdict}.\n")
}

fn next(outcome: &Outcome) -> String {
    let model = outcome.model.display();
    let commands = [
        ("your own photographs", format!("{RESMLP} run {model} PHOTO.jpg")),
        ("stage by stage", format!("{RESMLP} bench {model}")),
        ("your own ResMLP", format!("{RESMLP} convert CHECKPOINT -o M.rmlp --calibrate FOLDER_OF_PICTURES")),
        ("how good it is", format!("{RESMLP} eval M.rmlp --dataset FOLDER_OF_CLASS_FOLDERS")),
        ("all tests", "cargo xtask test".to_owned()),
    ];
    table(&commands)
}
