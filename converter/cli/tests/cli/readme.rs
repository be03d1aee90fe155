//! The README shows what the program prints.

use std::path::Path;
use std::process::Command;

use super::text;

/// Returns the words of the README's command with this verb, which may continue behind a backslash.
fn command<'r>(readme: &'r str, verb: &str) -> Vec<&'r str> {
    let start = readme.find(&format!("\nresmlp {verb} ")).unwrap_or_else(|| panic!("the README shows `resmlp {verb}`"));
    let lines = readme[start + 1..].lines();
    let more = lines.clone().take_while(|line| line.ends_with('\\')).count();
    lines.take(more + 1).flat_map(str::split_whitespace).filter(|&word| word != "\\").skip(1).collect()
}

#[test]
fn the_readme_shows_what_run_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("cifar10.rmlp");
    let run = |verb| {
        let words = command(&readme, verb).into_iter().map(|word| match word {
            "cifar10.rmlp" => model.as_os_str(),
            word => word.as_ref(),
        });
        let output = Command::new(env!("CARGO_BIN_EXE_resmlp")).args(words).current_dir(&root).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    run("convert");
    let found = run("run");
    let shown = readme.split("The `run` prints\n\n```\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    // The last line depends on the machine.
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with("kernels: ")).map(str::to_owned).collect();
    let [found, shown]: [Vec<_>; 2] = [lines(&found), lines(shown)];
    assert_eq!((found.len(), found), (12, shown));
}
