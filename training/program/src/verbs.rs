//! The verbs of `resmlp-train`.
//!
//! With `--json`, each epoch and the outcome are one line of JSON on stdout each. Everything else goes to stderr. The
//! exit code is 0 for success, 1 for an error, 2 for a command line that cannot be followed, and 130 where Ctrl-C ended
//! the training early.

mod demo;
mod files;
mod finetune;
mod flags;
mod session;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use resmlp_cli::terminal;
use resmlp_train::Error;

/// ResMLP on the edge: trains small networks on labelled pictures, on a desktop's CPU.
#[derive(Parser)]
#[command(name = "resmlp-train", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,

    /// Print one line of JSON on stdout for each epoch and one for the outcome, instead of text
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Train a network on labelled pictures, check it, and pack it
    Train(Box<train::Args>),
    /// Go on training a checkpoint, with other classes or pictures of another size if need be
    Finetune(Box<finetune::Args>),
    /// Train on the handwritten digits that come with the source code, pack the network, and check it
    Demo(demo::Args),
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli: Cli = match terminal::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if cli.json {
        terminal::hide_progress();
    }
    let outcome = match &cli.verb {
        Verb::Train(args) => train::execute(args, cli.json),
        Verb::Finetune(args) => finetune::execute(args, cli.json),
        Verb::Demo(args) => demo::execute(args, cli.json),
    };
    match outcome {
        Ok(resmlp_train::course::End::Complete) => ExitCode::SUCCESS,
        Ok(resmlp_train::course::End::Stopped) => ExitCode::from(130),
        Err(error) => {
            terminal::error(&error);
            let usage = matches!(&error, Error::Usage(_) | Error::Converter(resmlp_cli::error::Error::Usage(_)));
            ExitCode::from(if usage { 2 } else { 1 })
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
