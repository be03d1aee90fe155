//! Wrong input is answered by one error that names the file and by a non-zero exit code, and no half-written file is
//! left.

use std::path::{Path, PathBuf};

use super::verbs::convert;
use super::{checkpoint, dataset, fails, fixture, resmlp, string, text};

/// Runs `convert CHECKPOINT` with `flags`, which must fail, and returns its one error. An older model must be left
/// alone, and nothing may be beside it.
fn refused(checkpoint: &str, flags: &[&str], code: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.rmlp");
    std::fs::write(&model, "older").unwrap();
    let arguments = ["convert", checkpoint, "-o", string(&model), "--json"];
    let error = one_error(&[&arguments[..], flags].concat(), code);
    assert_eq!(std::fs::read(&model).unwrap(), b"older");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    error
}

/// Runs a verb that must fail, and returns its error, which must be the last line and the only error.
fn one_error(arguments: &[&str], code: i32) -> String {
    let stderr = fails(arguments, code);
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.ends_with(&format!("{}\n", errors[0])), "{stderr}");
    errors[0].to_owned()
}

/// Writes `bytes` to a file of this name.
fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn checkpoints_that_are_none() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixture("refused")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let error = refused(string(&path), &["--precision", "f16"], 1);
        assert!(error.starts_with(&format!("error: {}: ", path.display())), "{error}");
        let expected = match name {
            _ if name.starts_with("vit") => "not a ResMLP: found blocks.0.attn.qkv",
            _ if name.starts_with("mlp-mixer") => "not a ResMLP",
            _ if name.contains("missing-tensor") || name.contains("wrong-shape") => "expected",
            _ if name.contains("nan") => "NaN",
            _ if name.contains("infinite") => "inf",
            _ => "",
        };
        assert!(error.contains(expected), "{error}");
        count += 1;
    }
    assert!(count >= 20, "{count} refused checkpoints");
}

#[test]
fn truncated_and_garbage_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for name in [
        "safetensors/timm-f32.safetensors",
        "pth/deit-zip-f32.pth",
        "pth/deit-legacy-f32.pth",
        "onnx/deit-torchscript-17-dynamic.onnx",
    ] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        let extension = Path::new(name).extension().unwrap().to_str().unwrap();
        for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
            let path = file(folder.path(), &format!("short.{extension}"), &bytes[..length]);
            let error = refused(string(&path), &["--precision", "f16"], 1);
            assert!(error.contains(string(&path)), "{name}, {length} bytes: {error}");
        }
        // One file has a valid start and then noise, the other one has noise alone.
        for start in [0, 16] {
            let path = file(folder.path(), &format!("noise.{extension}"), &[&bytes[..start], &noise].concat());
            let error = refused(string(&path), &["--precision", "f16"], 1);
            assert!(error.contains(string(&path)), "{name}: {error}");
        }
    }
}

#[test]
fn calibration_without_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let empty = string(folder.path());
    assert!(refused(&checkpoint(), &["--calibrate", empty], 1).contains(&format!("{empty}: no pictures")));
    file(folder.path(), "a.jpg", b"no picture");
    let error = refused(&checkpoint(), &["--calibrate", empty], 1);
    assert!(error.contains("none of its 1 pictures can be read") && error.contains("a.jpg"), "{error}");
    assert!(refused(&checkpoint(), &["--calibrate", "missing-folder"], 1).contains("missing-folder"));
    assert!(refused(&checkpoint(), &[], 2).contains("--calibrate DIR"));
}

#[test]
#[cfg(unix)]
fn pipes_are_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = string(&pipe);
    let checkpoint = checkpoint();
    for arguments in [
        vec!["inspect", pipe],
        vec!["run", pipe, "x.png"],
        vec!["bench", pipe],
        vec!["run", &checkpoint, pipe],
        vec!["run", &checkpoint, "x.png", "--labels", pipe],
        vec!["run", &checkpoint, "x.png", "--names", pipe],
        vec!["run", &checkpoint, "x.png", "--head", pipe],
    ] {
        let error = one_error(&arguments, 1);
        assert!(error.starts_with(&format!("error: {pipe}: ")) && error.contains("not a regular file"), "{error}");
    }
}

