//! Prints the outcome of a verb, as text for people and as JSON for scripts.

use std::fmt::Display;
use std::path::Path;

use resmlp_cli::error::{Error, Result};
use serde::{Serialize, Serializer};

/// The outcome of a verb. Its `Display` is the text for people, its `Serialize` the JSON object for scripts.
pub trait Report {
    /// Returns what is printed on stdout. The text ends with a line break.
    fn render(&self, json: bool) -> Result<String>;
}

impl<T: Display + Serialize> Report for T {
    fn render(&self, json: bool) -> Result<String> {
        if json {
            let object = resmlp_command_line::to_json(self)
                .map_err(|error| Error::Usage(format!("the outcome cannot be written as JSON: {error}")))?;
            Ok(object + "\n")
        } else {
            let text = self.to_string();
            Ok(text.trim_end().to_owned() + "\n")
        }
    }
}

/// Serialises a path as it is shown, because JSON cannot hold bytes that are not UTF-8.
pub fn shown<S: Serializer>(path: &Path, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// Returns one line for each name and value. The values stand below each other.
pub fn table(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

/// Returns columns under a line of headings. The first column is left-aligned, the others are right-aligned.
pub fn columns<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let headings = headings.map(str::to_owned);
    let lines = || std::iter::once(&headings).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|c| lines().map(|line| line[c].chars().count()).max().unwrap_or_default());
    let cell = |c: usize, text: &str| match (c, widths[c]) {
        (0, width) => format!("{text:width$}"),
        (_, width) => format!("  {text:>width$}"),
    };
    let line = |line: &[String; N]| line.iter().enumerate().map(|(c, text)| cell(c, text)).collect::<String>();
    lines().map(|cells| line(cells).trim_end().to_owned() + "\n").collect()
}

/// Returns a share from 0 to 1 as a percentage, or a dash where there is none.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{:.2} %", share * 100.0))
}

/// Returns a number with its digits in groups of three.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_come_in_threes() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["stem", "1.5"], ["µs", "10.25"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(["", "ms"], &rows), "         ms\nstem    1.5\nµs    10.25\n");
    }

    #[test]
    fn values_stand_below_each_other() {
        assert_eq!(table(&[("a", "1".into()), ("long", "2".into())]), "a     1\nlong  2\n");
    }
}
