//! `cargo xtask fuzz`: runs libFuzzer on every target of `fuzz/`.
//!
//! The packages of this workspace are compiled with counters of coverage, by a wrapper around rustc. The packages that
//! they depend on are taken as they are compiled for everything else. libFuzzer is the compiled library that LLVM
//! ships. All of this works with a stable compiler.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cargo::cargo;
use crate::packages::FUZZ;
use crate::process::{Result, run, shown};
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::{tools, workspace};

/// Every target, as `fuzz/src/lib.rs` names them.
const TARGETS: [&str; 10] =
    ["rmlp", "rmlp-fields", "differential", "safetensors", "pth", "pickle", "onnx", "file", "picture", "protocol"];

/// How long `cargo xtask test` fuzzes each target, in seconds.
const SECONDS: u32 = 30;

/// Returns the longest input that a target is given, in bytes.
///
/// An input of a mebibyte shows whether memory or time grows faster than the input. The target `differential` and the
/// target `rmlp-fields` construct models whose size does not follow from the input's: they read a few dimensions from
/// it and repeat the rest of it as numbers, so longer inputs only cost time.
fn longest(target: &str) -> usize {
    match target {
        "differential" | "rmlp-fields" => 20_000,
        _ => 1 << 20,
    }
}

/// Returns the folders with files that a target starts from, inside the repository. Only the first one exists for the
/// target's own sake; the others are fixtures of tests.
fn seeds(target: &str) -> Vec<PathBuf> {
    let fixtures = |kind: &str| format!("converter/checkpoint/tests/fixtures/{kind}");
    let others = match target {
        "safetensors" | "pth" | "onnx" => vec![fixtures(target)],
        "file" => ["safetensors", "pth", "onnx"].map(fixtures).to_vec(),
        _ => Vec::new(),
    };
    let own = format!("fuzz/corpora/{target}");
    [own].into_iter().chain(others).map(|folder| workspace::root().join(folder)).collect()
}

/// The flags that compile in LLVM's counters, and the checks of overflow and of debug assertions.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=yes -Ccodegen-units=1";

/// Fuzzes each target for half a minute. A test of the package replays the committed inputs.
pub fn check(_: &Toolchain) -> Result<Tally> {
    all(SECONDS)
}

/// Fuzzes each target for this many seconds, as many targets at a time as there are cores.
pub fn all(seconds: u32) -> Result<Tally> {
    let program = build()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tally = Tally::default();
    let mut running: VecDeque<(&str, Result<Run>)> = VecDeque::new();
    let mut finish = |(target, run): (&str, Result<Run>)| tally.record(target, run.and_then(Run::finish));
    for target in TARGETS {
        if running.len() == cores {
            running.pop_front().map(&mut finish);
        }
        running.push_back((target, Run::start(&program, target, seconds)));
    }
    running.into_iter().for_each(finish);
    Ok(tally)
}

/// Compiles and links the fuzzing program.
fn build() -> Result<PathBuf> {
    let folder = workspace::target_dir().join("fuzz");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let wrapper = folder.join("rustc");
    let write = || -> std::io::Result<()> {
        // A build script is a program of its own, which is not linked with libFuzzer.
        let uncounted = "case \"$*\" in *\"--crate-name build_script\"*) exec \"$@\" ;; esac";
        fs::write(&wrapper, format!("#!/bin/sh\n{uncounted}\nexec \"$@\" {FLAGS}\n"))?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
    };
    write().map_err(|error| format!("cannot write {}: {error}", wrapper.display()))?;
    let mut cargo = cargo("rustc");
    cargo.args(["--release", "--package", FUZZ, "--features", "libfuzzer", "--bin", "fuzz", "--"]);
    cargo.arg(format!("-Clink-arg={}", tools::libfuzzer()?.display())).arg("-Clink-arg=-lstdc++");
    run(cargo.env("RUSTC_WORKSPACE_WRAPPER", &wrapper))?;
    Ok(workspace::target_dir().join("release/fuzz"))
}

