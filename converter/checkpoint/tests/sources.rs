//! Tests that every checkpoint fixture loads and gives PyTorch's logits, and that damaged and foreign files give errors
//! with the reason.

use std::path::{Path, PathBuf};

use resmlp_checkpoint::{Checkpoint, Format, GELU_IS_ASSUMED, LoadOptions, Tensor, Tensors, load, load_bytes};
use resmlp_network::{Dialect, Network};
use resmlp_testing::evaluate;
use resmlp_testing::fixtures::{Fixture, expected, folder};

// Fixtures -----------------------------------------------------------------------------------------------------------

fn geometry(fixture: &Fixture, checkpoint: &Checkpoint) -> Result<(), String> {
    let network = &checkpoint.network;
    let found = (network.image, network.patch, network.tokens(), network.dim(), network.hidden(), network.blocks.len());
    let wanted = (fixture.image, fixture.patch, fixture.tokens, fixture.dim, fixture.hidden, fixture.depth);
    if found != wanted || network.head.as_ref().map(|head| head.weight.rows) != fixture.classes {
        return Err(format!("geometry {found:?}, expected {wanted:?}"));
    }
    let dialect = match (fixture.format.as_str(), fixture.dialect.as_str()) {
        ("onnx", _) => Dialect::Onnx,
        (_, "deit") => Dialect::Deit,
        (_, "timm") => Dialect::Timm,
        (_, "lucidrains") => Dialect::Lucidrains,
        (_, "rishikksh20") => Dialect::Rishikksh20,
        (_, other) => return Err(format!("dialect {other} in expected.json")),
    };
    let format = match fixture.format.as_str() {
        "safetensors" => Format::Safetensors,
        "onnx" => Format::Onnx,
        "legacy" => Format::PthLegacy,
        "zip" => Format::PthZip,
        other => return Err(format!("format {other} in expected.json")),
    };
    if (network.dialect, checkpoint.format) != (dialect, format) {
        return Err(format!("{:?} {:?}, expected {dialect:?} {format:?}", network.dialect, checkpoint.format));
    }
    Ok(())
}

fn agreement(fixture: &Fixture, network: &Network) -> Result<(), String> {
    for (picture, wanted) in fixture.pictures().iter().zip(&fixture.logits) {
        let found = evaluate(network, &fixture.preprocess().normalise(picture)).logits;
        let error = found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if found.len() != wanted.len() || found.iter().any(|v| v.is_nan()) || error > 1e-4 {
            return Err(format!("logits differ by {error}: {found:?}, expected {wanted:?}"));
        }
    }
    Ok(())
}

fn all_fixtures_of(format: impl Fn(&Fixture) -> bool) {
    let fixtures: Vec<_> = expected().fixtures.into_iter().filter(format).collect();
    assert!(!fixtures.is_empty());
    let failures: Vec<String> = fixtures
        .iter()
        .filter_map(|fixture| {
            let checkpoint = load(&fixture.path(), &fixture.load_options()).map_err(|e| e.to_string());
            let outcome = checkpoint.and_then(|checkpoint| {
                geometry(fixture, &checkpoint)?;
                agreement(fixture, &checkpoint.network)
            });
            outcome.err().map(|message| format!("{}: {message}", fixture.file))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), fixtures.len(), failures.join("\n"));
}

#[test]
fn safetensors_give_pytorchs_logits() {
    all_fixtures_of(|fixture| fixture.format == "safetensors");
}

#[test]
fn pth_gives_pytorchs_logits() {
    all_fixtures_of(|fixture| ["zip", "legacy"].contains(&fixture.format.as_str()));
}

#[test]
fn onnx_gives_pytorchs_logits() {
    all_fixtures_of(|fixture| fixture.format == "onnx");
}

