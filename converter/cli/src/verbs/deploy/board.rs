//! A machine that ssh reaches, with a folder on it for one measurement.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use resmlp_cli::error::{Error, Result};

/// The line before a command's own: what comes earlier was printed by the login shell.
const GREETING: &str = "resmlp: connected";

/// Makes a folder, and says what the processor is and where the folder. When stdin ends, because all is done or because
/// nobody is there any more, it ends the program whose number lies in the folder and removes the folder.
const GUARD: &str = "folder=$(mktemp -d) || exit; uname -m; echo \"$folder\"; cat >/dev/null; \
    [ ! -f \"$folder/pid\" ] || kill \"$(cat \"$folder/pid\")\"; rm -rf \"$folder\"";

/// A machine that ssh reaches with the user's own configuration.
pub struct Board<'a> {
    host: &'a str,
    /// What every ssh is told.
    options: Vec<OsString>,
    /// What `uname -m` calls its processor.
    pub processor: String,
    /// A folder for this run, as one word of a shell.
    pub folder: String,
    /// The ssh whose command watches over the folder: its stdin ends with this program, however that ends, or with the
    /// line.
    guard: Child,
    /// Holds the socket through which all commands share the guard's connection: a password is asked for once.
    _sockets: tempfile::TempDir,
}

impl<'a> Board<'a> {
    /// Connects, and makes a folder that goes with the connection.
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
                let message = "found no new folder on the board, expected uname and mktemp to succeed".to_owned();
                let failure = board.failure("ssh", message);
                Err(board.disconnect().err().unwrap_or(failure))
            }
        }
    }

    /// The processor and the folder that the guard tells of; `None` where it ends without.
    fn read_greeting(&mut self) -> Option<(String, String)> {
        let lines = BufReader::new(self.guard.stdout.as_mut()?).split(b'\n').map_while(std::result::Result::ok);
        let mut lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
        lines.find(|line| line.ends_with(GREETING))?;
        Some((lines.next()?, lines.next()?))
    }

    /// Ends the guard, which removes the folder.
    pub fn disconnect(mut self) -> Result<()> {
        drop(self.guard.stdin.take());
        let status = self.guard.wait().map_err(|error| Error::io("ssh", error))?;
        self.require_success(status)
    }

    /// Copies a file into the folder, under this name.
    pub fn copy(&self, file: &Path, name: &str) -> Result<()> {
        let content = File::open(file).map_err(|error| Error::io(file, error))?;
        let mut command = ssh(self.host, &self.options, &format!("cat >{}/{name}", self.folder));
        self.text(self.output(command.stdin(content))?).map(|_| ())
    }

    /// Runs a command of sh and returns its stdout; its stderr and ssh's questions go to the user's terminal.
    pub fn run(&self, script: &str) -> Result<String> {
        self.text(self.output(&mut ssh(self.host, &self.options, script))?)
    }

    /// The same for a program that takes long and its arguments, all words of a shell: the guard ends it, too.
    pub fn run_guarded(&self, words: &str) -> Result<String> {
        let pid = format!("{}/pid", self.folder);
        let script = format!("{words} & echo $! >{pid}; wait $!; ended=$?; rm -f {pid}; exit $ended");
        let output = self.output(&mut ssh(self.host, &self.options, &script))?;
        // So a shell ends where it finds a program that it may not run.
        if output.status.code() == Some(126) {
            let message = format!(
                "the board runs no program in {}; expected a temporary folder whose file system is not mounted noexec \
                 (TMPDIR on the board names another)",
                self.folder
            );
            return Err(self.failure("ssh", message));
        }
        self.text(output)
    }

    fn output(&self, command: &mut Command) -> Result<Output> {
        command.stderr(Stdio::inherit()).output().map_err(|error| Error::io("ssh", error))
    }

    /// What a command that succeeded printed itself.
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

    pub fn failure(&self, what: &str, message: String) -> Error {
        Error::file(self.host, format!("{what}: {message}"))
    }
}

/// The user's options and, since ssh takes the first that it meets, behind them ours.
fn options(ssh_options: &[OsString], sockets: &Path) -> Vec<OsString> {
    let mut options: Vec<OsString> = ssh_options.iter().flat_map(|option| ["-o".into(), option.clone()]).collect();
    // A board that has not answered for a minute is given up.
    options.extend(["-oServerAliveInterval=10".into(), "-oServerAliveCountMax=6".into()]);
    // Windows' ssh cannot share a connection.
    if cfg!(unix) {
        let mut path = OsString::from("ControlPath=");
        // Short: a socket's path may have about a hundred letters.
        path.push(sockets.join("s"));
        options.extend(["-oControlMaster=auto".into(), "-oControlPersist=no".into(), "-o".into(), path]);
    }
    options
}

/// An ssh that runs a command of sh, whatever the login shell is.
fn ssh(host: &str, options: &[OsString], script: &str) -> Command {
    let mut command = Command::new("ssh");
    command.args(options).args(["--", host]).arg(format!("sh -c {}", quoted(&format!("echo {GREETING}; {script}"))));
    command
}

/// A text as one word of a shell.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
