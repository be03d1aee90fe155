//! Runs `resmlp-train` on small data sets that the tests make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use resmlp_checkpoint::{LoadOptions, load};
use serde_json::Value;
use tempfile::TempDir;

/// A folder with pictures of three classes: a red, a green and a blue shade each, with some noise.
struct Pictures(TempDir);

impl Pictures {
    fn new(each: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (class, name) in ["blue", "green", "red"].iter().enumerate() {
            let place = folder.path().join("pictures").join(name);
            fs::create_dir_all(&place).unwrap();
            for index in 0..each {
                let value = |i: usize| -> u8 {
                    let noise = (i * 7919 + index * 104_729 + class * 31) % 97;
                    (if i % 3 == 2 - class { 150 } else { 40 } + noise) as u8
                };
                let rgb: Vec<u8> = (0..8 * 8 * 3).map(value).collect();
                let file = fs::File::create(place.join(format!("{index:03}.png"))).unwrap();
                let mut encoder = png::Encoder::new(file, 8, 8);
                encoder.set_color(png::ColorType::Rgb);
                encoder.write_header().unwrap().write_image_data(&rgb).unwrap();
            }
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns a command that trains a tiny network and writes the checkpoint `output`. `flags` come before those of
    /// the tiny network.
    fn train(&self, output: &str, flags: &[&str]) -> Command {
        let mut command = program();
        command.arg("train").arg(self.path("pictures")).arg("-o").arg(self.path(output)).args(flags);
        let tiny = "--dim=8 --depth=2 --patch=2 --epochs=4 --batch=16 --lr=0.01 --drop-path=0.1 --warmup=1 --ema=0.9";
        let given = |flag: &str| flags.iter().any(|given| flag.split('=').next() == Some(given));
        command.args(tiny.split(' ').filter(|flag| !given(flag)));
        command
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_resmlp-train"))
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {stderr}", output.status);
    output
}

/// Runs a command that has to fail with this exit code, and returns the one line that it prints.
fn fails(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {stderr}");
    assert!(output.stdout.is_empty(), "{command:?}");
    stderr.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn a_training_ends_with_a_checkpoint_a_model_and_a_report() {
    let pictures = Pictures::new(40);
    fs::write(pictures.path("pictures/red/broken.png"), "no picture").unwrap();
    let [model, report] = ["net.rmlp", "net.html"].map(|name| pictures.path(name));
    let mut command = pictures.train("net.safetensors", &["--json"]);
    command.arg("--model").arg(&model).arg("--report").arg(&report);
    let output = succeeds(&mut command);
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    for (index, epoch) in lines[..4].iter().enumerate() {
        assert_eq!(epoch["epoch"], index as u64 + 1);
        assert!(epoch["loss"].as_f64().unwrap() > 0.0 && epoch["top1"].is_f64(), "{epoch}");
    }
    let outcome = &lines[4];
    assert_eq!(outcome["pictures"], 108);
    assert!(outcome["skipped"][0].as_str().unwrap().ends_with("broken.png"));
    assert!(outcome["top1"].as_f64().unwrap() > 0.9 && outcome["int8_top1"].as_f64().unwrap() > 0.9, "{outcome}");
    assert!(outcome["forward_error"].as_f64().unwrap() < 1e-5, "{outcome}");
    assert_eq!(outcome["model_bytes"], fs::metadata(&model).unwrap().len());

    let checkpoint = load(&pictures.path("net.safetensors"), &LoadOptions::default()).unwrap();
    assert_eq!(checkpoint.network.outputs(), 3);
    let config = resmlp_checkpoint::config::beside(&pictures.path("net.safetensors")).unwrap().unwrap();
    assert_eq!(config.labels.unwrap().value, ["blue", "green", "red"]);
    assert_eq!(config.image.unwrap().value, [8, 8]);
    let page = fs::read_to_string(report).unwrap();
    assert!(page.contains("Confusion matrix") && page.contains("data:image/png") && !page.contains("<script"));
    assert!(!pictures.path("net.safetensors.resume").exists());
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let pictures = Pictures::new(24);
    let files: Vec<Vec<u8>> = ["1", "2", "5"]
        .iter()
        .map(|threads| {
            succeeds(&mut pictures.train("net.safetensors", &["--threads", threads]));
            fs::read(pictures.path("net.safetensors")).unwrap()
        })
        .collect();
    assert!(files.iter().all(|file| *file == files[0]));
    succeeds(&mut pictures.train("net.safetensors", &["--seed", "1"]));
    assert_ne!(fs::read(pictures.path("net.safetensors")).unwrap(), files[0]);
}

#[test]
fn a_training_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    let pictures = Pictures::new(60);
    succeeds(&mut pictures.train("whole.safetensors", &["--epochs", "60"]));
    let saved = pictures.path("net.safetensors.resume");
    let mut kills = 0;
    for index in 0..20 {
        let flags = if saved.exists() { vec!["--epochs", "60", "--resume"] } else { vec!["--epochs", "60"] };
        let mut command = pictures.train("net.safetensors", &flags);
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        if is_killed_after_the_next_save(&mut child, &saved, Duration::from_micros(700 * index)) {
            kills += 1;
        } else {
            break;
        }
    }
    assert!(kills > 0, "the first try is killed at the first of its 61 saves");
    if saved.exists() {
        succeeds(&mut pictures.train("net.safetensors", &["--epochs", "60", "--resume"]));
    }
    let [found, expected] = ["net.safetensors", "whole.safetensors"].map(|name| fs::read(pictures.path(name)).unwrap());
    assert_eq!(found, expected);
}

/// Waits until a training saves its state, and a while longer, and kills it. Returns `false` if it ends before.
fn is_killed_after_the_next_save(child: &mut Child, saved: &Path, later: Duration) -> bool {
    let written = || fs::metadata(saved).and_then(|metadata| metadata.modified()).ok();
    let before = written();
    while written() == before {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return false;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(later);
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let pictures = Pictures::new(60);
    let mut command = pictures.train("net.safetensors", &["--epochs", "100000"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let saved = pictures.path("net.safetensors.resume");
    // The file is written once the handler of the signal is in place.
    while !saved.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("net.safetensors.resume; the same command with --resume goes on"), "{stderr}");

    let error = fails(&mut pictures.train("net.safetensors", &["--epochs", "7", "--resume"]), 1);
    assert!(error.contains("epochs 100000, this one 7; expected the same flags"), "{error}");
    fs::write(&saved, "nothing").unwrap();
    let error = fails(&mut pictures.train("net.safetensors", &["--epochs", "100000", "--resume"]), 1);
    assert!(error.contains("expected the saved state of an interrupted training"), "{error}");
}

#[test]
fn fine_tuning_fits_classes_and_size_and_keeps_frozen_tensors() {
    let pictures = Pictures::new(24);
    succeeds(&mut pictures.train("net.safetensors", &["--epochs", "2"]));
    fs::remove_dir_all(pictures.path("pictures/red")).unwrap();
    let tune = |output: &str, flags: &[&str]| {
        let mut command = program();
        command.arg("finetune").args(["net.safetensors", "pictures"].map(|name| pictures.path(name)));
        command.arg("-o").arg(pictures.path(output)).args(["--batch", "8", "--epochs", "1"]).args(flags);
        command
    };
    let output =
        succeeds(&mut tune("tuned.safetensors", &["--image", "16", "--freeze", "stem", "--freeze", "blocks.0.mlp"]));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("the classifier of 3 classes is replaced by a new one of 2 classes"), "{stderr}");
    let [old, new] = ["net.safetensors", "tuned.safetensors"]
        .map(|name| load(&pictures.path(name), &LoadOptions::default()).unwrap().network);
    assert_eq!((new.image, new.outputs(), new.tokens()), ([16, 16], 2, 64));
    assert_eq!(new.stem, old.stem);
    assert_eq!(new.blocks[0].expand, old.blocks[0].expand);
    assert_ne!(new.blocks[1].expand, old.blocks[1].expand);

    // timm's names cannot state the activation, so a checkpoint with these names would be read as one with GELU.
    let relu = resmlp_network::Network { activation: resmlp_network::Activation::Relu, ..old };
    let graph = resmlp_checkpoint::export::onnx_bytes(&relu, resmlp_checkpoint::export::Batch::Any).unwrap();
    fs::write(pictures.path("relu.onnx"), graph).unwrap();
    let mut command = program();
    command.arg("finetune").args(["relu.onnx", "pictures"].map(|name| pictures.path(name)));
    let error = fails(command.arg("-o").arg(pictures.path("x.safetensors")), 1);
    assert!(error.contains("its activation is relu, which timm's names cannot state"), "{error}");

    let error = fails(&mut tune("x.safetensors", &["--image", "15"]), 2);
    assert!(error.contains("--image is 15, expected a multiple of the network's patch, 2"), "{error}");
    let error = fails(&mut tune("x.safetensors", &["--freeze", "neck"]), 2);
    assert!(error.contains("--freeze neck: no tensor's name begins like this"), "{error}");
}

#[test]
fn what_cannot_be_trained_is_refused_before_anything_is_written() {
    let pictures = Pictures::new(4);
    for (flags, code, words) in [
        (vec!["--image", "9", "--patch", "2"], 1, "cannot be cut into patches of 2 × 2"),
        (vec!["--dim", "0"], 1, "the network has no channels"),
        (vec!["--lr", "NaN"], 2, "--lr is NaN, expected 0 to less than 1000"),
        (vec!["--batch", "1000"], 1, "expected at least 1000"),
        (vec!["--val-fraction", "1"], 1, "expected a number between 0 and 1"),
        (vec!["--mixup=-1"], 1, "mixup"),
    ] {
        let error = fails(&mut pictures.train("net.safetensors", &flags), code);
        assert!(error.contains(words), "{flags:?}: {error}");
        assert!(!pictures.path("net.safetensors").exists() && !pictures.path("net.safetensors.resume").exists());
    }
    let missing: &Path = Path::new("/nonexistent/pictures");
    let error = fails(program().arg("train").arg(missing).arg("-o").arg(pictures.path("x")), 1);
    assert!(error.contains("/nonexistent/pictures"), "{error}");
    fs::remove_dir_all(pictures.path("pictures/red")).unwrap();
    fs::remove_dir_all(pictures.path("pictures/blue")).unwrap();
    let error = fails(&mut pictures.train("net.safetensors", &[]), 1);
    assert!(error.contains("only the class \"green\""), "{error}");
}

#[test]
fn a_training_that_leaves_the_finite_numbers_stops_and_keeps_its_last_good_state() {
    let pictures = Pictures::new(24);
    let flags = ["--lr", "999", "--weight-decay", "0", "--clip", "0", "--epochs", "200", "--ema", "0", "--warmup", "0"];
    let error = fails(&mut pictures.train("net.safetensors", &flags), 1);
    assert!(error.contains("no longer a finite number") && error.contains("net.safetensors.resume"), "{error}");
    assert!(pictures.path("net.safetensors.resume").exists());
}
