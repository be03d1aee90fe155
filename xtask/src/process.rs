//! Running other programs: shown as typed, and their failures told in one sentence.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

/// Errors are sentences for the terminal: nothing here is handled by kind.
pub type Result<T> = std::result::Result<T, String>;

/// The command as one would type it, with the environment variables that were set for it.
pub fn shown(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(&value?.to_string_lossy()))));
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    variables.chain(words.map(|word| quoted(&word.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    if word.contains([' ', '*', '$', '"']) { format!("'{word}'") } else { word.to_string() }
}

/// Shows the command, runs it with its output on the terminal, and fails unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.status().map_err(|error| not_started(command, &error))?;
    expect_success(command, status)
}

/// As [`run`], but hands each line of standard output to `on_line` instead of the terminal.
pub fn run_by_line(command: &mut Command, mut on_line: impl FnMut(&str)) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| not_started(command, &error))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| format!("cannot read what `{}` prints: {error}", shown(command)))?;
            on_line(&String::from_utf8_lossy(&line));
        }
    }
    let status = child.wait().map_err(|error| format!("cannot wait for `{}`: {error}", shown(command)))?;
    expect_success(command, status)
}

/// What the command prints on standard output; `None` if it cannot be started or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where the program lies in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn not_started(command: &Command, error: &std::io::Error) -> String {
    format!("cannot start `{}`: {error}", shown(command))
}

fn expect_success(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "--", "a b"]).env("QEMU_CPU", "max").env_remove("LD_LIBRARY_PATH");
        assert_eq!(shown(&command), "QEMU_CPU=max cargo test -- 'a b'");
    }

    #[test]
    fn a_failing_command_is_an_error_with_its_name() {
        let error = run_by_line(Command::new("false").arg("x"), |_| {}).unwrap_err();
        assert!(error.starts_with("`false x` ended with"), "{error}");
    }
}
