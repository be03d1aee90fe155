//! What `run` and `eval` do with labels, class folders and pictures that cannot be read.

use std::path::Path;

use super::verbs::convert;
use super::{checkpoint, dataset, fails, json, resmlp, string, text};

/// A file of five labels in `folder`.
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

    // The folders have the names of these labels alone.
    let notes = |flags: &[&str]| {
        let output = resmlp(&[&["eval", &model, "--dataset", images][..], flags].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr).contains("no folder is named as a label")
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

    // Numbers for names: the order is all there is.
    let names = labels(folder.path(), "other.txt", &["ant", "bee", "cow", "dog", "emu"]);
    let output = resmlp(&["eval", &checkpoint, "--dataset", images, "--labels", &names]);
    assert!(output.status.success() && text(&output.stderr).contains("note: no folder"), "{}", text(&output.stderr));
}
