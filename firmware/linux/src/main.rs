//! `resmlp-device`: runs and measures packed models on a board.
//!
//! Results go to stdout, notes and errors to stderr. The exit code is 0 for success, 1 for an error, and 2 for a wrong
//! command line.

mod affinity;
mod arguments;
mod bench;
mod contain;
mod error;
mod files;
mod machine;
mod model;
mod observe;
mod output;
mod picture;
mod pmu;
mod run;
mod trust;
mod watch;

use std::process::ExitCode;

use arguments::Command;
use error::{Error, Result};
use output::{print, say};

fn main() -> ExitCode {
    match arguments::parse(lexopt::Parser::from_env()).and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say("error", &error.to_string());
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn execute(command: Command) -> Result<()> {
    let text = match command {
        Command::Help => arguments::USAGE.to_owned(),
        Command::Version => concat!("resmlp-device ", env!("CARGO_PKG_VERSION")).to_owned(),
        Command::Run(options) => run::execute(&options)?,
        Command::Bench(options) => bench::execute(&options)?,
        Command::Watch(options) => return watch::execute(&options),
    };
    print(&text).map(|_| ())
}
