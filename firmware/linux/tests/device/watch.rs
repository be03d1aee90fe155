//! Tests `watch`, and pictures as people have them: JPEG files of any size.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use resmlp_picture::{Picture, Preprocess};
use resmlp_runtime::{AlignedBytes, Engine, Kernels, Model, Serial};
use serde_json::Value;

use crate::cli::logits;
use crate::place::{DIMS, Place};

pub const JPEG: &[u8] = include_bytes!("../frames/camera.jpg");

/// Returns the logits that the library computes for a picture file.
fn expected(place: &Place, file: &[u8]) -> Vec<f32> {
    let bytes = AlignedBytes::from(&*place.model);
    let engine = Engine::new(Model::parse(&bytes).unwrap(), Kernels::scalar(), Serial).unwrap();
    let pixels = Preprocess::of(engine.model()).apply(&Picture::decode(file).unwrap()).unwrap();
    let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; DIMS.outputs]);
    engine.run(&pixels, &mut scratch, &mut logits).unwrap();
    logits
}

#[test]
fn a_jpeg_is_prepared_as_the_model_says() {
    let place = Place::new(&DIMS);
    fs::write(place.path("photo.jpg"), JPEG).unwrap();
    fs::write(place.path("cut.jpg"), &JPEG[..500]).unwrap();
    let found = place.json("run m.rmlp photo.jpg --json");
    assert_eq!(logits(&found["results"][0]), expected(&place, JPEG));
    let stderr = place.fails("run m.rmlp cut.jpg", 1);
    assert!(stderr.contains("cut.jpg: broken or truncated JPEG"), "{stderr}");
}

#[test]
fn pictures_are_classified_as_they_arrive() {
    let place = Place::new(&DIMS);
    let folder = place.path("incoming");
    fs::create_dir(&folder).unwrap();
    let mut command = place.program("watch m.rmlp incoming --json --count 3");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let note = notes.find(|note| note.contains("watching")).unwrap();
    assert_eq!(note, "note: watching incoming");
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap()).unwrap();

    fs::write(folder.join("first.jpg"), JPEG).unwrap();
    let first = next();
    let logits = expected(&place, JPEG);
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    assert_eq!((&first["source"], &first["number"]), (&"incoming/first.jpg".into(), &1.into()));
    assert_eq!((&first["top"][0]["index"], first["top"].as_array().unwrap().len()), (&best.into(), 5));
    assert!(first["latency_ms"].as_f64().unwrap() > 0.0 && first["prepare_ms"].as_f64().unwrap() > 0.0);

    // A renamed file was classified under its first name and is not classified again.
    fs::rename(folder.join("first.jpg"), folder.join("renamed.jpg")).unwrap();
    // A file that is still being written does not arrive before it is closed.
    let mut slow = File::create(folder.join("slow.jpg")).unwrap();
    slow.write_all(&JPEG[..600]).unwrap();
    fs::write(folder.join("notes.txt"), "no picture").unwrap();
    // The program does not wait for a pipe that nobody writes to.
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    fs::rename(place.path("pipe"), folder.join("pipe.jpg")).unwrap();
    fs::write(place.path("copied.jpg"), JPEG).unwrap();
    fs::rename(place.path("copied.jpg"), folder.join("moved.jpg")).unwrap();
    assert_eq!(next()["source"], "incoming/moved.jpg");
    slow.write_all(&JPEG[600..]).unwrap();
    drop(slow);
    assert_eq!(next()["source"], "incoming/slow.jpg");
    assert!(child.wait().unwrap().success(), "it ends after three pictures");
    let notes: Vec<String> = notes.collect();
    assert_eq!(notes.len(), 2);
    assert!(notes[0].starts_with("note: passed over: incoming/notes.txt: not a picture"), "{notes:?}");
    assert_eq!(notes[1], "note: passed over: incoming/pipe.jpg: not a regular file");
}

#[test]
fn a_folder_that_is_removed_ends_it() {
    let place = Place::new(&DIMS);
    fs::create_dir(place.path("incoming")).unwrap();
    let mut command = place.program("watch m.rmlp incoming");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    notes.find(|note| note.contains("watching")).unwrap();
    fs::remove_dir(place.path("incoming")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(notes.any(|note| note == "error: incoming: the folder was removed"));
}

#[test]
fn sources_that_cannot_be_watched_are_refused() {
    let place = Place::new(&DIMS);
    assert!(place.fails("watch m.rmlp nowhere", 1).contains("nowhere: No such file"));
    assert!(place.fails("watch m.rmlp p.rgb", 1).contains("p.rgb: not a camera, expected /dev/videoN"));
}
