//! Tests the readers with checkpoints of many origins, whose correct logits are recorded.
//!
//! The checkpoints are not part of the project. The environment variable `RESMLP_SHARED` names a folder whose subfolder
//! `cases` holds them. Run `cargo test -p resmlp-checkpoint --test cases -- --ignored` for this test; without the flag
//! it is reported as ignored.

use std::path::{Path, PathBuf};

use resmlp_checkpoint::{LoadOptions, config, load};
use resmlp_network::Activation;
use resmlp_picture::{Picture, Preprocess};
use resmlp_testing::evaluate;

fn folder() -> PathBuf {
    let shared = std::env::var_os("RESMLP_SHARED").expect("RESMLP_SHARED names the folder with the shared data");
    Path::new(&shared).join("cases")
}

/// Reads the rows of a two-dimensional `.npy` file of `f32` or `f64`.
fn recorded(path: &Path) -> Vec<Vec<f64>> {
    let bytes = std::fs::read(path).unwrap();
    let length = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let head = std::str::from_utf8(&bytes[10..10 + length]).unwrap();
    assert!(head.contains("'<f8'") || head.contains("'<f4'"), "{head}");
    let shape = head.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let columns: usize = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    let data = &bytes[10 + length..];
    let numbers: Vec<f64> = match head.contains("'<f8'") {
        true => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        false => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
    };
    numbers.chunks(columns).map(<[f64]>::to_vec).collect()
}

/// Returns the options that correspond to flags of the command line.
fn options(flags: &[&str]) -> LoadOptions {
    let value = |flag: &str| flags.iter().position(|f| *f == flag).map(|at| flags[at + 1]);
    let file = |flag: &str| value(flag).map(|file| folder().join(file.replace("FILES", "files")));
    let named = |name: &str| Activation::ALL.into_iter().find(|a| a.name() == name).unwrap();
    LoadOptions {
        activation: value("--activation").map(named),
        key: value("--key").map(str::to_string),
        names: file("--names"),
        head: file("--head"),
        embedding: flags.contains(&"--embedding"),
        ..LoadOptions::default()
    }
}

/// Returns the preprocessing of the case's pictures.
///
/// It is ImageNet's without a crop, unless the flags ask for that of the `config.json` beside the file.
fn preprocess(path: &Path, image: [usize; 2], flags: &[&str]) -> Preprocess {
    let mut preprocess = Preprocess { crop: 1.0, ..Preprocess::imagenet(image) };
    if flags.contains(&"--no-preprocessing") {
        let config = config::beside(path).unwrap().expect("a config.json");
        preprocess.mean = config.mean.unwrap().value;
        preprocess.std = config.std.unwrap().value;
        preprocess.crop = config.crop.unwrap().value;
    }
    preprocess
}

fn judge(case: &serde_json::Value, file: &str) -> Result<(), String> {
    let files = folder().join("files");
    let path = files.join(file);
    let flags: Vec<&str> = case["flags"].as_array().unwrap().iter().map(|flag| flag.as_str().unwrap()).collect();
    let checkpoint = match load(&path, &options(&flags)) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let message = error.to_string().replace(&path.display().to_string(), "").replace(file, "").to_lowercase();
            let words = case["accept"].as_array().ok_or_else(|| format!("refused: {error}"))?;
            let accepted = words.iter().any(|word| message.contains(&word.as_str().unwrap().to_lowercase()));
            println!("{file}: {error}");
            return accepted.then_some(()).ok_or_else(|| format!("a refusal without the right words: {error}"));
        }
    };
    println!("{file}: {:?}", checkpoint.notes);
    if case["logits"] != true {
        return Err(format!("read, but should be refused: {}", case["expected"]));
    }
    let wanted = recorded(&files.join(format!("{}.npy", case["name"].as_str().unwrap())));
    let largest = wanted.iter().flatten().fold(0.0f64, |largest, value| largest.max(value.abs()));
    let preprocess = preprocess(&path, checkpoint.network.image, &flags);
    for (index, wanted) in wanted.iter().enumerate() {
        let picture = Picture::open(files.join(format!("pic{index}.png"))).unwrap();
        let pixels = preprocess.normalise(&preprocess.apply(&picture).unwrap());
        let found = evaluate(&checkpoint.network, &pixels).logits;
        if found.len() != wanted.len() {
            return Err(format!("{} numbers instead of {}", found.len(), wanted.len()));
        }
        let error = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / largest;
        if error.is_nan() || error > 2e-3 {
            return Err(format!("WRONG logits of picture {index}: off by {error:.1e} of the largest"));
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED and pass --ignored"]
fn named_tensors_are_read_right_or_refused_by_name() {
    let index = std::fs::read(folder().join("index.json")).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_slice(&index).unwrap();
    let mut judged = 0;
    let mut failures = Vec::new();
    for case in &cases {
        let files = case["files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap());
        for file in files.filter(|file| !file.ends_with(".onnx")) {
            judged += 1;
            if let Err(message) = judge(case, file) {
                failures.push(format!("{} ({file}): {message}", case["name"]));
            }
        }
    }
    assert!(judged > 0);
    assert!(failures.is_empty(), "{} of {judged} fail:\n{}", failures.len(), failures.join("\n"));
}