#[test]
fn foreign_and_damaged_checkpoints_are_refused_by_name() {
    for refused in expected().refused {
        let path = folder().join(&refused.file);
        let error = load(&path, &LoadOptions::default()).map(|_| ()).expect_err(&refused.why).to_string();
        assert!(error.contains(&refused.must_name), "{}: {error}, expected {}", refused.why, refused.must_name);
        assert!(error.contains(&refused.file), "{error}");
    }
    let executed = "the-pickle-was-executed.tmp";
    assert!(![folder(), ".".into()].iter().any(|at: &PathBuf| at.join(executed).exists()));
}

// The trained network in shared data ---------------------------------------------------------------------------------

#[test]
#[ignore = "needs the shared data: set RESMLP_SHARED"]
fn the_trained_checkpoint_is_the_same_network_in_every_format() {
    let shared = PathBuf::from(std::env::var_os("RESMLP_SHARED").expect("RESMLP_SHARED names the folder"));
    let network = |name: &str| load(&shared.join("checkpoints").join(name), &LoadOptions::default()).unwrap();
    let safetensors = network("resmlp_cifar10_timm.safetensors");
    let pth = network("resmlp_cifar10_timm.pth");
    let mut onnx = network("resmlp_cifar10_timm.onnx");
    assert_eq!((safetensors.network.tokens(), safetensors.network.dim(), safetensors.network.outputs()), (64, 128, 10));
    assert_eq!(safetensors.network, pth.network);
    onnx.network.dialect = Dialect::Timm;
    assert!(safetensors.network == onnx.network, "the ONNX graph folds nothing that changes a weight");
    assert_eq!((pth.parameters, onnx.parameters), (safetensors.parameters, safetensors.parameters));
}

// Small files made here ----------------------------------------------------------------------------------------------

#[test]
fn a_folder_an_empty_file_and_a_text_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let error = |path: &Path| load(path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error(scratch.path()).contains("expected a checkpoint file"));
    let path = scratch.path().join("model.pth");
    std::fs::write(&path, b"").unwrap();
    assert!(error(&path).contains("the file is empty"));
    std::fs::write(&path, b"hello, world").unwrap();
    assert!(error(&path).contains("found 12 bytes that begin with 68 65 6c 6c 6f 2c 20 77"));
    std::fs::write(&path, br#"{"metadata": {}, "weight_map": {}}"#).unwrap();
    assert!(error(&path).contains("a JSON text") && error(&path).contains("merge the shards"), "{}", error(&path));
    std::fs::write(&path, b"RESMLP\r\nand more of it").unwrap();
    assert!(error(&path).contains("not a checkpoint but a packed model"), "{}", error(&path));
    assert!(error(&scratch.path().join("absent")).contains("absent"));
}

/// Returns a tiny network under timm's names, with 2 patches of 4 × 4 pixels, 3 channels, 5 hidden units, 1 block and 2
/// classes.
fn tiny() -> Tensors {
    let shapes: [(&str, &[usize]); 18] = [
        ("stem.proj.weight", &[3, 3, 4, 4]),
        ("stem.proj.bias", &[3]),
        ("blocks.0.norm1.alpha", &[1, 1, 3]),
        ("blocks.0.norm1.beta", &[1, 1, 3]),
        ("blocks.0.linear_tokens.weight", &[2, 2]),
        ("blocks.0.linear_tokens.bias", &[2]),
        ("blocks.0.ls1", &[3]),
        ("blocks.0.norm2.alpha", &[1, 1, 3]),
        ("blocks.0.norm2.beta", &[1, 1, 3]),
        ("blocks.0.mlp_channels.fc1.weight", &[5, 3]),
        ("blocks.0.mlp_channels.fc1.bias", &[5]),
        ("blocks.0.mlp_channels.fc2.weight", &[3, 5]),
        ("blocks.0.mlp_channels.fc2.bias", &[3]),
        ("blocks.0.ls2", &[3]),
        ("norm.alpha", &[1, 1, 3]),
        ("norm.beta", &[1, 1, 3]),
        ("head.weight", &[2, 3]),
        ("head.bias", &[2]),
    ];
    let tensor = |shape: &[usize]| Tensor { shape: shape.to_vec(), data: vec![0.5; shape.iter().product()] };
    shapes.iter().map(|(name, shape)| (name.to_string(), tensor(shape))).collect()
}

