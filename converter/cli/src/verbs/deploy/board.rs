//! Connects to a machine that ssh reaches and keeps a folder on it for one measurement.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use resmlp_cli::error::{Error, Result};

use super::bounded;

/// Line that precedes the output of a command. Everything before it was printed by the login shell.
const GREETING: &str = "resmlp: connected";

/// Script that makes a folder, prints the name of the processor and the path of the folder, and waits for the end of
/// stdin. Stdin ends when everything is done or the connection breaks. The script then ends the program whose process
/// number lies in the folder, and removes the folder.
const GUARD: &str = "folder=$(mktemp -d) || exit; uname -m; echo \"$folder\"; cat >/dev/null; \
    [ ! -f \"$folder/pid\" ] || kill \"$(cat \"$folder/pid\")\"; rm -rf \"$folder\"";

/// Largest number of bytes that a login shell may print before the greeting, including the two lines after it.
const LONGEST_GREETING: u64 = 1 << 20;

/// Largest number of bytes that a short command may print. Nearly all of them are the login shell's text.
const LONGEST_ANSWER: u64 = 1 << 20;

/// Longest time until the greeting arrives. The user may have to find and type a password.
const GREETING_PATIENCE: Duration = Duration::from_secs(600);

/// Longest time that a command may take, such as the copy of a large model over a slow line.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Longest time that a measurement may take, such as a million runs of a large model on a slow board.
const MEASUREMENT_PATIENCE: Duration = Duration::from_secs(48 * 3600);

/// Longest time that the board may take to remove the folder.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(60);

/// A machine that ssh reaches with the user's own configuration.
pub struct Board<'a> {
    host: &'a str,
    /// Options of every call of ssh.
    options: Vec<OsString>,
    /// Name of the processor, as `uname -m` prints it.
    pub processor: String,
    /// Path of the folder for this measurement, as one word of a shell.
    pub folder: String,
    /// The ssh that runs [`GUARD`]. Its stdin ends when this program ends, for whatever reason, or when the connection
    /// breaks.
    guard: Child,
    /// Output of the guard, which stays open as long as the guard runs.
    _output: Option<ChildStdout>,
    /// Folder of the socket through which all commands share the guard's connection, so that ssh asks for a password
    /// once.
    _sockets: tempfile::TempDir,
}

impl<'a> Board<'a> {
    /// Connects and makes a folder that is removed when the connection ends.
    ///
    /// # Errors
    /// Returns an error that names the host where ssh cannot connect or the folder cannot be made.
    pub fn connect(host: &'a str, ssh_options: &[OsString]) -> Result<Self> {
        let temporary = std::env::temp_dir();
        let sockets = tempfile::tempdir().map_err(|error| Error::io(temporary, error))?;
        let options = options(ssh_options, sockets.path());
        let guard = spawn(ssh(host, &options, GUARD).stdin(Stdio::piped()))?;
        let (processor, folder) = (String::new(), String::new());
        let mut board = Self { host, options, processor, folder, guard, _output: None, _sockets: sockets };
        match board.read_greeting() {
            Ok((processor, folder)) => {
                board.processor = processor;
                board.folder = quoted(&folder);
                Ok(board)
            }
            Err(Some(problem)) => {
                bounded::end(&mut board.guard);
                Err(board.failure("ssh", problem))
            }
            Err(None) => {
                let message = "no folder could be made on the board, expected the commands uname and mktemp to succeed"
                    .to_owned();
                let failure = board.failure("ssh", message);
                Err(board.disconnect().err().unwrap_or(failure))
            }
        }
    }

    /// Reads the processor and the folder that the guard prints.
    ///
    /// # Errors
    /// Returns a sentence where the guard prints too much, or nothing for too long, and `None` where it ends without a
    /// greeting.
    fn read_greeting(&mut self) -> std::result::Result<(String, String), Option<String>> {
        let stdout = self.guard.stdout.take().ok_or(None)?;
        let read = bounded::within(GREETING_PATIENCE, move || {
            let mut stdout = BufReader::new(stdout.take(LONGEST_GREETING));
            let lines = stdout.by_ref().split(b'\n').map_while(std::result::Result::ok);
            let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
            let greeting = lines.find(|line| line.ends_with(GREETING));
            let found = greeting.and_then(|_| Some((lines.next()?, lines.next()?)));
            drop(lines);
            let stdout = stdout.into_inner();
            (found, stdout.limit(), stdout.into_inner())
        });
        let (found, left, stdout) =
            read.ok_or_else(|| format!("no greeting within {} s", GREETING_PATIENCE.as_secs()))?;
        self._output = Some(stdout);
        found.ok_or_else(|| (left == 0).then(|| format!("printed {LONGEST_GREETING} bytes and no greeting")))
    }

    /// Ends the guard, which removes the folder.
    ///
    /// # Errors
    /// Returns an error where the guard or ssh failed.
    pub fn disconnect(mut self) -> Result<()> {
        drop(self.guard.stdin.take());
        let status = bounded::wait(&mut self.guard, FAREWELL_PATIENCE);
        self.require_success(status.map_err(|problem| self.failure("ssh", problem))?)
    }