#[test]
fn names_from_strangers_move_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "\x1b]0;x\x07\u{9b}2J\u{202e}";
    let shown = "\\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}";
    let labels = file(folder.path(), "labels.txt", ["a", hostile, "c", "d", "e"].join("\n").as_bytes());
    let picture = folder.path().join(format!("{hostile}.png"));
    super::write_picture(&picture, 1);
    let arguments = ["run", &checkpoint(), string(&picture), "--labels", string(&labels)];
    let is_obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';

    let output = super::resmlp(&arguments);
    let stdout = super::text(&output.stdout);
    assert!(output.status.success() && !stdout.contains(is_obeyed), "{stdout:?}");
    assert_eq!(stdout.matches(shown).count(), 2, "{stdout}");

    let output = super::resmlp(&[&arguments[..], &["--json"]].concat());
    let stdout = super::text(&output.stdout);
    assert!(!stdout.contains(is_obeyed), "{stdout:?}");
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(found["results"][0]["image"], string(&picture));
    let top = found["results"][0]["top"].as_array().unwrap();
    assert!(top.iter().any(|guess| guess["label"] == hostile), "{found}");

    let missing = folder.path().join(format!("{hostile}\nerror: forged.pth"));
    let error = one_error(&["inspect", string(&missing)], 1);
    assert!(error.contains(&format!("{shown}\\u{{a}}error: forged.pth")) && !error.contains(is_obeyed), "{error:?}");

    let value = format!("{hostile}\nerror: forged");
    for arguments in [&["convert", "--precision", &value][..], &["inspect", "a", &value], &[&value]] {
        let output = super::resmlp(arguments);
        let stderr = super::text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(shown) && stderr.contains("\\u{a}error: forged"), "{stderr:?}");
        assert!(!stderr.contains(is_obeyed), "{stderr:?}");
    }
}

#[test]
fn labels_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let labels = file(folder.path(), "labels.txt", b"cat\ndog\n");
    let error = refused(&checkpoint(), &["--labels", string(&labels), "--precision", "f16"], 1);
    assert!(error.contains("labels.txt: 2 labels, expected 5"), "{error}");
}

#[test]
fn outputs_that_cannot_be_written_are_found_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/m.rmlp");
    let checkpoint = checkpoint();
    for input in [checkpoint.as_str(), "missing.pth"] {
        let arguments = ["convert", input, "-o", string(&path), "--calibrate", "missing-folder"];
        let error = one_error(&arguments, 1);
        assert!(error.contains(string(&path)) && error.matches(".tmp").count() == 1, "{error}"); // of the folder
    }
    let error = one_error(&["convert", &checkpoint, "-o", string(folder.path()), "--precision", "f16"], 1);
    assert!(error.contains(&format!("{}: this is a folder, expected", folder.path().display())), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn an_output_that_is_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(checkpoint()).unwrap();
    let path = file(folder.path(), "mine.safetensors", &bytes);
    let other = folder.path().join(".").join("mine.safetensors");
    let error = one_error(&["convert", string(&path), "-o", string(&other), "--precision", "f16"], 1);
    assert!(error.contains("mine.safetensors: this is an input"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
#[cfg(unix)]
fn a_file_longer_than_models_are_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse.rmlp");
    // A sparse file takes no room on the disk.
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(1 << 40).expect("a file system with sparse files");
    let error = one_error(&["bench", string(&path)], 1);
    assert!(error.ends_with("sparse.rmlp: longer than 4 GiB: no model"), "{error}");
}

#[test]
fn damaged_models() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = convert(folder.path(), "good.rmlp", &checkpoint(), &[]);
    let bytes = std::fs::read(&model).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 4;
    let mut newer = bytes.clone();
    newer[8] = 99;
    let (checkpoint, pictures) = (checkpoint(), dataset());
    let (images, picture) = (string(pictures.path()), pictures.path().join("class0/0.png"));
    for (bytes, expected) in [
        (flipped, "damaged"),
        (bytes[..bytes.len() - 1].to_vec(), "cut off"),
        (bytes[..100].to_vec(), "too short"),
        ([&bytes[..], &[0]].concat(), "expected"),
        (newer, "version 99, expected 2"),
    ] {
        let path = file(folder.path(), "damaged.rmlp", &bytes);
        let path = string(&path);
        for arguments in [
            vec!["inspect", path],
            vec!["bench", path],
            vec!["run", path, string(&picture)],
            vec!["eval", path, "--dataset", images],
            vec!["check", path, "--against", &checkpoint, "--images", images],
        ] {
            let error = one_error(&arguments, 1);
            assert!(error.starts_with(&format!("error: {path}: ")) && error.contains(expected), "{error}");
        }
    }
}

#[test]
fn models_and_flags_that_do_not_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = convert(folder.path(), "m.rmlp", &checkpoint(), &[]);
    let (pictures, source) = (dataset(), checkpoint());
    let images = string(pictures.path());
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../demo/resmlp_cifar10.safetensors");
    let error = one_error(&["check", &model, "--against", demo, "--images", images], 1);
    for words in [&model, demo, "picture 24 × 24, expected 32 × 32", "blocks 2, expected 8", "5 classes"] {
        assert!(error.contains(words), "{error}");
    }
    let embedding = fixture("safetensors/deit-dino-f32.safetensors");
    let error = one_error(&["check", &model, "--against", &embedding, "--images", images], 1);
    assert!(error.contains("outputs 5 classes, expected"), "{error}");
    // Model and checkpoint are exchanged.
    let error = one_error(&["check", &source, "--against", &model, "--images", images], 1);
    assert!(error.contains("not a packed ResMLP model"), "{error}");
    let error = one_error(&["check", &model, "--against", &model, "--images", images], 1);
    assert!(error.contains(&format!("{model}: not a checkpoint")), "{error}");
    assert!(one_error(&["bench", &source], 1).contains("not a packed ResMLP model"));
    assert!(one_error(&["inspect", &model, "--crop", "0.5"], 2).contains("carries its own preprocessing"));
    let error = one_error(&["bench", &model, "--kernels", "abacus"], 2);
    assert!(error.contains("abacus") && error.contains("scalar"), "{error}");
    for verb in [vec!["run", &source, "x.png"], vec!["eval", &source, "--dataset", images]] {
        let error = one_error(&[&verb[..], &["--kernels", "scalar"]].concat(), 2);
        assert!(error.contains(&source) && error.contains("--kernels"), "{error}");
    }
}