/// Returns the network of [`tiny`] with one patch.
fn tiny_square() -> Tensors {
    let mut tensors = tiny();
    for (part, shape) in [("weight", vec![1, 1]), ("bias", vec![1])] {
        tensors.insert(format!("blocks.0.linear_tokens.{part}"), Tensor { shape, data: vec![0.5] });
    }
    tensors
}

/// Reads the tensors from a safetensors file and returns the network and the notes.
fn named(tensors: Tensors, image: Option<[usize; 2]>) -> Result<(Network, Vec<String>), String> {
    let options = LoadOptions { image, ..LoadOptions::default() };
    let checkpoint = load_bytes(Path::new("tiny.safetensors"), safetensors(tensors, "none"), &options);
    let mut checkpoint = checkpoint.map_err(|e| e.to_string())?;
    assert_eq!(checkpoint.notes.pop().as_deref(), Some(GELU_IS_ASSUMED));
    Ok((checkpoint.network, checkpoint.notes))
}

#[test]
fn a_grid_that_is_not_square_needs_the_pictures_size() {
    assert!(
        named(tiny(), None)
            .unwrap_err()
            .contains("2 patches of 4 × 4, which form no square; expected --image-size HxW")
    );
    assert!(named(tiny(), Some([8, 8])).unwrap_err().contains("8 × 8 pixels"));
    assert!(named(tiny(), Some([9, 4])).unwrap_err().contains("9 × 4 pixels"));
    assert_eq!(named(tiny(), Some([8, 4])).unwrap().0.image, [8, 4]);
    assert_eq!(
        named(tiny(), Some([4, 8])).unwrap().0.parameters(),
        tiny().values().map(|t| t.data.len()).sum::<usize>()
    );
}

#[test]
fn a_shard_is_called_one() {
    let scratch = tempfile::tempdir().unwrap();
    let error = |name: &str| {
        let path = scratch.path().join(name);
        std::fs::copy(folder().join("refused/timm-missing-tensor.safetensors"), &path).unwrap();
        load(&path, &LoadOptions::default()).unwrap_err().to_string()
    };
    let first = error("model-00001-of-00004.safetensors");
    assert!(first.contains("shard 1 of 4") && first.contains("merge the shards"), "{first}");
    for whole in ["model.safetensors", "model-00001-of-00001.safetensors", "a-run-of-luck", "7-of-9"] {
        assert!(!error(whole).contains("shard"), "{}", error(whole));
    }
}

/// Returns a safetensors file of the tensors; those whose names begin with `integers` hold 32-bit integers.
fn safetensors(tensors: Tensors, integers: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut header = serde_json::Map::new();
    for (name, Tensor { shape, data }) in tensors {
        let start = bytes.len();
        bytes.extend(data.iter().flat_map(|value| value.to_le_bytes()));
        let dtype = if name.starts_with(integers) { "I32" } else { "F32" };
        let entry = serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, bytes.len()] });
        header.insert(name, entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat()
}

#[test]
fn a_safetensors_file_without_floats_where_they_belong_is_refused_by_name() {
    for (integers, name) in [("stem", "stem.proj.weight"), ("norm.b", "norm.beta"), ("head", "head.weight")] {
        let file = safetensors(tiny_square(), integers);
        let error = load_bytes(Path::new("my.safetensors"), file, &LoadOptions::default()).unwrap_err().to_string();
        assert_eq!(error, format!("my.safetensors: tensor '{name}': its type is I32; expected F16, BF16, F32 or F64"));
    }
    let mut tensors = tiny_square();
    tensors.insert("step".into(), Tensor { shape: vec![1], data: vec![1.0] });
    assert!(load_bytes(Path::new("my.safetensors"), safetensors(tensors, "step"), &LoadOptions::default()).is_ok());
}

