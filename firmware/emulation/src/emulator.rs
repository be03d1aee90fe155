//! Runs an emulated board with a time limit.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Result;

/// How long an emulated board may run.
const LIMIT: Duration = Duration::from_secs(120);

/// The outcome of a run of an emulated board.
#[derive(Debug)]
pub struct Ended {
    /// Everything that the board sent over its serial line.
    pub bytes: Vec<u8>,
    /// The emulator's exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
}

impl Ended {
    /// Returns what the board printed, with lines that end in `\n`.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).replace('\r', "")
    }

    /// Checks that the exit code is `code` and that every one of `parts` was printed.
    pub fn expect(&self, code: i32, parts: &[&str]) -> Result {
        let text = self.text();
        if self.code != Some(code) {
            return Err(format!("the board ended with {:?}, expected {code}:\n{text}", self.code).into());
        }
        match parts.iter().find(|part| !text.contains(*part)) {
            None => Ok(()),
            Some(missing) => Err(format!("the board did not print `{missing}`:\n{text}").into()),
        }
    }
}

/// Runs an emulator whose serial line is its standard input and output, and sends `input` to it.
///
/// # Errors
///
/// Returns an error if the emulator does not start, or does not end within two minutes; it is then stopped.
pub fn run(emulator: &mut Command, input: &[u8]) -> Result<Ended> {
    run_within(LIMIT, emulator, input)
}

fn run_within(limit: Duration, emulator: &mut Command, input: &[u8]) -> Result<Ended> {
    let shown = format!("{emulator:?}");
    let failed = |error: std::io::Error| format!("{shown}: {error}");
    let mut child = Command::new(emulator.get_program());
    child.args(emulator.get_args()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let input = input.to_vec();
    // The emulator may end before it has read everything. That is no error here: its output and exit code are checked.
    let writer = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input).is_ok() && stdin.flush().is_ok()));
    let stdout = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.map(|mut stdout| stdout.read_to_end(&mut bytes));
        bytes
    });
    let code = wait(&mut child, limit).map_err(failed)?;
    let bytes = reader.join().unwrap_or_default();
    let _ = writer.join();
    match code {
        Some(code) => Ok(Ended { bytes, code }),
        None => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Err(format!("{shown} did not end within {} s:\n{text}", limit.as_secs()).into())
        }
    }
}

/// Waits for the exit code; returns `None` if the time ran out.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<Option<i32>>> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_and_the_exit_code_are_returned() {
        let ended = run(Command::new("sh").args(["-c", "cat; exit 12"]), b"x\r\n").unwrap();
        assert_eq!((ended.text().as_str(), ended.code), ("x\n", Some(12)));
        assert!(run(&mut Command::new("/nonexistent/emulator"), b"").is_err());
    }

    #[test]
    fn a_wrong_exit_code_and_missing_text_are_errors() {
        let ended = Ended { bytes: b"ready\r\n".to_vec(), code: Some(3) };
        assert_eq!(ended.expect(3, &["ready\n"]), Ok(()));
        let error = |code, parts| format!("{:?}", ended.expect(code, parts).unwrap_err());
        assert!(error(0, &[]).contains("Some(3), expected 0"));
        assert!(error(3, &["logits"]).contains("did not print `logits`"));
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let error = run_within(Duration::from_millis(100), Command::new("sleep").arg("60"), b"").unwrap_err();
        assert!(format!("{error:?}").contains("did not end"), "{error:?}");
    }
}
