//! What the program writes: results to stdout, everything else to stderr.

use std::io::{ErrorKind, Write, stderr, stdout};

use crate::error::{Error, Result};

/// Prints `text` and a line's end on stdout; false where the reader has gone away (`| head`), which is no error.
pub fn print(text: &str) -> Result<bool> {
    let mut out = stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Error::about("stdout", &error)),
        Ok(()) => Ok(true),
    }
}

/// Says on stderr what is no result: `kind` is `note`, `warning` or `error`.
pub fn say(kind: &str, text: &str) {
    // Nobody can be told where stderr is closed.
    let _ = writeln!(stderr().lock(), "{kind}: {text}");
}
