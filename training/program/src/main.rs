//! The command-line tool `resmlp-train`.

mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    verbs::main()
}
