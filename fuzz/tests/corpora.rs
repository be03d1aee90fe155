//! Replays the committed inputs: seeds, and inputs that fuzzing found.

use std::fs;
use std::path::{Path, PathBuf};

use resmlp_fuzz::TARGETS;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpora").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn no_committed_input_breaks_a_promise() {
    for target in TARGETS {
        let corpus = corpus(target.name);
        assert!(corpus.len() >= 3, "{}: only {} inputs", target.name, corpus.len());
        for (path, bytes) in corpus {
            eprintln!("{}", path.display()); // names the input if the target fails
            target.run(&bytes);
        }
    }
}

/// Truncated inputs must keep the promises as well; each input is cut at about seventeen lengths.
#[test]
fn every_beginning_of_an_input_keeps_the_promises() {
    for target in TARGETS {
        for (path, bytes) in corpus(target.name) {
            eprintln!("{}", path.display());
            (0..bytes.len()).step_by(1 + bytes.len() / 16).for_each(|len| target.run(&bytes[..len]));
        }
    }
}
