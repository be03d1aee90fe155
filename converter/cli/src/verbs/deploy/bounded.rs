//! Reads the output of a program within limits of bytes and time, because ssh prints whatever a board sends, and a
//! board may send without end.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use resmlp_cli::terminal;

/// Longest line of a board's stderr that is shown in one piece, in bytes.
const LONGEST_LINE: u64 = 4096;
/// Largest part of a board's stderr that is shown, in bytes.
const MOST_SHOWN: u64 = 64 << 10;

/// Time between two looks at a program that is about to end.
const LOOK: Duration = Duration::from_millis(10);

/// Reads the stdout of `child` to its end and waits for the child to end.
///
/// # Errors
/// Ends the child, and returns a sentence, where it prints more than `most` bytes or takes longer than `patience`.
pub fn output(child: &mut Child, most: u64, patience: Duration) -> Result<(ExitStatus, Vec<u8>), String> {
    let start = Instant::now();
    let Some(stdout) = child.stdout.take() else { return Err("its stdout is closed".to_owned()) };
    let read = within(patience, move || {
        let mut bytes = Vec::new();
        stdout.take(most + 1).read_to_end(&mut bytes).map(|_| bytes)
    });
    let problem = match read {
        Some(Ok(bytes)) if bytes.len() as u64 <= most => {
            let status = wait(child, patience.saturating_sub(start.elapsed()));
            return Ok((status.map_err(|_| too_long(patience))?, bytes));
        }
        Some(Ok(_)) => format!("printed more than {most} bytes"),
        Some(Err(error)) => error.to_string(),
        None => too_long(patience),
    };
    end(child);
    Err(problem)
}

/// Waits for `child` to end.
///
/// # Errors
/// Ends the child, and returns a sentence, where it takes longer than `patience`.
pub fn wait(child: &mut Child, patience: Duration) -> Result<ExitStatus, String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if start.elapsed() < patience => thread::sleep(LOOK),
            Ok(None) => {
                end(child);
                return Err(too_long(patience));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn too_long(patience: Duration) -> String {
    format!("did not end within {} s", patience.as_secs())
}

/// Returns the result of `read`, or `None` if `read` takes longer than `patience`. In that case the thread that reads
/// continues until the program that writes ends.
pub fn within<T: Send + 'static>(patience: Duration, read: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    // A result that comes too late has no receiver, so the error of sending it is dropped.
    thread::spawn(move || drop(sender.send(read())));
    receiver.recv_timeout(patience).ok()
}

/// Shows the stderr of `child` as notes, but only its first `MOST_SHOWN` bytes, because the board writes there too.
/// ssh asks its questions on the terminal itself.
pub fn show_stderr(child: &mut Child) {
    let Some(stderr) = child.stderr.take() else { return };
    thread::spawn(move || {
        let mut stderr = BufReader::new(stderr);
        let mut shown = stderr.by_ref().take(MOST_SHOWN);
        let mut line = Vec::new();
        while (&mut shown).take(LONGEST_LINE).read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            terminal::note(&format!("ssh: {}", String::from_utf8_lossy(&line).trim_end()));
            line.clear();
        }
        // The rest is read too, so that the board never waits for room.
        io::copy(&mut stderr, &mut io::sink())
    });
}

/// Ends a program. A program that has already ended is not an error.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn run(program: &str, words: &[&str]) -> Result<(ExitStatus, Vec<u8>), String> {
        let mut command = Command::new(program);
        let mut child = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        output(&mut child, 10, Duration::from_secs(2))
    }

    #[test]
    fn a_program_without_end_is_ended() {
        assert_eq!(run("echo", &["123456789"]).unwrap().1, b"123456789\n");
        assert_eq!(run("yes", &[]).unwrap_err(), "printed more than 10 bytes");
        assert_eq!(run("sleep", &["60"]).unwrap_err(), "did not end within 2 s");
        // This program closes its stdout and goes on running.
        assert_eq!(run("sh", &["-c", "exec >&-; exec sleep 60"]).unwrap_err(), "did not end within 2 s");
    }
}
