//! Tests of what `convert`, `check`, `bench`, `inspect` and `demo` promise to scripts.

use std::path::Path;

use resmlp_picture::{Fit, Picture, Preprocess};
use serde_json::Value;

use super::{checkpoint, dataset, fails, fixture, json, resmlp, string, text, write_picture};

/// Converts the checkpoint to `folder/NAME`, an int8 model with pictures of [`dataset`], and returns the path and what
/// was said.
pub fn convert(folder: &Path, name: &str, checkpoint: &str, flags: &[&str]) -> (String, Value) {
    let pictures = dataset();
    let model = string(&folder.join(name)).to_owned();
    let calibrate = ["--calibrate", string(pictures.path())];
    let calibrate = if flags.contains(&"f16") { &[][..] } else { &calibrate };
    (model.clone(), json(&[&["convert", checkpoint, "-o", &model, "--json"], calibrate, flags].concat()))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Names of the stages of a network of two blocks.
const STAGES: [&str; 5] = ["stem", "block.0.mix", "block.0.mlp", "block.1.mix", "block.1.mlp"];

fn names(layers: &Value) -> Vec<&str> {
    layers.as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect()
}

#[test]
fn convert_says_what_it_made() {
    let folder = tempfile::tempdir().unwrap();
    let (model, found) = convert(folder.path(), "m.rmlp", &checkpoint(), &["--sensitivity"]);
    assert_eq!((&found["precision"], &found["dialect"]), (&"int8".into(), &"deit".into()));
    assert_eq!((&found["calibration_pictures"], &found["skipped"]), (&10.into(), &0.into()));
    assert!(found["warnings"][0].as_str().unwrap().contains(": 10 of 10 differ"), "{found}");
    assert_eq!(found["bytes"], std::fs::metadata(&model).unwrap().len());
    assert_eq!(names(&found["layers"]), STAGES);
    assert_eq!(names(&found["sensitivity"]), [&STAGES[..], &["head"]].concat());
    for cost in found["sensitivity"].as_array().unwrap() {
        // Every layer loses something, but one layer alone loses little.
        assert!((15.0..150.0).contains(&number(&cost["sqnr_db"])), "{cost}");
        assert!((0.98..=1.0).contains(&number(&cost["cosine_min"])), "{cost}");
        assert!((0.0..=1.0).contains(&number(&cost["top1_agreement"])), "{cost}");
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["m.rmlp"]);
}

#[test]
fn an_unreadable_calibration_picture_is_skipped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = dataset();
    std::fs::write(pictures.path().join("class2/broken.jpg"), "no picture").unwrap();
    let (checkpoint, model) = (checkpoint(), folder.path().join("m.rmlp"));
    let calibrate = string(pictures.path());
    let output = resmlp(&["convert", &checkpoint, "-o", string(&model), "--calibrate", calibrate, "--json"]);
    assert!(output.status.success() && text(&output.stderr).contains("broken.jpg: skipped"));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["calibration_pictures"], &found["skipped"]), (&10.into(), &1.into()));
}

/// Checks a model against its checkpoint on the pictures of [`dataset`], one of which cannot be read.
fn check(model: &str, checkpoint: &str) -> Value {
    let pictures = dataset();
    std::fs::write(pictures.path().join("class1/broken.png"), "no picture").unwrap();
    let found = json(&["check", model, "--against", checkpoint, "--images", string(pictures.path()), "--json"]);
    assert_eq!((&found["images"], &found["skipped"]), (&10.into(), &1.into()));
    assert!(number(&found["fold_error"]) <= 1e-4, "{found}");
    let cosines = [&found["cosine_min"], &found["cosine_mean"]].map(number);
    assert!(cosines[0] <= cosines[1] && cosines[1] <= 1.0, "{found}");
    assert!(number(&found["max_abs"]) > 0.0, "{found}");
    assert_eq!(names(&found["layers"]), STAGES);
    found
}

