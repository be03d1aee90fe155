//! The command-line tool `resmlp`.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
