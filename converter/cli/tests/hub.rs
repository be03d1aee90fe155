//! The model hub from outside: the tool downloads from a server on loopback that speaks the hub's protocol.

#[path = "../../hub/tests/common/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use server::{COMMIT, Gate, REPOSITORY, Reply, Server, sha256};

const CONFIG: &str = r#"{"architecture": "resmlp_12_224", "num_classes": 5, "label_names": ["ant", "bee", "cow", "dog",
    "emu"], "pretrained_cfg": {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.25], "crop_pct": 1.0, "crop_mode": "squash",
    "interpolation": "bilinear", "input_size": [3, 24, 24]}}"#;

/// A hub with a checkpoint, and an empty cache.
struct Case {
    server: Server,
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self::of(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &weights())])
    }

    fn of(files: &[(&str, &[u8])]) -> Self {
        Self { server: Server::start(files), folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the command of a verb, for which the environment names this hub alone.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resmlp"));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HF_")) {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path("home")).env("HF_ENDPOINT", &self.server.endpoint);
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains('['), "there is no bar: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn fails(&self, words: &[&str], code: i32) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
        text(&output.stderr)
    }

    fn blobs(&self) -> PathBuf {
        self.path("home/hub/models--timm--tiny_resmlp.of_tests/blobs")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures").join(name)).unwrap()
}

/// Returns a checkpoint that takes 24 × 24 pixels and has 5 classes.
fn weights() -> Vec<u8> {
    fixture("safetensors/deit-f32.safetensors")
}

