//! The program from outside, as `resmlp deploy` and people's scripts see it.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::place::{DIMS, Place, text};
use resmlp_runtime::{Dims, Kernels, Layout, WeightStorage};
use serde_json::Value;

pub fn logits(result: &Value) -> Vec<f32> {
    result["logits"].as_array().unwrap().iter().map(|logit| logit.as_f64().unwrap() as f32).collect()
}

#[test]
fn run_gives_the_librarys_logits_bit_for_bit() {
    let place = Place::new(&DIMS);
    let expected = place.expected_logits();
    let largest = expected.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let distinct: std::collections::BTreeSet<u32> = expected.iter().map(|logit| logit.to_bits()).collect();
    assert_eq!(distinct.len(), expected.len(), "the model is not lively: {expected:?}");
    for kernels in Kernels::supported() {
        for threads in [1, 3] {
            let options = format!("run m.rmlp p.rgb p.rgb --kernels {} --threads {threads} --json", kernels.name());
            let found = place.json(&options);
            assert_eq!(found["kernels"], kernels.name());
            assert_eq!(found["results"].as_array().unwrap().len(), 2);
            for result in found["results"].as_array().unwrap() {
                assert_eq!(result["image"], "p.rgb");
                assert_eq!(logits(result), expected, "{options}");
                let top = result["top"].as_array().unwrap();
                assert_eq!(expected[top[0]["index"].as_u64().unwrap() as usize], largest);
                let probabilities: Vec<f64> = top.iter().map(|guess| guess["probability"].as_f64().unwrap()).collect();
                assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities.iter().sum::<f64>() <= 1.0 + 1e-9);
                assert!(top.len() == 5 && top[0]["label"].is_null());
            }
        }
    }
}

#[test]
fn pictures_come_as_bytes_or_ppm_or_through_a_pipe() {
    let place = Place::new(&DIMS);
    let ppm = [b"P6\n24 16\n255\n", &place.picture[..]].concat();
    std::fs::write(place.path("p.ppm"), &ppm).unwrap();
    let found = place.json("run m.rmlp p.ppm --json");
    assert_eq!(logits(&found["results"][0]), place.expected_logits());

    let mut command = place.program("run m.rmlp - --json");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&ppm).unwrap();
    let output = child.wait_with_output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(logits(&found["results"][0]), place.expected_logits());
}

#[test]
fn an_embedding_has_no_top() {
    let place = Place::new(&Dims { has_head: false, outputs: DIMS.dim, ..*DIMS });
    let found = place.json("run m.rmlp p.rgb --json");
    assert_eq!(found["results"][0]["top"], Value::Array(vec![]));
    assert_eq!(logits(&found["results"][0]), place.expected_logits());
    let output = place.program("run m.rmlp p.rgb").output().unwrap();
    assert!(text(&output.stdout).contains(&format!("embedding of {} channels", DIMS.dim)));
}

#[test]
fn bench_has_the_fields_that_scripts_read() {
    for weights in [WeightStorage::Int8, WeightStorage::F16] {
        let layout = if weights == WeightStorage::Int8 { Layout::DEFAULT } else { Layout::F16 };
        let place = Place::new(&Dims { weights, layout, ..*DIMS });
        let found = place.json("bench m.rmlp --runs 7 --warmup 2 --threads 2 --kernels scalar --json");
        for (field, expected) in [
            ("model", Value::from("m.rmlp")),
            ("kernels", "scalar".into()),
            ("threads", 2.into()),
            ("runs", 7.into()),
            ("warmup", 2.into()),
            ("model_bytes", place.model.len().into()),
            ("repacked", false.into()),
        ] {
            assert_eq!(found[field], expected, "{field}");
        }
        let times = ["min", "median", "p90", "p99", "max"].map(|name| found["latency_ms"][name].as_f64().unwrap());
        assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
        assert!(found["gmac_per_s"].as_f64().unwrap() > 0.0 && found["scratch_bytes"].as_u64().unwrap() > 0);
        let layers = found["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2 + 2 * DIMS.depth);
        assert_eq!(layers.iter().map(|layer| layer["macs"].as_u64().unwrap()).sum::<u64>(), DIMS.macs());
        // The clock of a fast machine may not see how long a head of a hundred operations takes.
        let is_timed = |layer: &Value| layer["ms"].as_f64().unwrap() > 0.0 || layer["name"] == "head";
        assert!(layers.iter().all(|layer| is_timed(layer) && layer["gmac_per_s"].as_f64().unwrap() > 0.0));
        assert!(layers.iter().all(|layer| layer["name"].is_string()));
        assert_eq!(found["trusted"], found["warnings"].as_array().unwrap().is_empty());
        assert_eq!(found["machine"]["architecture"], std::env::consts::ARCH);
        assert!(found["before"]["clocks"].is_array() && found["after"].get("throttled").is_some());
    }
}

#[test]
fn bench_without_json_is_for_people() {
    let place = Place::new(&DIMS);
    let output = place.program("bench m.rmlp --runs 3 --threads 2000").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    // No machine that runs this test has as many cores.
    let output = place.program("bench m.rmlp --runs 3 --threads 1000").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("warning: 1000 threads share"), "{}", text(&output.stderr));
    let found = text(&output.stdout);
    assert!(found.contains("block.1.mlp") && found.contains("not to be trusted"), "{found}");
}

