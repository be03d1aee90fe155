//! What an emulated board prints, beside what it printed when that was committed.

use std::fs;
use std::path::Path;

use crate::process::Result;

/// A measured figure may differ by so much: compilers differ.
const TOLERANCE: f64 = 0.25;

/// Which lines of a transcript need not be the committed ones, by what they begin with.
#[derive(Default)]
pub struct Leeway {
    /// Numbers are times: each is a `#` in the transcript, and spaces between words are one.
    pub timed: &'static [&'static str],
    /// Numbers may differ a little.
    pub measured: &'static [&'static str],
    /// Anything may: it is compared with something better.
    pub elsewhere: &'static [&'static str],
}

/// Compares a transcript with the committed one in `file`, or writes it there if `overwrite`.
pub fn compare(file: &Path, found: &str, leeway: &Leeway, overwrite: bool) -> Result<()> {
    let found = &masked(found, leeway.timed);
    if overwrite {
        return fs::write(file, found).map_err(|error| format!("cannot write {}: {error}", file.display()));
    }
    let expected = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    match difference(&expected, found, leeway) {
        None => Ok(()),
        Some(difference) => Err(format!("{}: {difference}\n(renew with --overwrite)", file.display())),
    }
}

/// The text with one `#` for each number and one space for several, in lines that begin with one of `timed`.
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