    /// Copies a file into the folder and gives it this name.
    ///
    /// # Errors
    /// Returns an error where the file cannot be read or copied.
    pub fn copy(&self, file: &Path, name: &str) -> Result<()> {
        let content = resmlp_files::open(file).map_err(|error| Error::io(file, error))?;
        let mut command = ssh(self.host, &self.options, &format!("cat >{}/{name}", self.folder));
        self.text(self.output(command.stdin(content), LONGEST_ANSWER, PATIENCE)?).map(|_| ())
    }

    /// Runs a short command of sh. Its stderr is shown as notes, and ssh asks its questions on the terminal.
    ///
    /// # Errors
    /// Returns an error where ssh or the command fails, prints too much or takes too long.
    pub fn run(&self, script: &str) -> Result<()> {
        let mut command = ssh(self.host, &self.options, script);
        self.text(self.output(command.stdin(Stdio::null()), LONGEST_ANSWER, PATIENCE)?).map(|_| ())
    }

    /// Runs a program that may take long, given as words of a shell, and returns its stdout of at most `most` bytes.
    /// The guard ends the program when the connection breaks.
    ///
    /// # Errors
    /// Returns an error where ssh or the program fails, prints too much or takes too long, and where the board may not
    /// run programs in the folder.
    pub fn run_guarded(&self, words: &str, most: u64) -> Result<String> {
        let pid = format!("{}/pid", self.folder);
        let script = format!("{words} & echo $! >{pid}; wait $!; ended=$?; rm -f {pid}; exit $ended");
        let mut command = ssh(self.host, &self.options, &script);
        let output = self.output(command.stdin(Stdio::null()), LONGEST_ANSWER + most, MEASUREMENT_PATIENCE)?;
        // A shell exits with 126 where it finds a program that it may not run.
        if output.0.code() == Some(126) {
            let message = format!(
                "the board may not run programs in {}, whose file system is probably mounted noexec; set TMPDIR on the \
                 board to a folder where programs may run",
                self.folder
            );
            return Err(self.failure("ssh", message));
        }
        self.text(output)
    }

    /// Runs a command and returns its status and stdout, which has at most `most` bytes.
    fn output(&self, command: &mut Command, most: u64, patience: Duration) -> Result<(ExitStatus, Vec<u8>)> {
        let output = bounded::output(&mut spawn(command)?, most, patience);
        output.map_err(|problem| self.failure("ssh", problem))
    }

    /// Returns the text that a command itself printed, without the login shell's. A command that failed is an error.
    fn text(&self, (status, stdout): (ExitStatus, Vec<u8>)) -> Result<String> {
        self.require_success(status)?;
        let text = String::from_utf8_lossy(&stdout);
        let own = text.split_once(GREETING).and_then(|(_, rest)| rest.strip_prefix('\n'));
        own.map(str::to_owned).ok_or_else(|| {
            self.failure("ssh", format!("found '{}', expected sh to say '{GREETING}'", beginning(text.trim())))
        })
    }

    fn require_success(&self, status: ExitStatus) -> Result<()> {
        if status.success() { Ok(()) } else { Err(self.failure("ssh", format!("ended with {status}"))) }
    }

    /// Creates an error that names the host.
    pub fn failure(&self, what: &str, message: String) -> Error {
        Error::file(self.host, format!("{what}: {message}"))
    }
}

/// Returns the user's options, followed by those of this program. ssh takes the first value of an option, so the user's
/// values win.
fn options(ssh_options: &[OsString], sockets: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = ssh_options.iter().flat_map(|option| ["-o".into(), option.clone()]).collect();
    // The connection ends after the board has not answered for a minute.
    options.extend(["-oServerAliveInterval=10".into(), "-oServerAliveCountMax=6".into()]);
    // On Windows, ssh cannot share a connection.
    if cfg!(unix) {
        let mut path = OsString::from("ControlPath=");
        // The name is short because the path of a socket may have only about a hundred bytes.
        path.push(sockets.join("s"));
        options.extend(["-oControlMaster=auto".into(), "-oControlPersist=no".into(), "-o".into(), path]);
    }
    options
}

/// Creates a call of ssh that runs a command in sh, whatever the login shell is.
fn ssh(host: &str, options: &[OsString], script: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(options).args(["--", host]).arg(format!("sh -c {}", quoted(&format!("echo {GREETING}; {script}"))));
    command
}

/// Starts ssh. Its stdout is read by this program, and its stderr is shown as notes.
fn spawn(command: &mut Command) -> Result<Child> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| Error::io("ssh", error))?;
    bounded::show_stderr(&mut child);
    Ok(child)
}

/// Returns the first 200 letters of a text that may be long.
fn beginning(text: &str) -> &str {
    text.char_indices().nth(200).map_or(text, |(end, _)| &text[..end])
}

/// Quotes a text so that it is one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
