//! What an emulated board prints, beside what it printed when that was committed.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, path::Path, thread};

use crate::process::{Result, shown};

/// A measured figure may differ by so much: compilers differ.
const TOLERANCE: f64 = 0.25;

/// Runs an emulator that ends by itself, and returns what it prints. Fails if it takes longer than `limit`, or does not
/// exit with 0.
pub fn of(emulator: &mut Command, limit: Duration) -> Result<String> {
    eprintln!("$ {}", shown(emulator));
    let failed = |error: std::io::Error| format!("the emulator does not run: {error}");
    let mut child = emulator.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let reader = child.stdout.take().map(|mut stdout| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        })
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break Some(status),
            None if start.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
    match status {
        Some(status) if status.success() => Ok(text),
        Some(status) => Err(format!("`{}` ended with {status}:\n{text}", shown(emulator))),
        None => Err(format!("`{}` did not end within {} s:\n{text}", shown(emulator), limit.as_secs())),
    }
}

/// Which lines of a transcript need not be the committed ones, by what they begin with.
pub struct Leeway {
    /// Numbers may differ a little.
    pub measured: &'static [&'static str],
    /// Anything may: it is compared with something better.
    pub elsewhere: &'static [&'static str],
}

/// Compares a transcript with the committed one in `file`, or writes it there if `overwrite`.
pub fn compare(file: &Path, found: &str, leeway: &Leeway, overwrite: bool) -> Result<()> {
    if overwrite {
        return fs::write(file, found).map_err(|error| format!("cannot write {}: {error}", file.display()));
    }
    let expected = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    match difference(&expected, found, leeway) {
        None => Ok(()),
        Some(difference) => Err(format!("{}: {difference}\n(renew with --overwrite)", file.display())),
    }
}

/// The first line that differs.
fn difference(expected: &str, found: &str, leeway: &Leeway) -> Option<String> {
    let (mut expected, mut found) = (expected.lines(), found.lines());
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return None,
            (Some(expected), Some(found)) if same(expected, found, leeway) => {}
            (expected, found) => {
                let [expected, found] = [expected, found].map(|line| line.unwrap_or("(the end)"));
                return Some(format!("expected\n  {expected}\nfound\n  {found}"));
            }
        }
    }
}

fn same(expected: &str, found: &str, leeway: &Leeway) -> bool {
    let both_begin_with = |start: &&str| expected.starts_with(*start) && found.starts_with(*start);
    if leeway.elsewhere.iter().any(both_begin_with) {
        return true;
    }
    if !leeway.measured.iter().any(both_begin_with) {
        return expected == found;
    }
    let [expected, found] = [expected, found].map(|line| line.split(' ').collect::<Vec<_>>());
    let number = |word: &str| word.trim_matches(|c: char| !c.is_ascii_digit()).parse::<f64>().ok();
    expected.len() == found.len()
        && expected.iter().zip(&found).all(|(expected, found)| match (number(expected), number(found)) {
            (Some(expected), Some(found)) => (expected - found).abs() <= TOLERANCE * expected,
            _ => expected == found,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "board: M33\nscalar: 1000 instructions (stem 100)\nlogits: 3f80\n";

    #[test]
    fn only_measured_figures_may_differ_and_only_a_little() {
        let leeway = Leeway { measured: &["scalar:"], elsewhere: &[] };
        let with = |from, to| difference(TEXT, &TEXT.replace(from, to), &leeway);
        assert_eq!(with("1000", "1100"), None);
        assert!(with("1000", "1300").is_some());
        assert!(with("100)", "130)").is_some());
        assert!(with("instructions", "cycles").is_some());
        assert!(with("M33", "M34").is_some());
        assert!(with("3f80", "3f81").is_some());
        assert!(difference(TEXT, "board: M33\n", &leeway).is_some_and(|text| text.contains("(the end)")));
        assert!(difference("board: M33\n", TEXT, &leeway).is_some());
        let leeway = Leeway { elsewhere: &["logits:"], ..leeway };
        assert_eq!(difference(TEXT, &TEXT.replace("3f80", "3f81"), &leeway), None);
        assert!(difference(TEXT, &TEXT.replace("logits: 3f80\n", ""), &leeway).is_some());
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let error = of(Command::new("sleep").arg("60"), Duration::from_millis(100)).unwrap_err();
        assert!(error.contains("did not end"), "{error}");
        assert!(of(&mut Command::new("false"), Duration::from_secs(60)).is_err());
        assert_eq!(of(Command::new("echo").arg("x"), Duration::from_secs(60)).unwrap(), "x\n");
    }
}
