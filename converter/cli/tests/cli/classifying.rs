//! Tests of `run` and `eval` with labels, class folders and pictures that cannot be read.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::verbs::convert;
use super::{checkpoint, dataset, fails, json, resmlp, string, text, write_picture};

/// Writes a file of labels in `folder` and returns its path.
fn labels(folder: &Path, name: &str, labels: &[&str]) -> String {
    let path = folder.join(name);
    std::fs::write(&path, labels.join("\n")).unwrap();
    string(&path).to_owned()
}

#[test]
fn labels_of_the_user_take_the_place_of_the_models() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), dataset());
    let own = labels(folder.path(), "own.txt", &["ant", "bee", "cow", "dog", "emu"]);
    let (model, _) = convert(folder.path(), "m.rmlp", &checkpoint(), &["--labels", &own]);
    let images = string(pictures.path());
    let picture = pictures.path().join("class0/0.png");
    let best = |flags: &[&str]| {
        let found = json(&[&["run", &model, string(&picture), "--json"][..], flags].concat());
        let best = &found["results"][0]["top"][0];
        (best["index"].as_u64().unwrap() as usize, best["label"].as_str().unwrap().to_owned())
    };
    let (index, label) = best(&[]);
    assert_eq!(label, ["ant", "bee", "cow", "dog", "emu"][index]);
    let named = labels(folder.path(), "named.txt", &["class0", "class1", "class2", "class3", "class4"]);
    assert_eq!(best(&["--labels", &named]), (index, format!("class{index}")));

    // Only the labels of `named` are the names of the folders.
    let notes = |flags: &[&str]| {
        let output = resmlp(&[&["eval", &model, "--dataset", images][..], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr).contains("no folder is named like a label")
    };
    assert!(notes(&[]) && !notes(&["--labels", &named]));

    let few = labels(folder.path(), "few.txt", &["ant", "bee"]);
    for verb in [vec!["run", &model, string(&picture)], vec!["eval", &model, "--dataset", images]] {
        let stderr = fails(&[&verb[..], &["--labels", "missing.txt"]].concat(), 1);
        assert!(stderr.contains("missing.txt"), "{stderr}");
        let stderr = fails(&[&verb[..], &["--labels", &few]].concat(), 1);
        assert!(stderr.contains("few.txt: 2 labels, expected 5"), "{stderr}");
    }
}

#[test]
fn folders_of_which_only_some_are_labels_are_refused() {
    let (folder, pictures) = (tempfile::tempdir().unwrap(), dataset());
    let (checkpoint, images) = (checkpoint(), string(pictures.path()));
    let names = labels(folder.path(), "labels.txt", &["class0", "class1", "class2", "class3", "class4"]);
    let arguments = ["eval", &checkpoint, "--dataset", images, "--labels", &names];
    std::fs::rename(pictures.path().join("class3"), pictures.path().join("Class3")).unwrap();
    let stderr = fails(&arguments, 1);
    assert!(stderr.contains(images) && stderr.contains("'Class3'") && !stderr.contains("'class2'"), "{stderr}");

    std::fs::rename(pictures.path().join("Class3"), pictures.path().join("class3")).unwrap();
    std::fs::create_dir(pictures.path().join("__MACOSX")).unwrap();
    let output = resmlp(&arguments);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    assert_eq!(json(&["eval", &checkpoint, "--dataset", images, "--json"])["images"], 10);

    // Where no folder is named like a label, the order decides.
    let names = labels(folder.path(), "other.txt", &["ant", "bee", "cow", "dog", "emu"]);
    let output = resmlp(&["eval", &checkpoint, "--dataset", images, "--labels", &names]);
    assert!(output.status.success() && text(&output.stderr).contains("note: no folder"), "{}", text(&output.stderr));
}

#[test]
fn a_picture_that_cannot_be_read_leaves_the_others_their_results() {
    let pictures = dataset();
    let images = ["a.png", "broken.jpg", "b.png", "missing.png"].map(|name| pictures.path().join(name));
    write_picture(&images[0], 1);
    std::fs::write(&images[1], "no picture").unwrap();
    write_picture(&images[2], 2);
    let checkpoint = checkpoint();
    let arguments = [&["run", checkpoint.as_str()][..], &images.each_ref().map(|image| string(image))].concat();
    let output = resmlp(&[&arguments[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let named = |list: &str| -> Vec<String> {
        found[list].as_array().unwrap().iter().map(|entry| entry["image"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(named("results"), [string(&images[0]), string(&images[2])]);
    assert_eq!(named("failed"), [string(&images[1]), string(&images[3])]);
    assert!(found["failed"][0]["reason"].as_str().unwrap().starts_with("not a picture"), "{found}");
    let alone = json(&["run", &checkpoint, string(&images[2]), "--json"]);
    assert_eq!(alone["results"][0], found["results"][1]);
    assert_eq!(alone["failed"], Value::Array(vec![]));

    let output = resmlp(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("b.png") && !text(&output.stdout).contains("broken"));
    let stderr = text(&output.stderr);
    for image in [&images[1], &images[3]] {
        assert!(stderr.contains(&format!("error: {}: ", image.display())), "{stderr}");
    }
    // Where no picture can be read, nothing is printed on stdout.
    let stderr = fails(&["run", &checkpoint, string(&images[1]), string(&images[3]), "--json"], 1);
    assert!(stderr.contains("broken.jpg") && stderr.contains("missing.png"), "{stderr}");
}

#[test]
#[cfg(target_os = "linux")]
fn json_takes_paths_that_are_not_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let (folder, pictures) = (tempfile::tempdir().unwrap(), dataset());
    let strange = |name: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(name));
    let (model, picture) = (strange(b"m\xff.rmlp"), strange(b"p\xff.png"));
    std::fs::copy(pictures.path().join("class0/0.png"), &picture).unwrap();
    let checkpoint = strange(b"c\xff.safetensors");
    std::fs::copy(super::checkpoint(), &checkpoint).unwrap();
    let object = |command: &mut Command| -> Value {
        let output = command.arg("--json").output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let verb = |verb: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resmlp"));
        command.arg(verb);
        command
    };
    let name = |name: &str| Value::from(format!("{}/{name}", folder.path().display()));
    let convert = object(verb("convert").arg(&checkpoint).arg("-o").arg(&model).args(["--precision", "f16"]));
    assert_eq!(convert["output"], name("m\u{fffd}.rmlp"));
    let run = object(verb("run").arg(&model).arg(&picture));
    assert_eq!(run["results"][0]["image"], name("p\u{fffd}.png"));
    let check = object(verb("check").arg(&model).arg("--against").arg(&checkpoint).arg("--images").arg(folder.path()));
    assert_eq!((&check["model"], &check["against"]), (&name("m\u{fffd}.rmlp"), &name("c\u{fffd}.safetensors")));
    let bench = object(verb("bench").arg(&model).args(["--runs", "1", "--warmup", "1"]));
    assert_eq!(bench["model"], name("m\u{fffd}.rmlp"));
}
