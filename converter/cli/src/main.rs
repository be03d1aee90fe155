//! The command-line tool `resmlp`.

mod verbs;

use std::process::ExitCode;

fn main() -> ExitCode {
    verbs::main()
}
