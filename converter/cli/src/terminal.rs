//! Prints results on stdout and everything else on stderr, without characters that a terminal would obey.

use std::borrow::Cow;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use resmlp_command_line::{one_line, printable};

use crate::error::{Error, Result};

/// Prints `text` on stdout. It is no error where the reader has gone away, as `head` does.
///
/// # Errors
/// Returns the system's error where `text` cannot be written for another reason.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(printable(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("stdout", error)),
        _ => Ok(()),
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
pub fn error(error: &dyn std::fmt::Display) {
    line("error", &error.to_string());
}

/// Parses the command line. Where there is nothing to do, the function prints why and returns the exit code: the help
/// that was asked for goes to stdout, and what is wrong with an argument to stderr.
///
/// # Errors
/// Returns the code with which the program should exit.
pub fn parse<T: Parser>() -> std::result::Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        if !error.use_stderr() {
            // Help and version hold nothing of the command line. Where stdout is closed there is nobody to tell.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        let error = with_safe_arguments::<T>().err().unwrap_or(error);
        let _ = write!(stderr().lock(), "{}", printable(&error.render().to_string()));
        ExitCode::from(2)
    })
}

/// Parses the command line once more, with arguments that a terminal shows as they are, because arguments may come from
/// strangers. The error says the same as that of the first try, but what it shows of an argument moves no cursor.
fn with_safe_arguments<T: Parser>() -> std::result::Result<T, clap::Error> {
    let arguments = std::env::args_os().map(|argument| one_line(&argument.to_string_lossy()).into_owned());
    T::try_parse_from(arguments)
}

fn line(kind: &str, text: &str) {
    // Where stderr is closed there is nobody to tell.
    let _ = writeln!(stderr().lock(), "{kind}: {}", one_line(text));
}

/// Whether progress bars are hidden.
static IS_HIDDEN: AtomicBool = AtomicBool::new(false);

/// Hides the progress bars that are created from now on.
pub fn hide_progress() {
    IS_HIDDEN.store(true, Ordering::Relaxed);
}

/// Creates a progress bar on stderr over `count` steps. The bar is hidden where stderr is no terminal, and disappears
/// when it is finished.
pub fn progress(what: &'static str, count: usize) -> ProgressBar {
    bar(what, count as u64, "{msg:12} [{wide_bar}] {pos}/{len} {eta:>4}")
}

/// Creates a progress bar, like that of [`progress`], over the `size` bytes of the file `name`.
pub fn download(name: &str, size: u64) -> ProgressBar {
    let name = one_line(name).into_owned();
    bar(name, size, "{msg:12} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {eta:>4}")
}

/// Creates a progress bar over the batches of a training. Its message tells the epoch and the loss.
pub fn batches(count: u64) -> ProgressBar {
    bar("", count, "{msg} [{wide_bar}] {pos}/{len} batches, {eta} left")
}

fn bar(what: impl Into<Cow<'static, str>>, count: u64, template: &str) -> ProgressBar {
    if IS_HIDDEN.load(Ordering::Relaxed) {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(count).with_message(what);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
