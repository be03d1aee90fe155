//! Tests of the command-line tool from outside: everything on which scripts rely.

#[path = "cli/classifying.rs"]
mod classifying;
#[path = "cli/memory.rs"]
mod memory;
#[path = "../../../runtime/examples/random_model/model.rs"]
mod model;
#[path = "cli/readme.rs"]
mod readme;
#[path = "../../../runtime/examples/random_model/shapes.rs"]
mod shapes;
#[path = "cli/verbs.rs"]
mod verbs;
#[path = "cli/wrong_input.rs"]
mod wrong_input;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn resmlp(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_resmlp")).args(arguments).output().unwrap()
}

/// Runs a verb that must succeed and parses the JSON object on its stdout.
fn json(arguments: &[&str]) -> Value {
    let output = resmlp(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(value.is_object());
    value
}

/// Runs a verb that must fail with `code` and print nothing on stdout, and returns its stderr.
fn fails(arguments: &[&str], code: i32) -> String {
    let output = resmlp(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the path of a checkpoint that takes 24 × 24 pixels and has 5 classes.
fn checkpoint() -> String {
    fixture("safetensors/deit-f32.safetensors")
}

fn fixture(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures").join(name).to_str().unwrap().to_owned()
}

fn string(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes a picture with some structure.
fn write_picture(path: &Path, seed: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixel = |x, y| image::Rgb([(x * 9 + seed) as u8, (y * 7 + 3 * seed) as u8, (x * y + seed) as u8]);
    image::RgbImage::from_fn(40, 30, pixel).save(path).unwrap();
}

/// Makes five class folders of two pictures each.
fn dataset() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in 0..5u32 {
        for index in 0..2 {
            write_picture(&folder.path().join(format!("class{class}/{index}.png")), 50 * class + index);
        }
    }
    folder
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let checkpoint = checkpoint();
    for arguments in [
        vec!["no-such-verb"],
        vec!["run", &checkpoint],
        vec!["run", &checkpoint, "x.png", "--mean", "1,2"],
        vec!["run", &checkpoint, "x.png", "--mean", "125.3,123.0,113.9"],
        vec!["run", &checkpoint, "x.png", "--std", "0.247,62.1,66.7"],
        vec!["run", &checkpoint, "x.png", "--resize-mode", "sharp"],
        vec!["run", &checkpoint, "x.png", "--threads", "0"],
        vec!["run", &checkpoint, "x.png", "--crop", "3"],
        vec!["eval", &checkpoint],
        vec!["deploy", "-oProxyCommand=x", "--model", "m.rmlp"],
    ] {
        let stderr = fails(&arguments, 2);
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
    assert_eq!(resmlp(&[]).status.code(), Some(2));
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.pth");
    std::fs::write(&garbage, "this is no checkpoint").unwrap();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let (garbage, empty, checkpoint) = (string(&garbage), string(&empty), checkpoint());
    for (arguments, name) in [
        (vec!["inspect", "missing.safetensors"], "missing.safetensors"),
        (vec!["inspect", garbage], "garbage.pth"),
        (vec!["run", garbage, "x.png"], "garbage.pth"),
        (vec!["run", &checkpoint, "missing.png"], "missing.png"),
        (vec!["run", &checkpoint, garbage], "garbage.pth"),
        (vec!["eval", &checkpoint, "--dataset", empty], "empty"),
        (vec!["eval", &checkpoint, "--dataset", "missing-folder"], "missing-folder"),
        (vec!["run", &checkpoint, "x.png", "--labels", "missing.txt"], "missing.txt"),
        (vec!["deploy", "pi@board", "--model", "missing.rmlp", "--program", garbage], "missing.rmlp"),
        (vec!["deploy", "pi@board", "--model", garbage, "--program", "missing-program"], "cargo xtask device"),
    ] {
        for json in [false, true] {
            let flags = if json { vec!["--json"] } else { vec![] };
            let stderr = fails(&[arguments.clone(), flags].concat(), 1);
            let error = stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or("");
            assert!(error.contains(name), "{arguments:?}: {stderr}");
        }
    }
}

#[test]
fn inspect_has_the_fields_that_scripts_read() {
    let found = json(&["inspect", &checkpoint(), "--json"]);
    for (field, expected) in [
        ("kind", Value::from("checkpoint")),
        ("dialect", "deit".into()),
        ("precision", "f32".into()),
        ("image", vec![24, 24].into()),
        ("patch", 8.into()),
        ("tokens", 9.into()),
        ("dim", 9.into()),
        ("hidden", 36.into()),
        ("depth", 2.into()),
        ("classes", 5.into()),
        ("activation", "gelu".into()),
        ("activation_source", "assumed".into()),
        ("image_source", "file".into()),
        ("labels", 0.into()),
        ("labels_source", Value::Null),
        // The summands are those of the stem, of patch mixing and channel MLP in two blocks, and of the head.
        ("macs", (9 * 9 * 192 + 2 * (9 * 9 * 9 + 2 * 9 * 9 * 36) + 5 * 9).into()),
    ] {
        assert_eq!(found[field], expected, "{field}");
    }
    assert!(found["parameters"].as_u64().unwrap() > 3_000);
    let output = resmlp(&["inspect", &checkpoint()]);
    assert!(text(&output.stdout).contains("2 of 9 channels, 36 hidden"));
    assert!(text(&output.stdout).contains("gelu (assumed; --activation names another)"));
}

#[test]
fn run_has_the_fields_that_scripts_read() {
    let folder = dataset();
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "ant\nbee\ncow\ndog\nemu\n").unwrap();
    let images = [folder.path().join("class0/0.png"), folder.path().join("class1/1.png")];
    let checkpoint = checkpoint();
    let arguments = ["run", &checkpoint, string(&images[0]), string(&images[1]), "--json"];
    let found = json(&[&arguments[..], &["--labels", string(&labels), "--threads", "1"]].concat());
    assert_eq!(found["kernels"], "tract-f32");
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (result, image) in results.iter().zip(&images) {
        assert_eq!(result["image"], string(image));
        let logits: Vec<f64> = result["logits"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let top = result["top"].as_array().unwrap();
        assert_eq!((logits.len(), top.len()), (5, 5));
        let order: Vec<usize> = top.iter().map(|guess| guess["index"].as_u64().unwrap() as usize).collect();
        assert!(order.windows(2).all(|pair| logits[pair[0]] >= logits[pair[1]]), "{order:?} {logits:?}");
        let sum: f64 = top.iter().map(|guess| guess["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        for (guess, &index) in top.iter().zip(&order) {
            assert_eq!(guess["label"], ["ant", "bee", "cow", "dog", "emu"][index]);
        }
    }
    // Without labels, and with another normalisation, the result has no labels and other logits.
    let other = json(&[&arguments[..], &["--mean", "0,-0.5,0.25", "--std", "1,1,2"]].concat());
    assert!(other["results"][0]["top"][0]["label"].is_null());
    assert_ne!(other["results"][0]["logits"], results[0]["logits"]);
}

#[test]
fn an_embedding_model_has_no_classes() {
    let folder = dataset();
    let picture = folder.path().join("class0/0.png");
    let checkpoint = fixture("safetensors/deit-dino-f32.safetensors");
    let found = json(&["run", &checkpoint, string(&picture), "--json"]);
    assert_eq!(found["results"][0]["top"], Value::Array(vec![]));
    assert!(!found["results"][0]["logits"].as_array().unwrap().is_empty());
    assert!(json(&["inspect", &checkpoint, "--json"])["classes"].is_null());
    let stderr = fails(&["eval", &checkpoint, "--dataset", string(folder.path())], 1);
    assert!(stderr.contains("embedding"), "{stderr}");
}

#[test]
fn eval_counts_what_run_finds() {
    let folder = dataset();
    let checkpoint = checkpoint();
    let mut first = 0;
    for class in 0..5 {
        for index in 0..2 {
            let picture = folder.path().join(format!("class{class}/{index}.png"));
            let found = json(&["run", &checkpoint, string(&picture), "--json"]);
            first += usize::from(found["results"][0]["top"][0]["index"] == class);
        }
    }
    std::fs::write(folder.path().join("class3/broken.png"), "no picture").unwrap();
    let output = resmlp(&["eval", &checkpoint, "--dataset", string(folder.path()), "--json"]);
    assert!(text(&output.stderr).contains("broken.png: skipped"), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["images"], 10);
    assert_eq!(found["skipped"], 1);
    assert_eq!(found["top1"], first as f64 / 10.0);
    assert_eq!(found["top5"], 1.0);
    assert_eq!(json(&["eval", &checkpoint, "--dataset", string(folder.path()), "--limit", "5", "--json"])["images"], 5);

    std::fs::remove_dir_all(folder.path().join("class3")).unwrap();
    let stderr = fails(&["eval", &checkpoint, "--dataset", string(folder.path())], 1);
    assert!(stderr.contains("4 class folders, expected 5"), "{stderr}");
}

#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED"]
fn f32_reproduces_the_trained_accuracy() {
    let shared = PathBuf::from(std::env::var_os("RESMLP_SHARED").expect("RESMLP_SHARED names a folder"));
    let checkpoint = shared.join("checkpoints/resmlp_cifar10_timm.safetensors");
    let pictures = shared.join("data/cifar10/test");
    let found = json(&[
        "eval",
        string(&checkpoint),
        "--dataset",
        string(&pictures),
        "--mean=0.4914,0.4822,0.4465",
        "--std=0.2470,0.2435,0.2616",
        "--crop=1.0",
        "--json",
    ]);
    assert_eq!((&found["images"], &found["skipped"]), (&5000.into(), &0.into()));
    let shares = [found["top1"].as_f64().unwrap(), found["top5"].as_f64().unwrap()];
    // PyTorch finds 78.18 % and 98.98 %.
    assert!((shares[0] - 0.7818).abs() <= 0.001 && (shares[1] - 0.9898).abs() <= 0.001, "{shares:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_resmlp"))
        .args(["inspect", &checkpoint()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
}