/// Makes five class folders of a picture each in `folder`.
fn pictures(folder: &Path) {
    for class in 0..5u32 {
        let path = folder.join(format!("pictures/class{class}/0.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let pixel = |x, y| image::Rgb([(x * 9 + 40 * class) as u8, (y * 7) as u8, (x * y + class) as u8]);
        image::RgbImage::from_fn(40, 30, pixel).save(path).unwrap();
    }
}

fn address() -> String {
    format!("hf:{REPOSITORY}")
}

#[test]
fn every_verb_takes_an_address_and_reads_what_a_folder_says() {
    let case = Case::new();
    pictures(case.folder.path());
    std::fs::create_dir(case.path("local")).unwrap();
    std::fs::write(case.path("local/config.json"), CONFIG).unwrap();
    std::fs::write(case.path("local/model.safetensors"), weights()).unwrap();
    let address = address();
    let origin = json!({"repository": REPOSITORY, "revision": "main", "commit": COMMIT});

    let mut inspected = case.json(&["inspect", &address]);
    assert_eq!(inspected.as_object_mut().unwrap().remove("hub").unwrap(), origin);
    assert_eq!(inspected["preprocessing_sources"]["mean"], "config.json: pretrained_cfg.mean");
    assert_eq!((&inspected["labels"], &inspected["labels_source"]), (&5.into(), &"config.json: label_names".into()));
    assert_eq!(inspected, case.json(&["inspect", "local/model.safetensors"]));
    let shown = text(&case.run(&["inspect", &address]).stdout);
    assert!(shown.contains(&format!("{REPOSITORY}, main is the commit {COMMIT}")), "{shown}");

    let run = |checkpoint: &str| case.json(&["run", checkpoint, "pictures/class3/0.png"]);
    assert_eq!(run(&address), run("local"));
    assert!(
        ["ant", "bee", "cow", "dog", "emu"].contains(&run(&address)["results"][0]["top"][0]["label"].as_str().unwrap())
    );
    let eval = |checkpoint: &str| {
        let found = case.json(&["eval", checkpoint, "--dataset", "pictures"]);
        [found["top1"].clone(), found["top5"].clone()]
    };
    assert_eq!(eval(&address), eval("local"));

    let converted = case.json(&["convert", &address, "-o", "hub.rmlp", "--precision=f16"]);
    assert_eq!(converted["hub"], origin);
    assert!(case.json(&["convert", "local", "-o", "local.rmlp", "--precision=f16"]).get("hub").is_none());
    let packed = case.json(&["inspect", "hub.rmlp"]);
    assert_eq!((&packed["provenance"]["hub"], &packed["labels"]), (&origin, &5.into()));
    assert_eq!(packed["preprocessing"], inspected["preprocessing"]);
    let checked = case.json(&["check", "hub.rmlp", "--against", &address, "--images", "pictures"]);
    assert_eq!((checked["top1_agreement"].as_f64(), checked["against"].as_str()), (Some(1.0), Some(address.as_str())));
    assert_eq!(case.server.downloads(), 1);
}

#[test]
fn a_repository_of_pytorch_weights_alone_is_read() {
    let weights = fixture("pth/timm-zip-f32.pth");
    let case = Case::of(&[("pytorch_model.bin", &weights)]);
    let found = case.json(&["inspect", &address()]);
    assert_eq!((&found["format"], &found["preprocessing_sources"]["mean"]), (&"pth (zip)".into(), &"assumed".into()));
}

#[test]
fn a_killed_download_is_continued_by_the_next_run() {
    let case = Case::new();
    let half = weights().len() / 2;
    let gate = Arc::new(Gate::default());
    let held = gate.clone();
    case.server.answer(move |seen, reply| match seen.is_storage && seen.range.is_none() {
        true => Reply { gate: Some((half, held.clone())), ..reply },
        false => reply,
    });
    let address = address();
    let words = ["convert", address.as_str(), "-o", "model.rmlp", "--precision=f16"];
    let mut child = case.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    gate.wait_for_server();
    let hash = sha256(&weights());
    let incomplete = case.blobs().join(format!("{hash}.incomplete"));
    let start = Instant::now();
    while incomplete.metadata().map_or(0, |found| found.len()) == 0 {
        assert!(start.elapsed() < Duration::from_secs(120) && child.try_wait().unwrap().is_none(), "nothing arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    // This sends SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!case.blobs().join(&hash).exists() && !case.path("model.rmlp").exists());
    let received = incomplete.metadata().unwrap().len();
    gate.open();

    assert!(case.run(&words).status.success());
    assert!(case.path("model.rmlp").is_file() && !incomplete.exists());
    let last = case.server.seen().iter().rev().find(|seen| seen.is_storage).unwrap().range;
    assert_eq!(last, Some(received));
    assert_eq!(sha256(&std::fs::read(case.blobs().join(&hash)).unwrap()), hash);
}

#[test]
fn two_conversions_at_once_share_one_download() {
    let case = Case::new();
    let gate = Arc::new(Gate::default());
    let (held, is_held) = (gate.clone(), AtomicBool::new(false));
    case.server.answer(move |seen, reply| match seen.is_storage && !is_held.swap(true, Ordering::SeqCst) {
        true => Reply { gate: Some((100, held.clone())), ..reply },
        false => reply,
    });
    let address = address();
    let convert = |output: &str| {
        let mut command = case.command(&["convert", &address, "-o", output, "--precision=f16"]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let first = convert("first.rmlp");
    gate.wait_for_server();
    let second = convert("second.rmlp");
    // The second conversion has asked for the weights when it waits for the first one's download.
    let asked =
        || case.server.seen().iter().filter(|seen| seen.method == "HEAD" && seen.path.ends_with("safetensors")).count();
    let start = Instant::now();
    while asked() < 2 {
        assert!(start.elapsed() < Duration::from_secs(120), "the second conversion does not ask");
        std::thread::sleep(Duration::from_millis(5));
    }
    gate.open();
    for child in [first, second] {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(std::fs::read(case.path("first.rmlp")).unwrap(), std::fs::read(case.path("second.rmlp")).unwrap());
    assert_eq!(case.server.downloads(), 1);
}

#[test]
fn the_environment_says_where_and_how() {
    let case = Case::new();
    case.server.answer(|seen, reply| match (seen.is_storage, seen.authorization.as_deref()) {
        (true, None) | (false, Some("Bearer hf_secret")) => reply,
        _ => Reply::new(401, &[], ""),
    });
    let address = address();
    let stderr = case.fails(&["inspect", &address], 1);
    assert!(stderr.contains("answers 401") && stderr.contains("set HF_TOKEN"), "{stderr}");
    let inspect = |variables: &[(&str, &str)]| {
        let output = case.command(&["inspect", &address]).envs(variables.iter().copied()).output().unwrap();
        (output.status.success(), text(&output.stderr))
    };
    assert!(inspect(&[("HF_TOKEN", "hf_secret"), ("HF_HUB_CACHE", "elsewhere")]).0);
    assert!(case.path("elsewhere/models--timm--tiny_resmlp.of_tests").is_dir() && !case.path("home").exists());
    assert!(inspect(&[("HF_HUB_CACHE", "elsewhere"), ("HF_HUB_OFFLINE", "1")]).0);
    let (_, stderr) = inspect(&[("HF_HUB_OFFLINE", "1")]);
    assert!(stderr.contains("HF_HUB_OFFLINE is set, and the cache"), "{stderr}");
    std::fs::create_dir(case.path("home")).unwrap();
    std::fs::write(case.path("home/token"), "hf_secret\n").unwrap();
    assert!(inspect(&[]).0);
    let (_, stderr) = inspect(&[("HF_ENDPOINT", "no address")]);
    assert!(stderr.contains("HF_ENDPOINT is no address"), "{stderr}");
}

#[test]
fn errors_say_what_to_do_and_obey_no_server() {
    let case = Case::new();
    let stderr = case.fails(&["convert", "hf:resmlp_12_224", "-o", "m.rmlp", "--precision=f16"], 2);
    assert!(stderr.contains("expected hf:owner/name"), "{stderr}");
    let stderr = case.fails(&["run", "hf:timm/resmlp_12_244", "x.png"], 1);
    assert!(stderr.contains("answers 404") && stderr.contains("check the spelling"), "{stderr}");
    let stderr = case.fails(&["inspect", "hf:timm/../../etc"], 2);
    assert!(stderr.contains("expected hf:owner/name"), "{stderr}");
    let address = address();
    case.server.answer(|_, _| Reply::new(404, &[], "{\"error\": \"\\u001b[2J\\u202e\\r\\nerror: none\"}"));
    let stderr = case.fails(&["inspect", &address], 1);
    assert!(stderr.contains("\\u{1b}[2J\\u{202e}\\u{d}\\u{a}error: none") && stderr.lines().count() == 1, "{stderr:?}");
    case.server.answer(|seen, reply| match seen.method == "HEAD" && seen.path.ends_with("config.json") {
        true => reply.with("content-length", "1073741824"),
        false => reply,
    });
    let stderr = case.fails(&["inspect", &address], 1);
    assert!(stderr.contains("announces 1073741824 bytes for config.json; expected at most 16777216"), "{stderr}");
    assert_eq!(std::fs::read_dir(case.folder.path()).unwrap().count(), 0);
}
