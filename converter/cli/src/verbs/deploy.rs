//! `resmlp deploy`: measures a packed model on a board that ssh reaches.

mod board;
mod bounded;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use resmlp_cli::error::{Error, Result};
use resmlp_cli::output::{self, write_atomically};
use resmlp_cli::terminal;
use resmlp_report::{Report, html, text};
use serde::Serialize;

use board::Board;

#[derive(clap::Args)]
pub struct Args {
    /// Board to measure on, in any form that ssh accepts: USER@HOST, or ssh://USER@HOST:PORT
    #[arg(value_name = "USER@HOST", value_parser = host)]
    host: String,

    /// Packed model to measure
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// Program that measures on the board, as `cargo xtask device` builds it
    #[arg(long, value_name = "FILE", default_value = "target/device/resmlp-device")]
    program: PathBuf,

    /// Number of threads that work at the same time [default: one for each core of the board]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Kernels by name, such as scalar [default: the fastest ones of the board's CPU]
    #[arg(long, value_name = "NAME", value_parser = word)]
    kernels: Option<String>,

    /// Number of measured runs [default: the board's program chooses it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: Option<u32>,

    /// Cores to which the threads are pinned, one thread each, such as 0-3; auto takes the fastest cores
    #[arg(long, value_name = "CPUS", value_parser = word)]
    pin: Option<String>,

    /// Wait until the processor has cooled down to this temperature in °C before measuring
    #[arg(long, value_name = "C", value_parser = celsius)]
    cool_down: Option<f64>,

    /// Also write the report as a page for a browser to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Setting for ssh as its option -o takes it, such as Port=2222 or IdentityFile=KEY; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    ssh_option: Vec<OsString>,
}

/// Parses a temperature that the board's program accepts.
fn celsius(text: &str) -> std::result::Result<f64, String> {
    let celsius = text.parse().ok().filter(|celsius| (0.0..=150.0).contains(celsius));
    celsius.ok_or_else(|| "expected degrees from 0 to 150".to_owned())
}

/// The report of `deploy`. With `--json` the object has the field `host` and all fields of the report of
/// `resmlp-device bench`.
#[derive(Serialize)]
pub struct Outcome {
    /// The board, as the user names it.
    host: String,
    /// The board's report, with the path of the model on this machine.
    #[serde(flatten)]
    report: Report,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    require_file(&args.program, "build it with `cargo xtask device`")?;
    require_file(&args.model, "expected a packed model")?;
    if let Some(html) = &args.html {
        output::check(html, &[&args.program, &args.model])?;
    }
    let board = Board::connect(&args.host, &args.ssh_option)?;
    let outcome = measure(&board, args);
    // The copied files are removed whether or not the measurement succeeded, and the first error is reported.
    let disconnected = board.disconnect();
    let outcome = outcome?;
    disconnected?;
    Ok(outcome)
}

/// Copies the program and the model to the board, measures there, and writes the report that the board sends.
fn measure(board: &Board, args: &Args) -> Result<Outcome> {
    require_match(&args.program, &args.host, &board.processor)?;
    terminal::note(&format!("copying to {}", args.host));
    board.copy(&args.program, "resmlp-device")?;
    board.copy(&args.model, "model.rmlp")?;
    board.run(&format!("chmod +x {}/resmlp-device", board.folder))?;
    let json = board.run_guarded(&bench_words(&board.folder, args), longest_report(args))?;
    let report = Report::from_json(&json)
        .map_err(|refused| board.failure("bench", format!("its report cannot be read: {refused}")))?;
    // The board knows only the name of the copy.
    let report = Report { model: args.model.display().to_string(), ..report };
    report.warnings.iter().for_each(|warning| terminal::warning(warning));
    if let Some(html) = &args.html {
        write_page(html, &report)?;
    }
    Ok(Outcome { host: args.host.clone(), report })
}

/// Returns the length in bytes of the longest report that is accepted. It holds a time for each run.
fn longest_report(args: &Args) -> u64 {
    (4 << 20) + 64 * u64::from(args.runs.unwrap_or(0))
}

/// Writes the report as a page. The board sends no part of the page except for the report's texts and numbers.
fn write_page(path: &Path, report: &Report) -> Result<()> {
    let page = html::page(report).map_err(|error| Error::file(path, error.to_string()))?;
    write_atomically(path, page.as_bytes())
}

/// Refuses a program that is not built for the board's processor. `processor` is the name that `uname -m` prints.
fn require_match(program: &Path, host: &str, processor: &str) -> Result<()> {
    let built_for = elf_processor(program)?;
    match built_for {
        Some(built_for) if built_for != processor => {
            let message = format!(
                "built for {built_for}, but the processor of {host} is {processor}; expected --program to name a \
                 resmlp-device for {processor} (`cargo xtask device` builds it for aarch64, \
                 `cargo build --release --package resmlp-device` for this machine)"
            );
            Err(Error::file(program, message))
        }
        _ => Ok(()),
    }
}

/// Returns the name that `uname -m` prints on the processor for which a program is built, or `None` where the program's
/// header does not name a known processor.
fn elf_processor(program: &Path) -> Result<Option<&'static str>> {
    let header = resmlp_files::read(program, 20).map_err(|error| Error::io(program, error))?;
    let machine = header.get(18..20).filter(|_| header.starts_with(b"\x7fELF"));
    Ok(match machine {
        Some([0xb7, 0]) => Some("aarch64"),
        Some([0x3e, 0]) => Some("x86_64"),
        _ => None,
    })
}

/// Returns the command that measures on the board, as words of a shell.
fn bench_words(folder: &str, args: &Args) -> String {
    let mut words = format!("{folder}/resmlp-device bench {folder}/model.rmlp --json");
    if let Some(threads) = args.threads {
        words += &format!(" --threads {threads}");
    }
    if let Some(kernels) = &args.kernels {
        words += &format!(" --kernels {kernels}");
    }
    if let Some(runs) = args.runs {
        words += &format!(" --runs {runs}");
    }
    if let Some(pin) = &args.pin {
        words += &format!(" --pin {pin}");
    }
    if let Some(cool_down) = args.cool_down {
        words += &format!(" --cool-down {cool_down}");
    }
    words
}

/// Checks that `path` is a file. The error ends with `hint`.
fn require_file(path: &Path, hint: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::file(path, format!("this is not a file; {hint}"))),
        Err(error) => Err(Error::file(path, format!("{error}; {hint}"))),
    }
}

/// Parses the name of a host, which no program may mistake for an option.
fn host(text: &str) -> std::result::Result<String, String> {
    let plain = !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace);
    if plain { Ok(without_brackets(text)) } else { Err("expected USER@HOST".into()) }
}

/// Removes the brackets around an IPv6 address in USER@[ADDRESS], which ssh does not accept.
fn without_brackets(host: &str) -> String {
    let (user, address) = host.rfind('@').map_or(("", host), |at| host.split_at(at + 1));
    let inside = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    format!("{user}{}", inside.unwrap_or(address))
}

/// Parses a word that needs no quoting in a shell.
fn word(text: &str) -> std::result::Result<String, String> {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+,".contains(c));
    if plain {
        Ok(text.to_owned())
    } else {
        Err("expected a word of letters, digits, '.', ',', '_', '-' and '+'".into())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12} {}\n{}", "host", self.host, text::text(&self.report))
    }
}
