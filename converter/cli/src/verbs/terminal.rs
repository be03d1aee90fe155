//! Prints results on stdout and everything else on stderr, without characters that a terminal would obey.

use std::borrow::Cow;
use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use resmlp_cli::error::{Error, Result};
use resmlp_command_line::{one_line, printable};

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
pub fn error(error: &Error) {
    line("error", &error.to_string());
}

/// Prints what clap says about the command line: the help that was asked for on stdout, or on stderr what is wrong with
/// an argument. Arguments may come from strangers, so what clap shows of them is made safe as well.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help and version hold nothing of the command line. Where stdout is closed there is nobody to tell.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let _ = write!(stderr().lock(), "{}", printable(&error.render().to_string()));
    ExitCode::from(2)
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
