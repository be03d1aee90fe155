//! Compares networks that are read from people's ONNX files with the logits of the original networks in `f64`.
//!
//! The files are not part of this project. The tests read them from the folders `cases` and `hostile` of the folder
//! that the variable `RESMLP_SHARED` names. They are ignored unless they are asked for: `RESMLP_SHARED=… cargo test -p
//! resmlp-checkpoint --test onnx_cases -- --ignored`.

use std::path::{Path, PathBuf};

use resmlp_checkpoint::{LoadOptions, load};
use resmlp_picture::{Picture, Preprocess};
use resmlp_testing::evaluate;
use serde::Deserialize;

/// An entry of `index.json`.
#[derive(Deserialize)]
struct Case {
    name: String,
    files: Vec<String>,
    flags: Vec<String>,
    logits: bool,
}

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];
/// Largest difference from the recorded logits, relative to the largest recorded logit.
const TOLERANCE: f64 = 1e-4;
/// Largest such difference for a network whose weights were rounded to half precision.
const HALF_TOLERANCE: f64 = 2e-3;

fn folder() -> PathBuf {
    let shared = std::env::var_os("RESMLP_SHARED").expect("RESMLP_SHARED names the folder with the shared data");
    Path::new(&shared).join("cases")
}

/// Reads the numbers of a two-dimensional `.npy` file, row after row.
fn recorded(path: &Path) -> Vec<f64> {
    let bytes = std::fs::read(path).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let (header, numbers) = bytes[10..].split_at(length);
    let header = std::str::from_utf8(header).unwrap();
    assert!(header.contains("'fortran_order': False"), "{header}");
    match (header.contains("<f8"), header.contains("<f4")) {
        (true, _) => numbers.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        (_, true) => numbers.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        _ => panic!("{header}"),
    }
}

/// Returns the largest relative difference of the file's logits from the recorded ones, and the reader's notes.
fn difference(case: &Case, file: &str) -> Result<(f64, Vec<String>), String> {
    let files = folder().join("files");
    let checkpoint = load(&files.join(file), &LoadOptions::default()).map_err(|error| error.to_string())?;
    let network = &checkpoint.network;
    let (mean, std) = match (&checkpoint.normalisation, case.flags.iter().any(|f| f == "--no-preprocessing")) {
        (Some(own), true) => *own,
        (None, false) => (MEAN, STD),
        other => return Err(format!("the graph's own normalisation is {other:?}")),
    };
    let preprocess = Preprocess { mean, std, crop: 1.0, ..Preprocess::imagenet(network.image) };
    let wanted = recorded(&files.join(format!("{}.npy", case.name)));
    let mut found = Vec::new();
    for picture in 0..wanted.len() / network.outputs() {
        let picture = Picture::open(files.join(format!("pic{picture}.png"))).unwrap();
        let pixels = preprocess.normalise(&preprocess.apply(&picture).unwrap());
        found.extend(evaluate(network, &pixels).logits);
    }
    assert_eq!(found.len(), wanted.len(), "{file}");
    let range = wanted.iter().fold(0f64, |max, logit| max.max(logit.abs()));
    let worst = found.iter().zip(&wanted).fold(0f64, |max, (a, b)| max.max((a - b).abs()));
    Ok((worst / range, checkpoint.notes))
}

#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED"]
fn the_logits_are_those_of_the_files_networks() {
    let cases: Vec<Case> = serde_json::from_slice(&std::fs::read(folder().join("index.json")).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut read = 0;
    for case in &cases {
        for file in case.files.iter().filter(|file| file.ends_with(".onnx")) {
            assert!(case.logits, "{file} has no logits to compare with");
            let tolerance = if case.name == "fp16" { HALF_TOLERANCE } else { TOLERANCE };
            match difference(case, file) {
                Ok((error, notes)) if error <= tolerance => {
                    read += 1;
                    println!("{file}: {error:.1e} {notes:?}");
                }
                Ok((error, notes)) => failures.push(format!("{file}: {error:.1e} {notes:?}")),
                Err(error) => failures.push(error),
            }
        }
    }
    assert!(failures.is_empty(), "{read} right, {} not:\n{}", failures.len(), failures.join("\n"));
    assert!(read > 25, "{read}");
}

#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED"]
fn hostile_files_are_read_or_refused_at_once() {
    let folder = folder().join("../hostile/files");
    let files =
        |folder: &Path| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let mut paths = [files(&folder), files(&folder.join("tract"))].concat();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    paths.sort();
    assert!(paths.len() > 50);
    for path in paths {
        let start = std::time::Instant::now();
        let outcome = load(&path, &LoadOptions::default());
        assert!(start.elapsed() < std::time::Duration::from_secs(2), "{}: {:?}", path.display(), start.elapsed());
        match outcome {
            Ok(checkpoint) => {
                let graph = checkpoint.onnx.unwrap().model.graph.unwrap();
                println!("read, {} nodes: {}", graph.node.len(), path.display());
            }
            Err(error) => println!("refused: {error}"),
        }
    }
}
