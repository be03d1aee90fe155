//! `cargo xtask fuzz`: libFuzzer on every target of `fuzz/`.
//!
//! The packages of this workspace are compiled with coverage counters, by a wrapper around rustc; what they depend on is taken as
//! it was compiled for all else. libFuzzer is the compiled library that LLVM ships. All of it works with a stable compiler.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::process::{Result, output_of, run, shown};
use crate::tally::Tally;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// Every target, as `fuzz/src/lib.rs` names them.
const TARGETS: [&str; 9] =
    ["rmlp", "rmlp-fields", "differential", "safetensors", "pth", "pickle", "onnx", "picture", "protocol"];

/// Seconds for each target in CI.
const SECONDS: u32 = 30;

/// Returns the longest input that a target is given, in bytes.
///
/// Decoders of pictures and of the serial line are quick enough for a mebibyte, with which they could multiply memory or time.
fn longest(target: &str) -> usize {
    match target {
        "picture" | "protocol" => 1 << 20,
        _ => 20_000,
    }
}

/// What LLVM's counters take, and checks of overflow and of debug assertions.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions=yes -Ccodegen-units=1";

/// Fuzzes each target for half a minute; that the committed inputs are replayed is a test of the package.
pub fn check(_: &Toolchain) -> Result<Tally> {
    all(SECONDS).map(|()| Tally { passed: TARGETS.len(), ..Tally::default() })
}

/// Fuzzes each target for so many seconds, as many at a time as there are cores.
pub fn all(seconds: u32) -> Result<()> {
    let program = build()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut running: VecDeque<Run> = VecDeque::new();
    for target in TARGETS {
        if running.len() == cores {
            running.pop_front().map_or(Ok(()), Run::finish)?;
        }
        running.push_back(Run::start(&program, target, seconds)?);
    }
    running.into_iter().try_for_each(Run::finish)
}

/// Compiles and links the fuzzing program.
fn build() -> Result<PathBuf> {
    let folder = workspace::target_dir().join("fuzz");
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let wrapper = folder.join("rustc");
    let write = || -> std::io::Result<()> {
        // Build scripts are programs of their own, without libFuzzer.
        let uncounted = "case \"$*\" in *\"--crate-name build_script\"*) exec \"$@\" ;; esac";
        fs::write(&wrapper, format!("#!/bin/sh\n{uncounted}\nexec \"$@\" {FLAGS}\n"))?;
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))
    };
    write().map_err(|error| format!("cannot write {}: {error}", wrapper.display()))?;
    let mut cargo = Toolchain::Current.cargo("rustc");
    cargo.args(["--release", "--package", "resmlp-fuzz", "--features", "libfuzzer", "--bin", "fuzz", "--"]);
    cargo.arg(format!("-Clink-arg={}", library()?.display())).arg("-Clink-arg=-lstdc++");
    run(cargo.env("RUSTC_WORKSPACE_WRAPPER", &wrapper))?;
    Ok(workspace::target_dir().join("release/fuzz"))
}

/// LLVM's libFuzzer, of whatever version the system has.
pub fn library() -> Result<PathBuf> {
    let host = toolchain::host()?;
    let architecture = host.split('-').next().unwrap_or("x86_64");
    let list = format!("ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-{architecture}.a");
    let found = output_of(Command::new("sh").args(["-c", &list])).unwrap_or_default();
    found.lines().last().map(PathBuf::from).ok_or_else(|| "no libFuzzer: install libclang-rt-dev".into())
}

/// A target that is being fuzzed.
struct Run {
    target: &'static str,
    shown: String,
    child: Child,
    log: PathBuf,
}

impl Run {
    fn start(program: &Path, target: &'static str, seconds: u32) -> Result<Self> {
        let folder = workspace::target_dir().join("fuzz");
        // New inputs go to the first folder, the committed ones are only read.
        let (found, committed) = (folder.join(target), workspace::root().join("fuzz/corpora").join(target));
        let log = folder.join(format!("{target}.log"));
        let file = fs::create_dir_all(&found).and_then(|()| fs::File::create(&log));
        let file = file.map_err(|error| format!("cannot write {}: {error}", log.display()))?;
        let mut command = Command::new(program);
        command.env("FUZZ_TARGET", target).arg(format!("-max_total_time={seconds}"));
        // Busy machines are slow: what takes a minute has no end.
        command.arg(format!("-max_len={}", longest(target)));
        command.args(["-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1"]);
        command.arg(format!("-artifact_prefix={}/{target}-", folder.display())).arg(found).arg(committed);
        eprintln!("$ {}", shown(&command));
        let child = command.stdout(Stdio::null()).stderr(file).spawn();
        let child = child.map_err(|error| format!("cannot start `{}`: {error}", shown(&command)))?;
        Ok(Self { target, shown: shown(&command), child, log })
    }

    fn finish(mut self) -> Result<()> {
        let status = self.child.wait().map_err(|error| format!("cannot wait for `{}`: {error}", self.shown))?;
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        if !status.success() {
            let end: Vec<&str> = log.lines().rev().take(40).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            return Err(format!(
                "`{}` found something (all of it in {}):\n{}",
                self.shown,
                self.log.display(),
                end.join("\n")
            ));
        }
        let number = |name: &str| log.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
        let (runs, rate) = (number("stat::number_of_executed_units:"), number("stat::average_exec_per_sec:"));
        eprintln!("{:<14} {runs:>9} executions, {rate:>6} a second", self.target);
        Ok(())
    }
}