#[test]
fn a_length_past_the_formats_is_refused_by_name() {
    let refusal = |name: &str, shape: &[usize]| {
        let mut tensors = tiny_square();
        for (part, shape) in [("weight", shape), ("bias", &shape[..1])] {
            let data = vec![0.5; shape.iter().product()];
            tensors.insert(format!("{name}.{part}"), Tensor { shape: shape.to_vec(), data });
        }
        let file = safetensors(tensors, "none");
        load_bytes(Path::new("large.safetensors"), file, &LoadOptions::default()).map(|_| ()).map_err(|e| e.to_string())
    };
    assert_eq!(refusal("head", &[32_768, 3]), Ok(()));
    let error = refusal("head", &[32_769, 3]).unwrap_err();
    assert_eq!(error, "large.safetensors: the network has 32769 classes, expected at most 32768");
    let error = refusal("stem.proj", &[3, 3, 105, 105]).unwrap_err();
    assert!(error.contains("33075 numbers a patch (3 · patch · patch), expected at most 32768"), "{error}");
}

#[test]
fn every_tensor_is_needed_in_its_own_shape() {
    let is_head = |name: &str| name.starts_with("head.");
    for name in tiny().keys().filter(|name| !is_head(name)) {
        let mut tensors = tiny();
        let tensor = tensors.remove(name).unwrap();
        let error = named(tensors.clone(), Some([4, 8])).unwrap_err();
        assert!(error.contains(&format!("tiny.safetensors: tensor '{name}': missing")), "{error}");
        let Tensor { mut shape, mut data } = tensor;
        *shape.last_mut().unwrap() += 1;
        data.resize(shape.iter().product(), 0.5);
        tensors.insert(name.clone(), Tensor { shape, data });
        let error = named(tensors, Some([4, 8])).unwrap_err();
        assert!(error.contains("tiny.safetensors: tensor '") && error.contains("expected ["), "{name}: {error}");
    }
}

#[test]
fn a_head_is_whole_or_absent() {
    let mut tensors = tiny();
    tensors.remove("head.bias");
    assert!(named(tensors.clone(), Some([4, 8])).unwrap_err().contains("tensor 'head.bias': missing"));
    tensors.remove("head.weight");
    let (network, _) = named(tensors, Some([4, 8])).unwrap();
    assert_eq!((network.head.as_ref(), network.outputs()), (None, 3));
}

#[test]
fn what_does_not_belong_is_an_error_unless_it_is_a_known_stranger() {
    let stray = Tensor { shape: vec![1], data: vec![1.0] };
    let with = |name: &str| {
        let mut tensors = tiny();
        tensors.insert(name.into(), stray.clone());
        named(tensors, Some([4, 8]))
    };
    let error = with("blocks.0.norm1.gamma").unwrap_err();
    assert!(error.contains("tensor 'blocks.0.norm1.gamma': unexpected"), "{error}");
    assert!(with("blocks.0.attn.qkv.weight").unwrap_err().contains("not a ResMLP: found blocks.0.attn.qkv.weight"));
    let error = with("head_dist.weight").unwrap_err();
    assert!(error.contains("tensor 'head_dist.weight': a second classifier beside 'head'"), "{error}");
    let (_, notes) = with("n_averaged").unwrap();
    assert_eq!(notes, ["left out: 'n_averaged' (a counter)"]);
}

#[test]
fn a_network_with_mlps_but_no_affs_is_no_resmlp() {
    let tensor = Tensor { shape: vec![1], data: vec![1.0] };
    let name = |index: usize| format!("stages.{}.blocks.{}.mlp.fc{}.weight", index / 8, index / 2 % 4, 1 + index % 2);
    let error = named((0..16).map(|index| (name(index), tensor.clone())).collect(), None).unwrap_err();
    assert!(error.contains("not a ResMLP: found 16 tensors: stages.0.blocks.0.mlp.fc1.weight"), "{error}");
}

/// Returns two networks in one dictionary, under the two prefixes.
fn two(prefixes: [&str; 2]) -> Tensors {
    let of =
        |prefix: &str| tiny().into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect::<Vec<_>>();
    prefixes.into_iter().flat_map(of).collect()
}