#[test]
fn a_flag_without_effect_on_f16_is_a_note() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), dataset());
    let (checkpoint, images) = (checkpoint(), string(pictures.path()));
    let (plain, noted) = (folder.path().join("plain.rmlp"), folder.path().join("noted.rmlp"));
    let f16 = ["convert", &checkpoint, "--precision", "f16", "-o"];
    assert!(resmlp(&[&f16[..], &[string(&plain)]].concat()).status.success());
    for flags in [&["--calibrate", images][..], &["--calibration-pictures", "9"], &["--sensitivity"]] {
        let output = resmlp(&[&f16[..], &[string(&noted)], flags].concat());
        let stderr = text(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(
            stderr.matches(&format!("note: {} has no effect with --precision f16", flags[0])).count(),
            1,
            "{stderr}"
        );
        assert_eq!(std::fs::read(&noted).unwrap(), std::fs::read(&plain).unwrap());
    }
}

#[test]
fn flags_of_checkpoints_are_refused_for_a_packed_model() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), dataset());
    let (model, _) = convert(folder.path(), "m.rmlp", &checkpoint(), &[]);
    let picture = pictures.path().join("class0/0.png");
    let verbs = [
        vec!["inspect", &model],
        vec!["run", &model, string(&picture)],
        vec!["eval", &model, "--dataset", string(pictures.path())],
    ];
    let flags = [
        &["--key", "ema"][..],
        &["--names", "n.toml"],
        &["--head", "h.pth"],
        &["--activation", "relu"],
        &["--embedding"],
        &["--onnx-output", "logits"],
        &["--image-size", "24"],
        &["--fit", "squash"],
        &["--crop", "0.5"],
    ];
    for verb in &verbs {
        for flags in flags {
            let error = one_error(&[&verb[..], flags].concat(), 2);
            assert!(error.contains(&format!("{model}: this is a packed model")), "{error}");
            assert!(error.ends_with(&format!(": {} is for checkpoints alone", flags[0])), "{error}");
        }
    }
}

#[test]
fn a_picture_size_that_the_file_does_not_have() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), dataset());
    let fixed = fixture("onnx/timm-torchscript-17-static.onnx");
    let images = string(pictures.path());
    let (model, _) = convert(folder.path(), "m.rmlp", &fixed, &["--image-size", "16"]);
    for arguments in [
        vec!["inspect", &fixed],
        vec!["convert", &fixed, "-o", "never.rmlp", "--precision", "f16"],
        vec!["run", &fixed, "x.png"],
        vec!["check", &model, "--against", &fixed, "--images", images],
    ] {
        let error = one_error(&[&arguments[..], &["--image-size", "48x12"]].concat(), 2);
        assert!(error.contains(&fixed) && error.contains("16 × 16 pixels, not 48 × 12"), "{error}");
    }
}
