//! The verbs of `resmlp`. Each verb has a file of its own, and all share the flags in [`flags`].
//!
//! A verb returns a [`Report`], and only [`main`] prints it on stdout, as text or as one JSON object. Progress, notes
//! and errors go to stderr. The exit code is 0 for success, 1 for an error, and 2 for a command line that cannot be
//! followed. Where some pictures cannot be read, `run` reports the results of the others and exits with 1.

mod bench;
mod check;
mod convert;
mod demo;
mod demo_text;
mod deploy;
mod eval;
mod flags;
mod image;
mod inspect;
mod open;
mod report;
mod run;
mod send;
mod stated;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use resmlp_cli::error::{Error, Result};
use resmlp_cli::terminal;

use report::Report;

/// ResMLP on the edge: packs trained checkpoints into small integer models, checks, measures and runs them.
#[derive(Parser)]
#[command(name = "resmlp", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    /// Print one JSON object on stdout instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Turn a trained checkpoint into a packed model
    Convert(convert::Args),
    /// Compare a packed model with its checkpoint stage by stage; the independent engine tract is the judge
    Check(check::Args),
    /// Measure top-1 and top-5 accuracy over class folders of pictures, DIR/<class>/*.jpg
    Eval(eval::Args),
    /// Classify pictures
    Run(run::Args),
    /// Measure how long a packed model takes for a picture
    Bench(bench::Args),
    /// Show what is in a checkpoint or a packed model
    Inspect(inspect::Args),
    /// Measure a packed model on a board that ssh reaches, and bring the report back
    Deploy(deploy::Args),
    /// Make a card image from which a Raspberry Pi boots into a model, without an operating system
    Image(image::Args),
    /// Let a board on a serial line classify pictures
    Send(send::Args),
    /// Convert, check, classify and measure with the checkpoint and the pictures that come with the source code
    Demo(demo::Args),
}

/// The report of a verb, and whether the verb did everything that was asked for.
struct Done {
    report: Box<dyn Report>,
    complete: bool,
}

impl<T: Report + 'static> From<T> for Done {
    fn from(report: T) -> Self {
        Self { report: Box::new(report), complete: true }
    }
}

impl Verb {
    /// Does what the verb says.
    fn execute(&self) -> Result<Done> {
        Ok(match self {
            Self::Convert(args) => convert::execute(args)?.into(),
            Self::Check(args) => check::execute(args)?.into(),
            Self::Eval(args) => eval::execute(args)?.into(),
            Self::Run(args) => {
                let outcome = run::execute(args)?;
                Done { complete: outcome.is_complete(), ..outcome.into() }
            }
            Self::Bench(args) => bench::execute(args)?.into(),
            Self::Inspect(args) => inspect::execute(args)?.into(),
            Self::Deploy(args) => deploy::execute(args)?.into(),
            Self::Image(args) => image::execute(args)?.into(),
            Self::Send(args) => send::execute(args)?.into(),
            Self::Demo(args) => demo::execute(args)?.into(),
        })
    }
}

/// Parses the command line, does what it says and prints the outcome.
pub fn main() -> ExitCode {
    let cli: Cli = match terminal::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if cli.json {
        terminal::hide_progress();
    }
    let print = |done: Done| terminal::print(&done.report.render(cli.json)?).map(|()| done.complete);
    match cli.verb.execute().and_then(print) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            terminal::error(&error);
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