#[test]
fn of_two_networks_an_average_comes_first_and_then_a_teacher_in_every_run() {
    for (prefixes, taken) in [
        (["student.", "teacher."], "weights taken from 'teacher.', not from 'student.' (--key chooses)"),
        (["ema.", "net."], "weights taken from 'ema.', not from 'net.' (--key chooses)"),
        (["ema.", "network."], "weights taken from 'ema.', not from 'network.' (--key chooses)"),
        (
            ["model_ema.module.", "teacher."],
            "weights taken from 'model_ema.module.', not from 'teacher.' (--key chooses)",
        ),
        (["schema.", "a."], "weights taken from 'a.', not from 'schema.' (--key chooses)"),
        (["", "ema."], "weights taken from 'ema.', not from '' (--key chooses)"),
        (["", "backbone."], "weights taken from '', not from 'backbone.' (--key chooses)"),
    ] {
        for _ in 0..20 {
            let (_, notes) = named(two(prefixes), Some([4, 8])).unwrap();
            assert!(notes.iter().any(|note| note == taken), "{notes:?}, expected {taken}");
        }
    }
    let mut larger = two(["ema.", "net."]);
    larger.retain(|name, _| !name.starts_with("ema.blocks.0.norm"));
    let (_, notes) = named(larger, Some([4, 8])).unwrap();
    assert!(notes.iter().any(|note| note == "weights taken from 'net.', not from 'ema.' (--key chooses)"), "{notes:?}");
}

/// Copies the fixture with external data into `to` and changes the location of its data to `location`.
///
/// The location is padded with `x` to the length of the original one.
fn with_location(to: &Path, location: &str) -> PathBuf {
    const ORIGINAL: &str = "timm-dynamo-18-external.onnx.data";
    let location = filled(location);
    let mut bytes = std::fs::read(folder().join("onnx/timm-dynamo-18-external.onnx")).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(ORIGINAL.as_bytes())).collect();
    assert!(!places.is_empty() && location.len() == ORIGINAL.len());
    for at in places {
        bytes[at..at + location.len()].copy_from_slice(location.as_bytes());
    }
    let path = to.join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    path
}

fn filled(name: &str) -> String {
    format!("{name:x<33}")
}

#[test]
fn external_data_stays_in_the_models_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let inside = scratch.path().join("inside");
    std::fs::create_dir(&inside).unwrap();
    let data = std::fs::read(folder().join("onnx/timm-dynamo-18-external.onnx.data")).unwrap();
    let outside = scratch.path().join(filled("../outside").trim_start_matches("../"));
    std::fs::write(&outside, &data).unwrap();
    let outcome = |location: &str| load(&with_location(&inside, location), &LoadOptions::default());
    let error = |location: &str| outcome(location).unwrap_err().to_string();
    assert!(error("../outside").contains("expected a file in the model's folder"));
    assert!(error("/etc/passwd").contains("expected a file in the model's folder"));
    assert!(error("absent").contains("external data in 'absentx"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&outside, inside.join(filled("link"))).unwrap();
        assert!(error("link").contains("a link out of the model's folder"));
        std::fs::hard_link(&outside, inside.join(filled("hard"))).unwrap();
        assert!(error("hard").contains("a second name (a hard link)"));
        std::os::unix::fs::symlink(scratch.path(), inside.join("out")).unwrap();
        std::fs::write(scratch.path().join(filled("out/file").trim_start_matches("out/")), &data).unwrap();
        assert!(error("out/file").contains("a link out of the model's folder"));
        std::fs::create_dir(inside.join(filled("folder"))).unwrap();
        assert!(error("folder").contains("which is not a file"));
        // Opening a pipe would block for ever.
        assert!(std::process::Command::new("mkfifo").arg(inside.join(filled("pipe"))).status().unwrap().success());
        assert!(error("pipe").contains("which is not a file"));
    }
    std::fs::write(inside.join(filled("short")), &data[..data.len() / 2]).unwrap();
    assert!(error("short").contains("shortx"));
    std::fs::write(inside.join(filled("same")), &data).unwrap();
    assert!(outcome("same").is_ok());
}
