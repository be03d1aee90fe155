//! The verbs of `resmlp`: one file each, the same flags and the same manners for all.
//!
//! A verb returns a [`Report`]; only [`main`] prints it, as text or as one JSON object on stdout. Progress, notes and
//! errors go to stderr. Exit codes: 0, 1 for an error, 2 for a command line that cannot be followed. `run` reports what it
//! has found and exits with 1 where some of the pictures cannot be read.

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
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use resmlp_cli::error::{Error, Result};

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
    /// Compare a packed model with its checkpoint stage by stage, tract being the judge
    Check(check::Args),
    /// Measure top-1 and top-5 accuracy over a tree of pictures, DIR/<class>/*.jpg
    Eval(eval::Args),
    /// Classify pictures
    Run(run::Args),
    /// Measure how long a packed model takes for a picture
    Bench(bench::Args),
    /// Say what is in a checkpoint or a model
    Inspect(inspect::Args),
    /// Copy the device program and a model to a board over ssh, measure there, bring the report back
    Deploy(deploy::Args),
    /// Make a card image that a Raspberry Pi boots a model from, without an operating system
    Image(image::Args),
    /// Have pictures classified by a board on a serial line
    Send(send::Args),
    /// Go the whole way with the checkpoint and the pictures that come with the source code
    Demo(demo::Args),
}

/// What a verb has to say, and whether it did all that was asked for.
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
    let cli = Cli::parse();
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
