//! Installs packages on Debian, Ubuntu and Raspberry Pi OS. Before it does so, it prints which packages and why.

use std::process::Command;

use crate::process::{Result, find_program, output_of, run, shown};

/// A package, and the reason to install it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    /// The package's name, followed by `:arm64` if the package of that architecture is meant.
    pub name: &'static str,
    /// The words that end the sentence "The package is installed to …".
    pub purpose: &'static str,
}

/// Returns whether this system has apt.
pub fn is_there() -> bool {
    find_program("apt-get").is_some()
}

/// Fetches the newest lists of packages. A failure is only printed, because older lists may suffice.
pub fn update() -> Result<()> {
    if let Err(error) = run(&mut as_root("apt-get", &["update", "-qq"])?) {
        eprintln!("warning: {error}; the package lists that are already there are used instead");
    }
    Ok(())
}

/// Installs the packages from the lists that [`update`] has fetched. It never removes a package.
///
/// # Errors
///
/// Returns an error if there is no apt, no way to become root, or apt fails. The message holds the command to run by
/// hand.
pub fn install(packages: &[Package]) -> Result<()> {
    eprintln!("These packages are missing and will be installed:");
    for package in packages {
        eprintln!("  {:<28} to {}", package.name, package.purpose);
    }
    install_named(packages.iter().map(|package| package.name))
}

/// Installs packages by their names, as [`install`] does.
pub fn install_named<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let options = ["install", "-y", "--no-install-recommends", "--no-remove", "-o", "DPkg::Lock::Timeout=300"];
    let words: Vec<&str> = options.into_iter().chain(names).collect();
    run(&mut as_root("apt-get", &words)?)
}

/// Lets apt install packages of another architecture in addition to the machine's own. Returns true if apt did not do
/// so before.
pub fn add_architecture(name: &str) -> Result<bool> {
    let known = |question| output_of(Command::new("dpkg").arg(question)).unwrap_or_default();
    let mut architectures = known("--print-architecture");
    architectures += &known("--print-foreign-architectures");
    if architectures.lines().any(|architecture| architecture == name) {
        return Ok(false);
    }
    run(&mut as_root("dpkg", &["--add-architecture", name])?)?;
    Ok(true)
}

/// Returns whether the package can be installed without removing another one.
pub fn installs_beside_all(package: &str) -> bool {
    simulated(&["--no-remove", package]).is_some()
}

/// Returns the package and the missing packages that it needs, if apt may remove other packages for it.
pub fn needed_for(package: &str) -> Vec<String> {
    let steps = simulated(&[package]).unwrap_or_default();
    let name = |line: &str| line.strip_prefix("Inst ")?.split(' ').next().map(String::from);
    steps.lines().filter_map(name).collect()
}

/// Returns what an installation would do, one step a line, or `None` if the installation is impossible.
fn simulated(words: &[&str]) -> Option<String> {
    let options = ["install", "--simulate", "-y", "--no-install-recommends"];
    output_of(Command::new("apt-get").args(options).args(words).env("LC_ALL", "C"))
}

/// Returns the version that [`install`] would install, if there is one.
pub fn candidate(package: &str) -> Option<String> {
    let policy = output_of(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_string())
}

/// Returns a command that runs as root, by sudo if needed.
fn as_root(program: &str, args: &[&str]) -> Result<Command> {
    let is_root = output_of(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    let mut direct = Command::new(program);
    direct.args(args).env("DEBIAN_FRONTEND", "noninteractive");
    if is_root {
        return Ok(direct);
    }
    if find_program("sudo").is_none() {
        return Err(format!("this needs root and there is no sudo; run this command as root: {}", shown(&direct)));
    }
    let mut by_sudo = Command::new("sudo");
    by_sudo.args(["env", "DEBIAN_FRONTEND=noninteractive", program]).args(args);
    Ok(by_sudo)
}
