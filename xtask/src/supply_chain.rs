//! What this workspace depends on: every direct dependency has a reason in `SECURITY.md`, and all have known licences and come from
//! the registry. `cargo deny check` does more with `deny.toml`; where it is installed, it is run too.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::process::{Result, output_of};
use crate::steps::check as run;
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::workspace;

/// Licences of which one suffices for each package; `deny.toml` has the same.
const LICENCES: [&str; 7] =
    ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "Unicode-3.0", "Zlib"];
/// Packages with another licence: its terms reach their own files alone, and `deny.toml` says what they are for.
const EXCEPTIONS: [(&str, &str); 2] = [("cbindgen", "MPL-2.0"), ("serialport", "MPL-2.0")];

/// All of the checks.
pub fn check(_: &Toolchain) -> Result<Tally> {
    let mut tally = Tally::default();
    reasons(&fs::read_to_string(workspace::root().join("SECURITY.md")).map_err(|error| error.to_string())?)?;
    let packages = tree(&[])?;
    packages.iter().try_for_each(|line| is_acceptable(line))?;
    eprintln!("{} packages, all with a known licence, all of the registry or of this workspace", packages.len());
    tally.passed += 2;
    if output_of(Command::new("cargo").args(["deny", "--version"])).is_some() {
        run(Toolchain::Current.cargo("deny").arg("check"))?;
        tally.passed += 1;
    } else {
        eprintln!(
            "note: cargo-deny is not installed, so nobody asked for advisories: cargo install --locked cargo-deny"
        );
    }
    Ok(tally)
}

/// `NAME VERSION …|LICENCE`, for each package that is compiled for anything.
fn tree(options: &[&str]) -> Result<BTreeSet<String>> {
    let mut cargo = Toolchain::Current.cargo("tree");
    cargo
        .args(["--workspace", "--all-features", "--target", "all", "--no-dedupe", "--format", "{p}|{l}"])
        .args(options);
    let prefix = if options.is_empty() { "none" } else { "depth" };
    let text = output_of(cargo.args(["--prefix", prefix])).ok_or("`cargo tree` fails")?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Compares the table's first column with the direct dependencies.
fn reasons(document: &str) -> Result<()> {
    let direct = tree(&["--depth", "1"])?;
    let direct = direct.iter().filter_map(|line| line.strip_prefix('1')).filter(|line| !is_own(line));
    let direct: BTreeSet<&str> = direct.filter_map(|line| line.split(' ').next()).collect();
    let (_, section) = document.split_once("## Dependencies").ok_or("SECURITY.md has no section `Dependencies`")?;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let stated: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
    if stated != direct {
        let missing: Vec<_> = direct.difference(&stated).collect();
        let unused: Vec<_> = stated.difference(&direct).collect();
        return Err(format!("SECURITY.md gives no reason for {missing:?}, and one for {unused:?}, which nobody uses"));
    }
    eprintln!("{} direct dependencies, each with its reason", direct.len());
    Ok(())
}

/// Whether the package is one of this workspace: those have a path.
fn is_own(line: &str) -> bool {
    line.contains(&format!("({}", workspace::root().display()))
}

fn is_acceptable(line: &str) -> Result<()> {
    let (package, licence) = line.split_once('|').ok_or_else(|| format!("`cargo tree` prints `{line}`"))?;
    let name = package.split(' ').next().unwrap_or(package);
    // Packages of the registry have nothing behind their version, but that they are macros.
    let elsewhere = package.replace(" (proc-macro)", "").contains('(');
    if elsewhere && !is_own(package) {
        return Err(format!("{package} is not from the registry"));
    }
    if is_free(licence) || EXCEPTIONS.contains(&(name, licence)) {
        Ok(())
    } else {
        Err(format!("{package} has the licence '{licence}'; expected one of {}", LICENCES.join(", ")))
    }
}

/// Whether one of our licences satisfies the expression: `A OR B`, `A/B`, `(A OR B) AND C`.
fn is_free(expression: &str) -> bool {
    expression.split(" AND ").all(|term| {
        let term = term.trim_start_matches('(').trim_end_matches(')');
        term.split(" OR ").flat_map(|term| term.split('/')).any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_known_licence_suffices_and_all_terms_are_needed() {
        for free in ["MIT", "Apache-2.0/MIT", "GPL-3.0 OR MIT", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_free(free), "{free}");
        }
        for other in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR LGPL-2.1) AND MIT"] {
            assert!(!is_free(other), "{other}");
        }
    }

    #[test]
    fn packages_from_elsewhere_are_refused() {
        assert!(is_acceptable("a v1.0.0|MIT").is_ok());
        assert!(is_acceptable("a-derive v1.0.0 (proc-macro)|MIT").is_ok());
        assert!(is_acceptable("a v1.0.0 (https://example.com/a#1234)|MIT").is_err());
        assert!(is_acceptable("a v1.0.0|MPL-2.0").is_err());
        assert!(is_acceptable("cbindgen v0.29.4|MPL-2.0").is_ok());
    }
}