#[test]
fn check_finds_an_exact_folding_and_little_noise() {
    let folder = tempfile::tempdir().unwrap();
    for (name, precision, least_sqnr, least_cosine) in
        [("a.rmlp", "int8", 20.0, 0.99), ("b.rmlp", "f16", 50.0, 0.99999)]
    {
        let (model, _) = convert(folder.path(), name, &checkpoint(), &["--precision", precision]);
        let found = check(&model, &checkpoint());
        assert!(number(&found["cosine_min"]) >= least_cosine, "{found}");
        assert!((0.7..=1.0).contains(&number(&found["top1_agreement"])), "{found}");
        for layer in found["layers"].as_array().unwrap() {
            assert!(number(&layer["sqnr_db"]) >= least_sqnr, "{layer}");
            assert!(number(&layer["fold_error"]) <= 1e-4, "{layer}");
        }
    }
    let (model, pictures) = (folder.path().join("a.rmlp"), dataset());
    let (checkpoint, images) = (checkpoint(), string(pictures.path()));
    let arguments = ["check", string(&model), "--against", &checkpoint, "--images", images];
    let output = resmlp(&[&arguments[..], &["--kernels", "scalar"]].concat());
    assert!(text(&output.stdout).contains("scalar kernels") && text(&output.stdout).contains("block.1.mlp"));
    assert_eq!(json(&[&arguments[..], &["--limit", "5", "--json"]].concat())["images"], 5);
}

#[test]
fn check_notices_other_weights_of_the_same_shape() {
    let folder = tempfile::tempdir().unwrap();
    let (source, pictures) = (checkpoint(), dataset());
    let (model, _) = convert(folder.path(), "m.rmlp", &source, &[]);
    // The same network with every weight of its classifier negated: sign bits of little-endian f32 values are flipped.
    let mut bytes = std::fs::read(&source).unwrap();
    let head_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + head_len]).unwrap();
    let [start, end] = [0, 1].map(|i| header["head.weight"]["data_offsets"][i].as_u64().unwrap() as usize);
    bytes[8 + head_len..][start..end].chunks_exact_mut(4).for_each(|value| value[3] ^= 0x80);
    let other = folder.path().join("other.safetensors");
    std::fs::write(&other, bytes).unwrap();

    let compare =
        |against: &str| json(&["check", &model, "--against", against, "--images", string(pictures.path()), "--json"]);
    let (same, other) = (compare(&source), compare(string(&other)));
    assert!(number(&same["cosine_min"]) > 0.99, "{same}");
    assert!(number(&other["cosine_min"]) < 0.9 && number(&other["fold_error"]) <= 1e-4, "{other}");
    // Only the classifier differs, so the residual streams agree as well as before.
    for (same, other) in same["layers"].as_array().unwrap().iter().zip(other["layers"].as_array().unwrap()) {
        assert_eq!(same["sqnr_db"], other["sqnr_db"]);
    }
}

#[test]
fn check_refuses_a_checkpoint_of_another_shape() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = convert(folder.path(), "m.rmlp", &checkpoint(), &[]);
    let (timm, pictures) = (fixture("safetensors/timm-f32.safetensors"), dataset());
    let stderr = fails(&["check", &model, "--against", &timm, "--images", string(pictures.path())], 1);
    for words in ["not made from", "patch 8, expected 4", "channels 9, expected 14", "outputs 5 classes, expected 7"] {
        assert!(stderr.contains(words), "{stderr}");
    }
}

#[test]
fn check_takes_onnx_affs_on_the_stream_and_embeddings() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = fixture("onnx/deit-torchscript-17-dynamic.onnx");
    let (model, _) = convert(folder.path(), "onnx.rmlp", &onnx, &[]);
    assert!(number(&check(&model, &onnx)["cosine_min"]) >= 0.99);

    let stream = fixture("safetensors/rishikksh20-f32.safetensors");
    let (model, _) = convert(folder.path(), "stream.rmlp", &stream, &[]);
    let found = check(&model, &stream);
    assert!(found["layers"][1]["fold_error"].is_null() && number(&found["layers"][1]["sqnr_db"]) > 20.0, "{found}");

    let embedding = fixture("safetensors/deit-dino-f32.safetensors");
    let (model, _) = convert(folder.path(), "embedding.rmlp", &embedding, &[]);
    let found = check(&model, &embedding);
    assert!(found["top1_agreement"].is_null() && number(&found["cosine_min"]) > 0.99, "{found}");
}

