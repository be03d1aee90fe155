//! stdout for results, stderr for everything else.

use std::io::{ErrorKind, Write, stderr, stdout};

use indicatif::{ProgressBar, ProgressStyle};
use resmlp_cli::error::{Error, Result};

/// Prints `text` on stdout; a reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("stdout", error)),
        _ => Ok(()),
    }
}

/// Says on stderr what the user should know but need not act on.
pub fn note(text: &str) {
    line("note", text);
}

/// Says on stderr what was left out or will surprise.
pub fn warning(text: &str) {
    line("warning", text);
}

/// Says on stderr why there is no result.
pub fn error(error: &Error) {
    line("error", &error.to_string());
}

fn line(kind: &str, text: &str) {
    // Nobody can be told where stderr is closed.
    let _ = writeln!(stderr().lock(), "{kind}: {text}");
}

/// A progress bar on stderr over `count` things; hidden where stderr is no terminal, gone when it is finished.
pub fn progress(what: &'static str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64).with_message(what);
    match ProgressStyle::with_template("{msg:12} [{wide_bar}] {pos}/{len} {eta:>4}") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
