//! Emulated boards: run with a time limit, and what they print compared with what is committed.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Result, shown};

/// How long an emulated board may run.
const LIMIT: Duration = Duration::from_secs(120);

/// What an emulated board did.
#[derive(Debug)]
pub struct Ended {
    /// What it sent over its serial line.
    pub bytes: Vec<u8>,
    /// The emulator's exit code; `None` where a signal ended it.
    pub code: Option<i32>,
}

impl Ended {
    /// What it printed.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).replace('\r', "")
    }
}

/// Runs an emulator whose serial line is its standard input and output, and sends `input` to it.
///
/// Fails if it does not start, or takes longer than two minutes: it is then killed.
pub fn run(emulator: &mut Command, input: &[u8]) -> Result<Ended> {
    eprintln!("$ {}", shown(emulator));
    let failed = |error: std::io::Error| format!("`{}`: {error}", shown(emulator));
    let mut child = Command::new(emulator.get_program());
    child.args(emulator.get_args()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    let input = input.to_vec();
    // The emulator may end before it has read everything; what it printed tells.
    let writer = thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&input).is_ok() && stdin.flush().is_ok()));
    let stdout = child.stdout.take();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.map(|mut stdout| stdout.read_to_end(&mut bytes));
        bytes
    });
    let code = wait(&mut child).map_err(failed)?;
    let bytes = reader.join().unwrap_or_default();
    let _ = writer.join();
    match code {
        Some(code) => Ok(Ended { bytes, code }),
        None => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Err(format!("`{}` did not end within {} s:\n{text}", shown(emulator), LIMIT.as_secs()))
        }
    }
}

/// The exit code; `None` where the time was over.
fn wait(child: &mut Child) -> std::io::Result<Option<Option<i32>>> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code()));
        }
        thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

/// Compares `text` with the committed transcript in `file`, or writes it there if `overwrite`. Numbers in lines that begin with
/// one of `measured` are masked in both.
pub fn compare(file: &Path, text: &str, measured: &[&str], overwrite: bool) -> Result<()> {
    let found = masked(text, measured);
    if overwrite {
        return fs::write(file, found).map_err(|error| format!("cannot write {}: {error}", file.display()));
    }
    let expected = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let lines = |text: &str| text.lines().map(str::to_owned).chain([String::from("(the end)")]).collect::<Vec<_>>();
    let (expected, found) = (lines(&expected), lines(&found));
    match expected.iter().zip(&found).find(|(expected, found)| expected != found) {
        None => Ok(()),
        Some((expected, found)) => {
            let file = file.display();
            Err(format!(
                "{file}: expected\n  {expected}\nfound\n  {found}\n(`cargo xtask qemu pi --overwrite` renews it)"
            ))
        }
    }
}

/// The text with one `#` for each number and one space for several, in lines that begin with one of `measured`.
fn masked(text: &str, measured: &[&str]) -> String {
    let mask = |line: &str| {
        if !measured.iter().any(|start| line.starts_with(start)) {
            return format!("{line}\n");
        }
        let number = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '.');
        let words: Vec<&str> = line.split_whitespace().map(|word| if number(word) { "#" } else { word }).collect();
        words.join(" ") + "\n"
    };
    text.lines().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_measured_numbers_are_masked() {
        let text = "logits 3f80 12\nms   1.5   12.25\nblock.0  .mix   7  8\n";
        assert_eq!(masked(text, &["ms", "block."]), "logits 3f80 12\nms # #\nblock.0 .mix # #\n");
    }

    #[test]
    fn what_is_printed_and_the_exit_code_are_told() {
        let ended = run(Command::new("sh").args(["-c", "cat; exit 12"]), b"x\r\n").unwrap();
        assert_eq!((ended.text().as_str(), ended.code), ("x\n", Some(12)));
        assert!(run(&mut Command::new("/nonexistent/emulator"), b"").is_err());
    }

    #[test]
    fn transcripts_differ_where_a_line_does_or_is_missing() {
        let file = std::env::temp_dir().join(format!("xtask-transcript-{}", std::process::id()));
        compare(&file, "a 1\nms 2\n", &["ms"], true).unwrap();
        assert_eq!(compare(&file, "a 1\nms 33\n", &["ms"], false), Ok(()));
        assert!(compare(&file, "a 2\nms 2\n", &["ms"], false).is_err());
        assert!(compare(&file, "a 1\n", &["ms"], false).is_err());
        assert!(compare(&file, "a 1\nms 2\nb\n", &["ms"], false).is_err());
        fs::remove_file(&file).unwrap();
    }
}