#[test]
fn bench_has_the_fields_that_scripts_read() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = convert(folder.path(), "m.rmlp", &checkpoint(), &[]);
    let flags = ["--threads", "2", "--kernels", "scalar", "--runs", "7", "--warmup", "2"];
    let found = json(&[&["bench", &model, "--json"][..], &flags].concat());
    assert_eq!((&found["model"], &found["kernels"]), (&model.as_str().into(), &"scalar".into()));
    assert_eq!((&found["threads"], &found["runs"]), (&2.into(), &7.into()));
    let times = ["min", "median", "p90", "p99", "max"].map(|name| number(&found["latency_ms"][name]));
    assert!(times[0] > 0.0 && times.is_sorted(), "{times:?}");
    let macs = number(&json(&["inspect", &model, "--json"])["macs"]);
    let rate = macs / (times[1] * 1e6);
    assert!((number(&found["gmac_per_s"]) / rate - 1.0).abs() < 1e-6, "{found}");
    assert_eq!(found["model_bytes"], std::fs::metadata(&model).unwrap().len());
    assert!(number(&found["scratch_bytes"]) >= 4.0 * 9.0 * 9.0);
    assert_eq!(names(&found["layers"]), [&STAGES[..], &["head"]].concat());
    let layers = found["layers"].as_array().unwrap();
    assert_eq!(layers.iter().map(|layer| number(&layer["macs"])).sum::<f64>(), macs);
    assert!(layers.iter().all(|layer| number(&layer["ms"]) > 0.0), "{found}");
    let output = resmlp(&["bench", &model, "--runs", "3"]);
    assert!(text(&output.stdout).contains("GMAC/s") && text(&output.stdout).contains("block.1.mix"));
}

#[test]
fn inspect_tells_what_a_model_is_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, "ant\nbee\ncow\ndog\nemu\n").unwrap();
    let flags = ["--labels", string(&labels), "--target", "raspberry-pi-4", "--crop", "1.0"];
    let (model, _) = convert(folder.path(), "m.rmlp", &checkpoint(), &flags);
    let (found, source) = (json(&["inspect", &model, "--json"]), json(&["inspect", &checkpoint(), "--json"]));
    assert_eq!((&found["kind"], &found["precision"]), (&"model".into(), &"int8".into()));
    for field in [
        "dialect",
        "activation",
        "image",
        "patch",
        "tokens",
        "dim",
        "hidden",
        "depth",
        "classes",
        "outputs",
        "parameters",
        "macs",
    ] {
        assert_eq!(found[field], source[field], "{field}");
    }
    assert_eq!(found["labels"], 5);
    assert_eq!(found["layout"], serde_json::json!({"rows": 4, "columns": 4, "group": 16, "offset": 0}));
    assert!(found["kernels"].as_array().unwrap().contains(&"scalar".into()));
    assert_eq!(found["provenance"]["checkpoint"], "deit-f32.safetensors");
    assert_eq!(found["preprocessing"]["crop"], 1.0);
    let ratio = number(&found["bytes"]) / number(&found["parameters"]);
    assert!((number(&found["bytes_per_parameter"]) - ratio).abs() < 1e-9);
    assert!(number(&found["scratch_bytes"]) > 0.0);
    assert!(text(&resmlp(&["inspect", &model]).stdout).contains("Affs folded"));

    let embedding = fixture("safetensors/deit-dino-f32.safetensors");
    let (model, _) = convert(folder.path(), "embedding.rmlp", &embedding, &["--precision", "f16"]);
    let (found, source) = (json(&["inspect", &model, "--json"]), json(&["inspect", &embedding, "--json"]));
    assert!(found["classes"].is_null() && found["precision"] == "f16");
    assert_eq!(found["parameters"], source["parameters"]);
}

