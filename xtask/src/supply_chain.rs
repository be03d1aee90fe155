//! What the workspaces depend on: every direct dependency has a reason in `SECURITY.md`; licences, sources, duplicates and
//! advisories are cargo-deny's, by `deny.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::process::{Result, find_program, output_of, run};
use crate::tally::Tally;
use crate::toolchain::Toolchain;
use crate::workspace;

/// The cargo-deny that is compiled where there is none.
const CARGO_DENY: &str = "0.20.2";
/// The workspaces' manifests; each has a lock file.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "firmware/cortex_m/Cargo.toml"];

/// All of the checks.
pub fn check(_: &Toolchain) -> Result<Tally> {
    let document = fs::read_to_string(workspace::root().join("SECURITY.md")).map_err(|error| error.to_string())?;
    reasons(&document)?;
    let mut tally = Tally::passed(1);
    let Some(deny) = cargo_deny() else {
        eprintln!("skipped: supply-chain (needs cargo-deny, and a connection to install it)");
        tally.skipped.push("cargo-deny".into());
        return Ok(tally);
    };
    let deny = |manifest: &str, words: &[&str]| {
        let mut deny = Command::new(&deny);
        deny.args(["--manifest-path", manifest]).args(words).current_dir(workspace::root());
        run(&mut deny)
    };
    for manifest in MANIFESTS {
        deny(manifest, &["check", "--hide-inclusion-graph", "licenses", "bans", "sources"])?;
        tally.passed += 1;
    }
    if let Err(error) = deny(MANIFESTS[0], &["fetch", "db"]) {
        eprintln!("skipped: advisories (needs their database: {error})");
        tally.skipped.push("advisories".into());
        return Ok(tally);
    }
    for manifest in MANIFESTS {
        deny(manifest, &["check", "advisories"])?;
        tally.passed += 1;
    }
    Ok(tally)
}

/// The user's own cargo-deny, else one that is compiled once; `None` where that fails.
fn cargo_deny() -> Option<PathBuf> {
    if let Some(program) = find_program("cargo-deny") {
        return Some(program);
    }
    let folder = workspace::target_dir().join("tools");
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        let mut cargo = Toolchain::Current.cargo("install");
        // Compiling it without optimisation takes half as long, and it has little to do.
        cargo.args(["--locked", "--debug", "cargo-deny", "--version", CARGO_DENY, "--root"]).arg(&folder);
        cargo.arg("--target-dir").arg(folder.join("build"));
        run(&mut cargo).map_err(|error| eprintln!("note: {error}")).ok()?;
    }
    Some(program)
}

/// Compares the table's first column with the direct dependencies of all workspaces.
fn reasons(document: &str) -> Result<()> {
    let mut direct = BTreeSet::new();
    for manifest in MANIFESTS {
        direct.extend(direct_dependencies(manifest)?);
    }
    let (_, section) = document.split_once("## Dependencies").ok_or("SECURITY.md has no section `Dependencies`")?;
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let stated: BTreeSet<String> = rows.map(|(name, _)| name.into()).collect();
    if stated != direct {
        let missing: Vec<_> = direct.difference(&stated).collect();
        let unused: Vec<_> = stated.difference(&direct).collect();
        return Err(format!("SECURITY.md gives no reason for {missing:?}, and one for {unused:?}, which nobody uses"));
    }
    eprintln!("{} direct dependencies, each with its reason", direct.len());
    Ok(())
}

/// Names of what the packages of a workspace depend on, but for the project's own, for which `cargo tree` prints a path.
fn direct_dependencies(manifest: &str) -> Result<BTreeSet<String>> {
    let mut cargo = Toolchain::Current.cargo("tree");
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
        assert!(error.contains("\"half\"") && error.contains("one for [\"no-such-package\"]"), "{error}");
    }
}
