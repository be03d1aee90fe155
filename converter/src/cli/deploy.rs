//! `resmlp deploy`: measures a model on a board that ssh reaches.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use resmlp_converter::error::{Error, Result};
use resmlp_converter::output::write_atomically;
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    runs: Option<u32>,

    /// One thread on each of these cores, such as 0-3, or auto: on the fastest ones
    #[arg(long, value_name = "CPUS", value_parser = word)]
    pin: Option<String>,

    /// First wait until the processor has cooled down to this temperature, °C
    #[arg(long, value_name = "C", value_parser = celsius)]
    cool_down: Option<f64>,

    /// Bring the report back as a page for a browser, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// What ssh's option -o takes, such as Port=2222 or IdentityFile=KEY; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    ssh_option: Vec<OsString>,
}

/// A temperature that the board's program takes.
fn celsius(text: &str) -> std::result::Result<f64, String> {
    let celsius = text.parse().ok().filter(|celsius| (0.0..=150.0).contains(celsius));
    celsius.ok_or_else(|| "expected degrees from 0 to 150".to_owned())
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
    let board = Board::new(args)?;
    let processor = board.ssh("uname -m")?;
    require_match(&args.program, &args.host, processor.trim())?;
    terminal::note(&format!("copying to {}", args.host));
    let folder = board.make_folder()?;
    let outcome = board
        .copy(&args.program, &format!("{folder}/resmlp-device"))
        .and_then(|()| board.copy(&args.model, &format!("{folder}/model.rmlp")))
        .and_then(|()| board.ssh(&bench_command(&folder, args)))
        .and_then(|text| args.html.as_ref().map_or(Ok(()), |html| board.fetch_page(&folder, html)).map(|()| text));
    // What was copied goes, whether or not the measurement succeeded; the first error is the one to report.
    let removed = board.ssh(&format!("rm -rf {folder}"));
    let text = outcome?;
    removed?;
    report(&text, args).map_err(|problem| board.failure("bench", problem))
}

/// The board's report under the names that the user knows, its warnings shown.
fn report(text: &str, args: &Args) -> std::result::Result<Outcome, String> {
    let mut report: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("no report: {error}"))?;
    report.insert("model".to_owned(), args.model.display().to_string().into());
    let warnings = report.get("warnings").and_then(Value::as_array).into_iter().flatten();
    warnings.filter_map(Value::as_str).for_each(terminal::warning);
    Ok(Outcome { host: args.host.clone(), report })
}

/// Refuses a program for another processor than the board's, which `uname -m` names.
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

/// What `uname -m` calls the processor that a Linux program runs on; `None` where its header does not say one we know.
fn elf_processor(program: &Path) -> Result<Option<&'static str>> {
    let mut header = Vec::new();
    let read = std::fs::File::open(program).and_then(|file| file.take(20).read_to_end(&mut header));
    read.map_err(|error| Error::io(program, error))?;
    let machine = header.get(18..20).filter(|_| header.starts_with(b"\x7fELF"));
    Ok(match machine {
        Some([0xb7, 0]) => Some("aarch64"),
        Some([0x3e, 0]) => Some("x86_64"),
        _ => None,
    })
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
    if let Some(pin) = &args.pin {
        command += &format!(" --pin {pin}");
    }
    if let Some(cool_down) = args.cool_down {
        command += &format!(" --cool-down {cool_down}");
    }
    if args.html.is_some() {
        let name = quoted(&args.model.display().to_string());
        command += &format!(" --html {folder}/report.html --name {name}");
    }
    command
}

/// A machine that ssh and scp reach with the user's own configuration.
struct Board<'a> {
    host: &'a str,
    /// For ssh and scp alike.
    options: Vec<OsString>,
    /// Holds the socket through which all commands share one connection: a password is asked for once.
    _sockets: tempfile::TempDir,
}

impl<'a> Board<'a> {
    fn new(args: &'a Args) -> Result<Self> {
        let folder = std::env::temp_dir();
        let sockets = tempfile::tempdir().map_err(|error| Error::io(folder, error))?;
        let mut options = Vec::new();
        for option in &args.ssh_option {
            options.extend(["-o".into(), option.clone()]);
        }
        // A board that has not answered for a minute is given up; ssh takes the user's own options, which come first.
        options.extend(["-oServerAliveInterval=10".into(), "-oServerAliveCountMax=6".into()]);
        // Windows' ssh cannot share a connection.
        if cfg!(unix) {
            let mut path = OsString::from("ControlPath=");
            // Short: a socket's path may have about a hundred letters.
            path.push(sockets.path().join("s"));
            options.extend(["-oControlMaster=auto".into(), "-oControlPersist=60".into(), "-o".into(), path]);
        }
        Ok(Self { host: &args.host, options, _sockets: sockets })
    }

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

    /// Brings the page that `bench --html` wrote.
    fn fetch_page(&self, folder: &str, html: &Path) -> Result<()> {
        let page = self.ssh(&format!("cat {folder}/report.html"))?;
        write_atomically(html, page.as_bytes())
    }

    fn ssh(&self, command: &str) -> Result<String> {
        self.output("ssh", &["--".as_ref(), self.host.as_ref(), command.as_ref()])
    }

    /// Runs a program and returns its stdout; its stderr and its questions go to the user's terminal.
    fn output(&self, program: &str, arguments: &[&OsStr]) -> Result<String> {
        let output = Command::new(program).args(&self.options).args(arguments).stderr(Stdio::inherit()).output();
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

impl Drop for Board<'_> {
    fn drop(&mut self) {
        let mut exit = Command::new("ssh");
        exit.args(&self.options).args(["-O", "exit", "--", self.host]);
        // Where no connection is open there is none to close.
        let _ = exit.stdout(Stdio::null()).stderr(Stdio::null()).status();
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

/// A text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// One word that needs no quoting in a shell.
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
        let mut rows = vec![("host", self.host.clone())];
        for (name, value) in &self.report {
            if let Value::Object(fields) = value {
                let fields = fields.iter().filter_map(|(name, value)| Some(format!("{name} {}", single(value)?)));
                rows.push((name, fields.collect::<Vec<_>>().join(", ")));
            } else if let Some(value) = single(value) {
                rows.push((name, value));
            }
        }
        f.write_str(&table(&rows))
    }
}

/// A value that fits into a line; `None` for what does not, or is not known.
fn single(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(|number| format!("{number:.3}")),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
