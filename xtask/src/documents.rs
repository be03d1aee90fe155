//! Checks the documents that a person reads: every relative link leads somewhere, and the README stays short.
//!
//! The checks are tests, so that the step `host` runs them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::workspace;

/// Largest length of the README in bytes, because a newcomer reads no more.
const LONGEST_README: usize = 8192;

/// Lists the Markdown files of the repository; folders of build outputs and hidden folders are left out.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![workspace::root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let entry = entry.expect("a readable folder");
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            match entry.file_type().expect("a file type") {
                kind if kind.is_dir() && name != "target" && !name.starts_with('.') => folders.push(path),
                kind if kind.is_file() && name.ends_with(".md") => found.push(path),
                _ => {}
            }
        }
    }
    found
}

/// Returns the text without fenced code, whose brackets are no links.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut kept = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        fenced ^= is_fence;
        if !fenced && !is_fence {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Returns the targets of all inline links and images.
fn links(prose: &str) -> Vec<&str> {
    let inline = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let images = prose.split("src=\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(target, _)| target);
    inline.chain(images).collect()
}

/// Returns the anchors of a document's headings, as web sites that render Markdown make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
    };
    headings.map(anchor).collect()
}

/// Returns what is wrong with a link of `document`, or `None` if the link is fine.
fn fault(document: &Path, text: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() { document.to_owned() } else { document.parent()?.join(file) };
    if !path.exists() {
        return Some(format!("{}: the link `{target}` leads to no file", document.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    let linked = if file.is_empty() { text.to_owned() } else { std::fs::read_to_string(&path).unwrap_or_default() };
    let found = anchors(&prose(&linked)).contains(anchor);
    (!found).then(|| format!("{}: no heading has the anchor of `{target}`", document.display()))
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let mut faults = Vec::new();
    let mut count = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is readable text");
        let prose = prose(&text);
        let targets = links(&prose);
        count += targets.len();
        faults.extend(targets.into_iter().filter_map(|target| fault(&document, &text, target)));
    }
    assert!(count > 50, "only {count} links were found");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_readme_is_short_enough_for_a_newcomer() {
    let length = std::fs::read(workspace::root().join("README.md")).expect("the README").len();
    assert!(length <= LONGEST_README, "{length} bytes, expected at most {LONGEST_README}");
}

#[test]
fn a_link_to_nothing_and_an_anchor_of_nothing_are_found() {
    let readme = workspace::root().join("README.md");
    let text =
        "# Some heading\n```\n[code](nowhere.md)\n```\n[a](#some-heading) [b](no/such.md) [c](#other) [d](https://x)";
    let faults: Vec<_> = links(&prose(text)).into_iter().filter_map(|target| fault(&readme, text, target)).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("no/such.md")) && faults.iter().any(|f| f.contains("#other")));
}