/// A target that is being fuzzed.
struct Run {
    target: &'static str,
    shown: String,
    child: Child,
    log: PathBuf,
}

impl Run {
    /// Starts fuzzing a target for this many seconds.
    fn start(program: &Path, target: &'static str, seconds: u32) -> Result<Self> {
        let folder = workspace::target_dir().join("fuzz");
        // The fuzzer writes new inputs to this folder, and only reads the committed ones.
        let found = folder.join(target);
        let log = folder.join(format!("{target}.log"));
        let file = fs::create_dir_all(&found).and_then(|()| fs::File::create(&log));
        let file = file.map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut command = Command::new(program);
        command.env("FUZZ_TARGET", target).arg(format!("-max_total_time={seconds}"));
        // The networks are so small that handing work to other threads takes longer than the work.
        command.env("RAYON_NUM_THREADS", "1");
        // A busy machine is slow, so only an input that takes a whole minute counts as one that never ends.
        // Without `-len_control=0` inputs would stay short until nothing new is found among short ones.
        command.arg(format!("-max_len={}", longest(target))).arg("-len_control=0");
        command.args(["-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/{target}-", folder.display())).arg(found).args(seeds(target));
        eprintln!("$ {}", shown(&command));
        let child = command.stdout(Stdio::null()).stderr(file).spawn();
        let child = child.map_err(|error| format!("cannot start `{}`: {error}", shown(&command)))?;
        Ok(Self { target, shown: shown(&command), child, log })
    }

    /// Waits for the end, and prints how many inputs were tried.
    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().map_err(|error| format!("cannot wait for `{}`: {error}", self.shown))?;
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        if !status.success() {
            let (reason, whole) = (reason(&log), self.log.display());
            return Err(format!("{reason}\n`{}` ended with {status}; its whole output is in {whole}", self.shown));
        }
        let number = |name: &str| log.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
        let (runs, rate) = (number("stat::number_of_executed_units:"), number("stat::average_exec_per_sec:"));
        eprintln!("{:<14} {runs:>9} executions, {rate:>6} a second", self.target);
        Ok(())
    }
}

/// Returns the lines of libFuzzer's output that say why a target failed and where the failing input lies. Among other
/// lines there are thousands that report progress.
fn reason(log: &str) -> String {
    let tells = |line: &str| {
        let is = |word: &str| line.contains(word);
        is("ERROR: ") || is("SUMMARY: ") || is("Test unit written to")
    };
    let lines: Vec<&str> = log.lines().collect();
    let panic = lines.iter().rposition(|line| line.contains("panicked at"));
    let panic = panic.map_or(&[][..], |at| &lines[at..lines.len().min(at + 2)]);
    let told = lines.iter().filter(|line| tells(line) && !panic.contains(line));
    let told: Vec<&str> = panic.iter().chain(told).copied().collect();
    if !told.is_empty() {
        return told.join("\n");
    }
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_begins_with_its_reason() {
        let progress = "#7\tREDUCE cov: 1 ft: 2\n".repeat(100);
        let crash = "==1== ERROR: libFuzzer: deadly signal\n    #0 0x1\nSUMMARY: libFuzzer: deadly signal\n\
                     artifact_prefix='./'; Test unit written to ./crash-0\nBase64: AA==\n";
        let log =
            format!("{progress}\nthread '<unnamed>' panicked at fuzz/src/memory.rs:1:2:\ntoo much\n{progress}{crash}");
        let found = reason(&log);
        let lines: Vec<&str> = found.lines().collect();
        assert_eq!(lines[..2], ["thread '<unnamed>' panicked at fuzz/src/memory.rs:1:2:", "too much"]);
        assert!(found.contains("ERROR: libFuzzer") && found.ends_with("Test unit written to ./crash-0"), "{found}");
        let limit = "==2== ERROR: libFuzzer: out-of-memory (used: 4097Mb; limit: 4096Mb)";
        assert_eq!(reason(&format!("{progress}{limit}\n")), limit);
        assert_eq!(reason("killed").lines().count(), 1);
    }
}
