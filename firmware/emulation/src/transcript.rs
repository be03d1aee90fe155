//! Compares what an emulated board prints with what it printed when that was committed.

use std::fs;
use std::path::PathBuf;

use crate::Result;

/// The share by which a measured figure may differ from the committed one, because compilers differ.
const TOLERANCE: f64 = 0.25;

/// Says which lines of a transcript may differ from the committed ones, by the words with which these lines begin.
#[derive(Debug, Default)]
pub struct Leeway {
    /// Lines with times. In the committed transcript each number is a `#`, and several spaces are one.
    pub timed: &'static [&'static str],
    /// Lines whose numbers may differ by a quarter.
    pub measured: &'static [&'static str],
    /// Lines that may differ freely, because the test compares them with something better.
    pub elsewhere: &'static [&'static str],
}

/// A committed transcript.
#[derive(Debug)]
pub struct Transcript {
    /// The committed file.
    pub file: PathBuf,
    /// The lines that may differ.
    pub leeway: Leeway,
}

impl Transcript {
    /// Compares `found` with the committed transcript, or writes it there if `overwrite`.
    ///
    /// # Errors
    ///
    /// Returns an error with the first line that differs, or if the file cannot be read or written.
    pub fn compare(&self, found: &str, overwrite: bool) -> Result {
        let file = self.file.display();
        let found = &masked(found, self.leeway.timed);
        if overwrite {
            return fs::write(&self.file, found).map_err(|error| format!("cannot write {file}: {error}").into());
        }
        let expected = fs::read_to_string(&self.file).map_err(|error| format!("cannot read {file}: {error}"))?;
        match difference(&expected, found, &self.leeway) {
            None => Ok(()),
            Some(difference) => {
                Err(format!("{file}: {difference}\n(`cargo xtask qemu pi|cortex-m --overwrite` writes it anew)").into())
            }
        }
    }
}

/// Replaces each number by `#`, and several spaces by one, in lines that begin with one of `timed`.
fn masked(text: &str, timed: &[&str]) -> String {
    let mask = |line: &str| {
        if !timed.iter().any(|start| line.starts_with(start)) {
            return format!("{line}\n");
        }
        let number = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '.');
        let words: Vec<&str> = line.split_whitespace().map(|word| if number(word) { "#" } else { word }).collect();
        words.join(" ") + "\n"
    };
    text.lines().map(mask).collect()
}

/// Returns the first line that differs, as it is in both texts.
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

/// Returns whether two lines are the same, but for what may differ.
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
    fn measured_figures_may_differ_a_little_and_nothing_else_may() {
        let leeway = Leeway { measured: &["scalar:"], ..Leeway::default() };
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
    fn times_are_masked() {
        let text = "logits 3f80 12\nms   1.5   12.25\nblock.0  .mix   7  8\n";
        assert_eq!(masked(text, &["ms", "block."]), "logits 3f80 12\nms # #\nblock.0 .mix # #\n");
    }
}
