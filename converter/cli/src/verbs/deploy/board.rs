//! Connects to a machine that ssh reaches and keeps a folder on it for one measurement.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use resmlp_cli::error::{Error, Result};

/// Line that precedes the output of a command. Everything before it was printed by the login shell.
const GREETING: &str = "resmlp: connected";

/// Script that makes a folder, prints the name of the processor and the path of the folder, and waits for the end of
/// stdin. Stdin ends when everything is done or the connection breaks. The script then ends the program whose process
/// number lies in the folder, and removes the folder.
const GUARD: &str = "folder=$(mktemp -d) || exit; uname -m; echo \"$folder\"; cat >/dev/null; \
    [ ! -f \"$folder/pid\" ] || kill \"$(cat \"$folder/pid\")\"; rm -rf \"$folder\"";

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
        let guard = ssh(host, &options, GUARD).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let guard = guard.map_err(|error| Error::io("ssh", error))?;
        let mut board =
            Self { host, options, processor: String::new(), folder: String::new(), guard, _sockets: sockets };
        match board.read_greeting() {
            Some((processor, folder)) => {
                board.processor = processor;
                board.folder = quoted(&folder);
                Ok(board)
            }
            None => {
                let message = "no folder could be made on the board, expected the commands uname and mktemp to succeed"
                    .to_owned();
                let failure = board.failure("ssh", message);
                Err(board.disconnect().err().unwrap_or(failure))
            }
        }
    }

    /// Reads the processor and the folder that the guard prints. Returns `None` where the guard ends before.
    fn read_greeting(&mut self) -> Option<(String, String)> {
        let lines = BufReader::new(self.guard.stdout.as_mut()?).split(b'\n').map_while(std::result::Result::ok);
        let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        lines.find(|line| line.ends_with(GREETING))?;
        Some((lines.next()?, lines.next()?))
    }

    /// Ends the guard, which removes the folder.
    ///
    /// # Errors
    /// Returns an error where the guard or ssh failed.
    pub fn disconnect(mut self) -> Result<()> {
        drop(self.guard.stdin.take());
        let status = self.guard.wait().map_err(|error| Error::io("ssh", error))?;
        self.require_success(status)
    }

    /// Copies a file into the folder and gives it this name.
    ///
    /// # Errors
    /// Returns an error where the file cannot be read or copied.
    pub fn copy(&self, file: &Path, name: &str) -> Result<()> {
        let content = resmlp_files::open(file).map_err(|error| Error::io(file, error))?;
        let mut command = ssh(self.host, &self.options, &format!("cat >{}/{name}", self.folder));
        self.text(self.output(command.stdin(content))?).map(|_| ())
    }

    /// Runs a command of sh and returns its stdout. Its stderr and ssh's questions go to the user's terminal.
    ///
    /// # Errors
    /// Returns an error where ssh or the command fails.
    pub fn run(&self, script: &str) -> Result<String> {
        self.text(self.output(&mut ssh(self.host, &self.options, script))?)
    }

    /// Runs a program that may take long, given as words of a shell, and returns its stdout. The guard ends the program
    /// when the connection breaks.
    ///
    /// # Errors
    /// Returns an error where ssh or the program fails, or where the board may not run programs in the folder.
    pub fn run_guarded(&self, words: &str) -> Result<String> {
        let pid = format!("{}/pid", self.folder);
        let script = format!("{words} & echo $! >{pid}; wait $!; ended=$?; rm -f {pid}; exit $ended");
        let output = self.output(&mut ssh(self.host, &self.options, &script))?;
        // A shell exits with 126 where it finds a program that it may not run.
        if output.status.code() == Some(126) {
            let message = format!(
                "the board may not run programs in {}, whose file system is probably mounted noexec; set TMPDIR on the \
                 board to a folder where programs may run",
                self.folder
            );
            return Err(self.failure("ssh", message));
        }
        self.text(output)
    }

    /// Runs a command and returns its status and stdout.
    fn output(&self, command: &mut Command) -> Result<Output> {
        command.stderr(Stdio::inherit()).output().map_err(|error| Error::io("ssh", error))
    }

    /// Returns what a command printed itself, where the command succeeded.
    fn text(&self, output: Output) -> Result<String> {
        self.require_success(output.status)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let own = text.split_once(GREETING).and_then(|(_, rest)| rest.strip_prefix('\n'));
        own.map(str::to_owned)
            .ok_or_else(|| self.failure("ssh", format!("found '{}', expected sh to say '{GREETING}'", text.trim())))
    }

    fn require_success(&self, status: ExitStatus) -> Result<()> {
        if status.success() { Ok(()) } else { Err(self.failure("ssh", format!("ended with {status}"))) }
    }

    /// Creates an error that names the host.
    pub fn failure(&self, what: &str, message: String) -> Error {
        Error::file(self.host, format!("{what}: {message}"))
    }
}

/// Returns the user's options and behind them those of this program. ssh takes the first value of an option, so the
/// user's values win.
fn options(ssh_options: &[OsString], sockets: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = ssh_options.iter().flat_map(|option| ["-o".into(), option.clone()]).collect();
    // The connection ends where the board has not answered for a minute.
    options.extend(["-oServerAliveInterval=10".into(), "-oServerAliveCountMax=6".into()]);
    // On Windows, ssh cannot share a connection.
    if cfg!(unix) {
        let mut path = OsString::from("ControlPath=");
        // The name is short because the path of a socket may have about a hundred letters only.
        path.push(sockets.join("s"));
        options.extend(["-oControlMaster=auto".into(), "-oControlPersist=no".into(), "-o".into(), path]);
    }
    options
}

/// Creates a call of ssh that runs a command of sh, whatever the login shell is.
fn ssh(host: &str, options: &[OsString], script: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(options).args(["--", host]).arg(format!("sh -c {}", quoted(&format!("echo {GREETING}; {script}"))));
    command
}

/// Quotes a text so that it is one word of a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