#[test]
fn a_squashing_model_sees_the_whole_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| string(&folder.path().join(name)).to_owned();
    let convert = |name, flags: &[&str]| convert(folder.path(), name, &checkpoint(), flags).0;
    let squashing = convert("squash.rmlp", &["--precision", "f16", "--fit", "squash", "--crop", "0.5"]);
    let cropping = convert("crop.rmlp", &["--precision", "f16", "--crop", "1.0"]);
    let found = json(&["inspect", &squashing, "--json"]);
    assert_eq!((&found["preprocessing"]["fit"], &found["format"]), (&"squash".into(), &"rmlp 3".into()));
    assert_eq!(json(&["inspect", &cropping, "--json"])["preprocessing"]["fit"], "crop");

    let image = [0, 1].map(|side| found["image"][side].as_u64().unwrap() as usize);
    let row = |y: u32| (0..90).flat_map(move |x: u32| [x * 2, y * 8, x * y % 256].map(|value| value as u8));
    let wide = Picture::from_rgb(30, 90, (0..30).flat_map(row).collect()).unwrap();
    let squash = Preprocess { fit: Fit::Squash, ..Preprocess::imagenet(image) };
    let squashed = squash.apply(&wide).unwrap();
    for (name, [height, width], rgb) in [("wide.png", [30, 90], wide.rgb()), ("squashed.png", image, &squashed[..])] {
        image::RgbImage::from_raw(width as u32, height as u32, rgb.to_vec()).unwrap().save(path(name)).unwrap();
    }
    let logits = |model: &str, name: &str| json(&["run", model, &path(name), "--json"])["results"][0]["logits"].clone();
    assert!(logits(&squashing, "wide.png").is_array());
    assert_eq!(logits(&squashing, "wide.png"), logits(&squashing, "squashed.png"));
    assert_eq!(logits(&squashing, "squashed.png"), logits(&cropping, "squashed.png"));
    assert_ne!(logits(&squashing, "wide.png"), logits(&cropping, "wide.png"));
}

#[test]
fn the_activation_of_a_checkpoint_reaches_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let source = checkpoint();
    let found = json(&["inspect", &source, "--activation", "relu", "--json"]);
    assert_eq!((&found["activation"], &found["activation_source"]), (&"relu".into(), &"flag".into()));
    let onnx = json(&["inspect", &fixture("onnx/deit-torchscript-17-dynamic.onnx"), "--json"]);
    assert_eq!((&onnx["activation"], &onnx["activation_source"]), (&"gelu".into(), &"file".into()));
    assert_eq!(
        (&found["preprocessing_sources"]["mean"], &found["preprocessing"]["crop"]),
        (&"assumed".into(), &0.9.into())
    );
    let given = json(&["inspect", &source, "--mean", "0.5,0.5,0.5", "--json"]);
    assert_eq!(
        (&given["preprocessing_sources"]["mean"], &given["preprocessing"]["mean"][0]),
        (&"flag".into(), &0.5.into())
    );

    let (gelu, _) = convert(folder.path(), "gelu.rmlp", &source, &[]);
    let found = json(&["inspect", &gelu, "--json"]);
    assert_eq!((&found["activation"], &found["format"]), (&"gelu".into(), &"rmlp 2".into()));
    assert!(found["provenance"]["activation"].is_null());

    let pictures = dataset();
    for precision in ["int8", "f16"] {
        let name = format!("relu-{precision}.rmlp");
        let (relu, _) = convert(folder.path(), &name, &source, &["--activation", "relu", "--precision", precision]);
        let found = json(&["inspect", &relu, "--json"]);
        assert_eq!((&found["activation"], &found["format"]), (&"relu".into(), &"rmlp 3".into()));
        assert_eq!(found["provenance"]["activation"], "relu");
        let arguments = ["check", &relu, "--against", &source, "--images", string(pictures.path()), "--json"];
        let same = json(&[&arguments[..], &["--activation", "relu"]].concat());
        assert!(number(&same["cosine_min"]) > 0.99 && number(&same["fold_error"]) <= 1e-4, "{same}");
        assert!(number(&json(&arguments)["cosine_min"]) < number(&same["cosine_min"]));
    }
}

#[test]
fn f16_on_a_cortex_m_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let model = string(&folder.path().join("m.rmlp")).to_owned();
    for (target, is_warned_of) in [("raspberry-pi-pico-2", true), ("cortex-m", true), ("raspberry-pi-3", false)] {
        let found = resmlp(&["convert", &checkpoint(), "-o", &model, "--precision", "f16", "--target", target]);
        let stderr = text(&found.stderr);
        assert!(found.status.success(), "{stderr}");
        assert_eq!(stderr.contains("warning: Cortex-M"), is_warned_of, "{target}: {stderr}");
    }
}

