//! Prints results on stdout and everything else on stderr, without characters that a terminal would obey.

use std::io::{Write, stderr, stdout};

use indicatif::{ProgressBar, ProgressStyle};
use resmlp_command_line::{one_line, printable, to_json};
use resmlp_train::Error;
use serde::Serialize;

/// Prints text on stdout. It is no error where the reader has gone away, as `head` does.
pub fn print(text: &str) {
    let _ = writeln!(stdout().lock(), "{}", printable(text));
}

/// Prints a value as one line of JSON on stdout.
pub fn print_json(value: &impl Serialize) {
    match to_json(value) {
        Ok(line) => print(&line),
        Err(error) => line("error", &error.to_string()),
    }
}

/// Prints on stderr what the user should know but need not act on.
pub fn note(text: &str) {
    line("note", text);
}

/// Prints on stderr what was left out or may surprise.
pub fn warning(text: &str) {
    line("warning", text);
}

/// Prints on stderr why there is no result.
pub fn error(error: &Error) {
    line("error", &error.to_string());
}

fn line(kind: &str, text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(stderr().lock(), "{kind}: {}", one_line(text));
}

/// Creates a progress bar on stderr over the batches of all epochs. It is hidden where stderr is no terminal.
pub fn progress(batches: u64) -> ProgressBar {
    let bar = ProgressBar::new(batches);
    match ProgressStyle::with_template("{msg} [{wide_bar}] {pos}/{len} batches, {eta} left") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
