//! Writes results to stdout, and notes, warnings and errors to stderr, without characters that a terminal would obey.

use std::io::{ErrorKind, Write, stderr, stdout};

use resmlp_command_line::{one_line, printable};

use crate::error::{Error, Result};

/// Prints `text` and a line's end on stdout. Returns false if the reader has gone away (`| head`), which is not an
/// error.
pub fn print(text: &str) -> Result<bool> {
    let mut out = stdout().lock();
    match writeln!(out, "{}", printable(text.trim_end())).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::about("stdout", &error)),
        Ok(()) => Ok(true),
    }
}

/// Writes a line to stderr: `kind`, which is `note`, `warning` or `error`, and `text`.
pub fn say(kind: &str, text: &str) {
    // If stderr is closed there is no other place to report that.
    let _ = writeln!(stderr().lock(), "{kind}: {}", one_line(text));
}
