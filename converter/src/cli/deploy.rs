//! `resmlp deploy`: measures a model on a board that ssh reaches.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use resmlp_converter::error::{Error, Result};
use serde::Serialize;
use serde_json::Value;

use super::report::table;
use super::terminal;

#[derive(clap::Args)]
pub struct Args {
    /// The board, as ssh takes it
    #[arg(value_name = "USER@HOST", value_parser = host)]
    host: String,

    /// Packed model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// The program for the board, as `cargo xtask device` builds it
    #[arg(long, value_name = "FILE", default_value = "target/device/resmlp-device")]
    program: PathBuf,

    /// Threads that work at the same time [default: one a core of the board]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,

    /// Kernels by name [default: the fastest that the board supports]
    #[arg(long, value_name = "NAME", value_parser = word)]
    kernels: Option<String>,

    /// Measured runs [default: the board's program chooses]
    #[arg(long, value_name = "N")]
    runs: Option<u32>,
}

/// What the board reported: the fields of `bench`, and where they come from.
#[derive(Serialize)]
pub struct Outcome {
    host: String,
    #[serde(flatten)]
    report: serde_json::Map<String, Value>,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    require_file(&args.program, "build it with `cargo xtask device`")?;
    require_file(&args.model, "expected a packed model")?;
    let board = Board { host: &args.host };
    terminal::note(&format!("copying to {}", args.host));
    let folder = board.make_folder()?;
    let outcome = board
        .copy(&args.program, &format!("{folder}/resmlp-device"))
        .and_then(|()| board.copy(&args.model, &format!("{folder}/model.rmlp")))
        .and_then(|()| board.ssh(&bench_command(&folder, args)));
    // What was copied goes, whether or not the measurement succeeded; the first error is the one to report.
    let removed = board.ssh(&format!("rm -rf {folder}"));
    let text = outcome?;
    removed?;
    let report = serde_json::from_str(&text).map_err(|error| board.failure("bench", format!("no report: {error}")))?;
    Ok(Outcome { host: args.host.clone(), report })
}

fn bench_command(folder: &str, args: &Args) -> String {
    let mut command =
        format!("chmod +x {folder}/resmlp-device && {folder}/resmlp-device bench {folder}/model.rmlp --json");
    if let Some(threads) = args.threads {
        command += &format!(" --threads {threads}");
    }
    if let Some(kernels) = &args.kernels {
        command += &format!(" --kernels {kernels}");
    }
    if let Some(runs) = args.runs {
        command += &format!(" --runs {runs}");
    }
    command
}

/// A machine that ssh and scp reach with the user's own configuration.
struct Board<'a> {
    host: &'a str,
}

impl Board<'_> {
    /// Makes a folder for this run and returns its path, which needs no quoting.
    fn make_folder(&self) -> Result<String> {
        let folder = self.ssh("mktemp -d")?.trim().to_owned();
        let plain = folder.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        if folder.starts_with('/') && folder.len() > 1 && plain {
            Ok(folder)
        } else {
            Err(self.failure("mktemp -d", format!("found '{folder}', expected the path of a new folder")))
        }
    }

    fn copy(&self, file: &Path, target: &str) -> Result<()> {
        let target = format!("{}:{target}", self.host);
        self.output("scp", &["-q".as_ref(), "--".as_ref(), file.as_os_str(), target.as_ref()]).map(|_| ())
    }

    fn ssh(&self, command: &str) -> Result<String> {
        self.output("ssh", &["--".as_ref(), self.host.as_ref(), command.as_ref()])
    }

    /// Runs a program and returns its stdout; its stderr and its questions go to the user's terminal.
    fn output(&self, program: &str, arguments: &[&OsStr]) -> Result<String> {
        let output = Command::new(program).args(arguments).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| Error::io(program, error))?;
        if !output.status.success() {
            return Err(self.failure(program, format!("ended with {}", output.status)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn failure(&self, what: &str, message: String) -> Error {
        Error::file(self.host, format!("{what}: {message}"))
    }
}

fn require_file(path: &Path, hint: &str) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::file(path, format!("not a file; {hint}"))),
        Err(error) => Err(Error::file(path, format!("{error}; {hint}"))),
    }
}

/// A host's name that no program can mistake for an option.
fn host(text: &str) -> std::result::Result<String, String> {
    let plain = !text.is_empty() && !text.starts_with('-') && !text.contains(char::is_whitespace);
    if plain { Ok(text.to_owned()) } else { Err("expected USER@HOST".into()) }
}

/// One word that needs no quoting in a shell.
fn word(text: &str) -> std::result::Result<String, String> {
    let plain = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-+".contains(c));
    if plain { Ok(text.to_owned()) } else { Err("expected a name of letters, digits, '.', '_', '-' and '+'".into()) }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![("host", self.host.clone())];
        for (name, value) in &self.report {
            match value {
                Value::String(text) => rows.push((name, text.clone())),
                Value::Object(fields) => {
                    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
                    rows.push((name, fields.join(", ")));
                }
                Value::Array(_) => {}
                value => rows.push((name, value.to_string())),
            }
        }
        f.write_str(&table(&rows))
    }
}
