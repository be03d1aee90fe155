//! Runs other programs. Each command is shown as one would type it, and a failure is one sentence.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

/// The result of everything in xtask. An error is a sentence for the terminal, because no caller treats one kind of
/// error differently from another.
pub type Result<T> = std::result::Result<T, String>;

/// Returns the command as one would type it, with the environment variables that were set for it.
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

/// Returns the same command once more, because a [`Command`] cannot be cloned.
pub fn copy_of(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    command.get_current_dir().map(|folder| copy.current_dir(folder));
    copy
}

/// Shows the command, runs it with its output on the terminal, and fails unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command.status().map_err(|error| not_started(command, &error))?;
    expect_success(command, status)
}

/// Runs the command as [`run`] does, but hands each line of its standard output to `on_line` instead of the terminal.
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

/// Returns what the command prints on standard output, or `None` if it cannot be started or fails.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Shows the command, runs it, and returns what it prints on standard output.
///
/// # Errors
///
/// Returns an error if the command fails; the message holds what it wrote to standard error.
pub fn report_of(command: &mut Command) -> Result<String> {
    eprintln!("$ {}", shown(command));
    let output = command.output().map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("`{}` ended with {}: {stderr}", shown(command), output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Shows a command that builds a program with a panic in it, runs it, and checks that linking fails because of the
/// panic: that the linker or the compiler says `message`.
pub fn expect_no_link(command: &mut Command, message: &str) -> Result<()> {
    eprintln!("$ {}    # must not link", shown(command));
    let output = command.output().map_err(|error| not_started(command, &error))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || !stderr.contains(message) {
        return Err(format!("`{}` should have failed with `{message}`, but did not: {stderr}", shown(command)));
    }
    Ok(())
}

/// Returns the path of a program that is in `PATH`.
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
        assert_eq!(shown(&copy_of(&command)), shown(&command));
    }

    #[test]
    fn a_failing_command_is_an_error_with_its_name() {
        let error = run_by_line(Command::new("false").arg("x"), |_| {}).unwrap_err();
        assert!(error.starts_with("`false x` ended with"), "{error}");
    }
}