#[test]
fn errors_name_the_file_and_what_was_expected() {
    let place = Place::new(&DIMS);
    std::fs::write(place.path("short.rgb"), [0; 9]).unwrap();
    std::fs::write(place.path("cut.rmlp"), &place.model[..place.model.len() - 1]).unwrap();
    let mut damaged = place.model.clone();
    damaged[1000] ^= 1;
    std::fs::write(place.path("damaged.rmlp"), damaged).unwrap();
    std::fs::write(place.path("empty.rmlp"), []).unwrap();
    for (words, told) in [
        ("run missing.rmlp p.rgb", "missing.rmlp: No such file"),
        ("run m.rmlp missing.rgb", "missing.rgb: No such file"),
        ("run m.rmlp short.rgb", "short.rgb: found 9 bytes, expected 1152 bytes (16 × 24 RGB), a PPM"),
        ("run p.rgb p.rgb", "p.rgb: not a packed ResMLP model"),
        ("bench cut.rmlp", "cut.rmlp: "),
        ("bench damaged.rmlp", "damaged.rmlp: checksum"),
        ("bench empty.rmlp", "empty.rmlp: 0 bytes are too short"),
        ("bench .", ".: "),
    ] {
        for json in ["", " --json"] {
            let stderr = place.fails(&format!("{words}{json}"), 1);
            // A note that the weights are rearranged for this CPU may come before the error.
            let error = stderr.lines().find(|line| !line.starts_with("note: ")).unwrap_or_default();
            assert!(error.starts_with("error: ") && error.contains(told), "{words}: {stderr}");
        }
    }
    let stderr = place.fails("bench m.rmlp --kernels fast", 2);
    assert!(stderr.contains("expected one of: ") && stderr.contains("scalar"), "{stderr}");
    assert!(place.fails("bench", 2).contains("--help"));
}

#[test]
fn weights_in_another_layout_are_rearranged_with_a_note() {
    let layout = Layout { rows: 3, columns: 5, group: 2, offset: 0 };
    let place = Place::new(&Dims { layout, ..*DIMS });
    let Output { status, stdout, stderr } = place.program("run m.rmlp p.rgb --json").output().unwrap();
    assert!(status.success(), "{}", text(&stderr));
    let found: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(logits(&found["results"][0]), place.expected_logits());
    let rearranges = Kernels::fastest().layout().is_some();
    assert_eq!(text(&stderr).contains("note: the weights are rearranged"), rearranges, "{}", text(&stderr));
}

#[test]
fn names_from_strangers_move_no_cursor() {
    let place = Place::new(&DIMS);
    let name = "\x1b[2J\u{9b}\u{202e}.rgb";
    std::fs::write(place.path(name), &place.picture).unwrap();
    let is_obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
    let run = |words: &str, name: &str| {
        let output = place.program(words).arg(name).output().unwrap();
        let [stdout, stderr] = [text(&output.stdout), text(&output.stderr)];
        assert!(!stdout.contains(is_obeyed) && !stderr.contains(is_obeyed), "{stdout:?} {stderr:?}");
        [stdout, stderr]
    };
    let [stdout, _] = run("run m.rmlp", name);
    assert!(stdout.starts_with("\\u{1b}[2J\\u{9b}\\u{202e}.rgb\n"), "{stdout}");
    let [stdout, _] = run("run m.rmlp --json", name);
    assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["results"][0]["image"], name);
    let [_, stderr] = run("run m.rmlp", "\x1b[2J\nerror: forged");
    assert!(stderr.contains("error: \\u{1b}[2J\\u{a}error: forged: No such file"), "{stderr}");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let place = Place::new(&DIMS);
    assert!(std::process::Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    for words in ["run pipe p.rgb", "bench pipe", "run m.rmlp pipe", "bench m.rmlp --html pipe"] {
        let stderr = place.fails(words, 1);
        assert!(stderr.contains("error: pipe: not a regular file"), "{words}: {stderr}");
    }
}