#[test]
fn the_demo_goes_the_whole_way() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("kept/demo.rmlp");
    let found = json(&["demo", "-o", string(&model), "--json"]);
    assert_eq!(found["model"], string(&model));
    assert_eq!(found["model_bytes"], std::fs::metadata(&model).unwrap().len());
    assert!(number(&found["check"]["fold_error"]) <= 1e-4 && number(&found["check"]["cosine_min"]) >= 0.98, "{found}");
    assert_eq!(found["bit_identical"], true);
    for line in found["latency"].as_array().unwrap() {
        assert!(number(&line["latency_ms"]["median"]) > 0.0, "{line}");
    }
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 11);
    let agreeing = results.iter().filter(|result| result["top"][0]["index"] == result["f32_top1"]["index"]);
    assert!(agreeing.count() >= 9, "{found}");
    let result = &results[0];
    let again = json(&["run", string(&model), result["image"].as_str().unwrap(), "--json"]);
    assert_eq!(again["results"][0]["top"], result["top"]);
    assert_eq!(result["top"].as_array().unwrap().len(), 5);

    let printed = text(&resmlp(&["demo", "--keep", string(&model)]).stdout);
    for words in ["cat_face.jpg", "GMAC/s", "bit for bit", "cargo xtask test", "Check", "SQNR"] {
        assert!(printed.contains(words), "{printed}");
    }
}

#[test]
fn a_config_beside_the_weights_says_how_pictures_are_prepared() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| string(&folder.path().join(name)).to_owned();
    std::fs::copy(checkpoint(), path("model.safetensors")).unwrap();
    let config = r#"{"label_names": ["a", "b", "c", "d", "e"], "pretrained_cfg": {"mean": [0.5, 0.25, 0.5],
        "std": [0.5, 0.5, 0.5], "crop_pct": 0.75, "interpolation": "bilinear", "crop_mode": "squash"}}"#;
    std::fs::write(path("config.json"), config).unwrap();
    for named in [path("model.safetensors"), string(folder.path()).to_owned()] {
        let found = json(&["inspect", &named, "--std", "0.25,0.25,0.25", "--json"]);
        let (settings, sources) = (&found["preprocessing"], &found["preprocessing_sources"]);
        assert_eq!((&settings["mean"][1], &settings["std"][1]), (&0.25.into(), &0.25.into()));
        assert_eq!((&settings["fit"], &settings["resize"]), (&"squash".into(), &"bilinear".into()));
        assert_eq!((&sources["mean"], &sources["std"]), (&"config.json: pretrained_cfg.mean".into(), &"flag".into()));
        assert_eq!(sources["fit"], "config.json: pretrained_cfg.crop_mode");
    }
    write_picture(&folder.path().join("picture.png"), 1);
    let picture = path("picture.png");
    let found = json(&["run", &path("model.safetensors"), &picture, "--json"]);
    let label = found["results"][0]["top"][0]["label"].as_str().unwrap();
    assert!(["a", "b", "c", "d", "e"].contains(&label), "{label}");

    // What the config says is what the same flags say.
    let flags = ["--mean", "0.5,0.25,0.5", "--std", "0.5,0.5,0.5", "--resize-mode", "bilinear", "--fit", "squash"];
    let source = checkpoint();
    let by_flags = json(&[&["run", &source, &picture, "--json"], &flags[..]].concat());
    assert_eq!(found["results"][0]["logits"], by_flags["results"][0]["logits"]);

    std::fs::write(path("config.json"), "{\"mean\": 3").unwrap();
    let error = fails(&["inspect", &path("model.safetensors")], 1);
    assert!(error.contains("config.json") && error.contains("not JSON"), "{error}");
}

#[test]
fn inspect_says_where_the_size_of_the_pictures_comes_from() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("model.safetensors");
    std::fs::copy(checkpoint(), &weights).unwrap();
    let found = |flags: &[&str]| {
        let found = json(&[&["inspect", string(&weights), "--json"], flags].concat());
        (found["image"].clone(), found["image_source"].as_str().unwrap().to_owned())
    };
    let size = |height: u32, width: u32| Value::from(vec![height, width]);
    assert_eq!(found(&[]), (size(24, 24), "file".into()));
    assert_eq!(found(&["--image-size=8x72"]), (size(8, 72), "flag".into()));
    std::fs::write(folder.path().join("config.json"), r#"{"input_size": [3, 72, 8]}"#).unwrap();
    assert_eq!(found(&[]), (size(72, 8), "config.json: input_size".into()));
    assert_eq!(found(&["--image-size=8x72"]), (size(8, 72), "flag".into()));
    let shown = text(&resmlp(&["inspect", string(&weights)]).stdout);
    assert!(shown.contains("72 × 8 (config.json: input_size), patch 8") && shown.contains("labels"), "{shown}");
}
