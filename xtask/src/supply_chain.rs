//! Checks what the workspaces depend on. Every direct dependency must have a reason in `SECURITY.md`. Licences,
//! sources, duplicates and advisories are checked by cargo-deny, by the rules in `deny.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::cargo::cargo;
use crate::process::{Result, find_program, output_of, run};
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::workspace;

/// The version of cargo-deny that is compiled if none is installed.
const CARGO_DENY: &str = "0.20.2";
/// The manifests of the workspaces. Each has a lock file beside it.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "firmware/cortex_m/Cargo.toml"];

/// Runs all of the checks.
pub fn check(_: &Toolchain) -> Result<Tally> {
    let security = workspace::root().join("SECURITY.md");
    let document =
        fs::read_to_string(&security).map_err(|error| format!("cannot read {}: {error}", security.display()))?;
    let mut tally = Tally::default();
    tally.record("a reason for each dependency", reasons(&document));
    let Some(deny) = cargo_deny() else {
        eprintln!("skipped: licences, sources and advisories (they need cargo-deny, and a connection to install it)");
        tally.skipped.push("cargo-deny".into());
        return Ok(tally);
    };
    let deny = |manifest: &str, words: &[&str]| {
        let mut deny = Command::new(&deny);
        deny.args(["--manifest-path", manifest]).args(words).current_dir(workspace::root());
        run(&mut deny)
    };
    for manifest in MANIFESTS {
        let checked = deny(manifest, &["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]);
        tally.record(&format!("licences and sources of {manifest}"), checked);
    }
    if let Err(error) = deny(MANIFESTS[0], &["fetch", "db"]) {
        eprintln!("skipped: advisories (they need a connection to fetch their database: {error})");
        tally.skipped.push("advisories".into());
        return Ok(tally);
    }
    for manifest in MANIFESTS {
        tally.record(&format!("advisories on {manifest}"), deny(manifest, &["check", "advisories"]));
    }
    Ok(tally)
}

/// Returns the user's own cargo-deny, or one that is compiled once and kept. Returns `None` if compiling fails.
fn cargo_deny() -> Option<PathBuf> {
    if let Some(program) = find_program("cargo-deny") {
        return Some(program);
    }
    let folder = workspace::target_dir().join("tools");
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let mut cargo = cargo("install");
        // Without optimisation, compiling takes half as long, and cargo-deny has little to do.
        cargo.args(["--locked", "--debug", "cargo-deny", "--version", CARGO_DENY, "--root"]).arg(&folder);
        cargo.arg("--target-dir").arg(folder.join("build"));
        run(&mut cargo).map_err(|error| eprintln!("note: {error}")).ok()?;
    }
    Some(program)
}

/// Compares the first column of the table in `SECURITY.md` with the direct dependencies of all workspaces.
fn reasons(document: &str) -> Result<()> {
    let mut direct = BTreeSet::new();
    for manifest in MANIFESTS {
        direct.extend(direct_dependencies(manifest)?);
    }
    let (_, section) = document.split_once("## Dependencies").ok_or("SECURITY.md has no section `## Dependencies`")?;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let stated: BTreeSet<String> = rows.map(|(name, _)| name.into()).collect();
    if stated != direct {
        let missing: Vec<_> = direct.difference(&stated).collect();
        let unused: Vec<_> = stated.difference(&direct).collect();
        return Err(format!(
            "the table `Dependencies` in SECURITY.md has no reason for {missing:?}, and has one for {unused:?}, which no \
             package uses; add or remove these rows"
        ));
    }
    eprintln!("{} direct dependencies, each with its reason", direct.len());
    Ok(())
}

/// Returns the names of the packages that a workspace depends on directly. The project's own packages are left out;
/// `cargo tree` prints a path for these.
fn direct_dependencies(manifest: &str) -> Result<BTreeSet<String>> {
    let mut cargo = cargo("tree");
    cargo.args(["--manifest-path", manifest, "--workspace", "--all-features", "--target", "all", "--no-dedupe"]);
    cargo.args(["--format", " {p}", "--prefix", "depth", "--depth", "1"]);
    let text = output_of(&mut cargo).ok_or_else(|| format!("`cargo tree` fails for {manifest}"))?;
    let own = format!("({}", workspace::root().display());
    let lines = text.lines().filter_map(|line| line.strip_prefix("1 ")).filter(|line| !line.contains(&own));
    Ok(lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_without_a_reason_and_reasons_without_a_dependency_are_named() {
        let document = "| `elsewhere` |\n## Dependencies\n| `no-such-package` | xtask | none |\n";
        let error = reasons(document).unwrap_err();
        assert!(error.contains("\"half\"") && error.contains("has one for [\"no-such-package\"]"), "{error}");
    }
}
