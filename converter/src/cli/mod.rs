//! The verbs of `resmlp`: one file each, the same flags and the same manners for all.
//!
//! A verb returns a [`Report`]; only [`main`] prints it, as text or as one JSON object on stdout. Progress, notes and
//! errors go to stderr. Exit codes: 0, 1 for an error, 2 for a command line that cannot be followed.

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
use resmlp_converter::error::{Error, Result};

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

impl Verb {
    fn execute(&self) -> Result<Box<dyn Report>> {
        Ok(match self {
            Self::Convert(args) => Box::new(convert::execute(args)?),
            Self::Check(args) => Box::new(check::execute(args)?),
            Self::Eval(args) => Box::new(eval::execute(args)?),
            Self::Run(args) => Box::new(run::execute(args)?),
            Self::Bench(args) => Box::new(bench::execute(args)?),
            Self::Inspect(args) => Box::new(inspect::execute(args)?),
            Self::Deploy(args) => Box::new(deploy::execute(args)?),
            Self::Image(args) => Box::new(image::execute(args)?),
            Self::Send(args) => Box::new(send::execute(args)?),
            Self::Demo(args) => Box::new(demo::execute(args)?),
        })
    }
}

/// Parses the command line, does what it says and prints the outcome.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = cli.verb.execute().and_then(|report| terminal::print(&report.render(cli.json)?));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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
