//! Tests checkpoints in unusual containers: NumPy arrays, distributed tensors, several sets of weights, foreign names,
//! folders and files of other formats. The tests make several variations of each from random networks.

#[path = "common/state.rs"]
mod state;

use std::path::PathBuf;

use resmlp_checkpoint::{Checkpoint, LoadOptions, Tensor, Tensors, load};
use resmlp_network::{Activation, AffinePlacement, Dialect, Network};
use state::{
    Pickle, call, dict, global, network, number, open, pth, read_with, refusal, renamed, safetensors, shape, tensor,
    tensors, text, tuple,
};

// NumPy and distributed tensors --------------------------------------------------------------------------------------

/// Pickles `bytes` as protocol 2 does, with one letter for each byte.
fn latin1(bytes: &[u8]) -> Vec<u8> {
    let letters: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    call(global("_codecs", "encode"), &[text(&letters), text("latin1")])
}

fn dtype(code: &str, order: &str) -> Vec<u8> {
    let state = [number(3), text(order), b"N".to_vec(), b"N".to_vec(), b"N".to_vec(), number(0), number(0), number(0)];
    let dtype = call(global("numpy", "dtype"), &[text(code), b"\x89".to_vec(), b"\x88".to_vec()]);
    [dtype, tuple(&state), b"b".to_vec()].concat()
}

/// Pickles an array as NumPy does.
fn array(package: &str, lengths: &[usize], dtype: Vec<u8>, is_fortran: bool, data: Vec<u8>) -> Vec<u8> {
    let empty = call(
        global(&format!("{package}.multiarray"), "_reconstruct"),
        &[global("numpy", "ndarray"), tuple(&[number(0)]), latin1(b"b")],
    );
    let flag = if is_fortran { b"\x88".to_vec() } else { b"\x89".to_vec() };
    let state = tuple(&[number(1), shape(lengths), dtype, flag, data]);
    [empty, state, b"b".to_vec()].concat()
}

fn little_endian(tensor: &Tensor) -> Vec<u8> {
    tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn arrays(network: &Network, array: impl Fn(&Tensor) -> Vec<u8>) -> Result<Checkpoint, String> {
    let entries: Vec<_> = tensors(network).iter().map(|(name, tensor)| (name.clone(), array(tensor))).collect();
    open(Pickle::default().file(&dict(&[("model".into(), dict(&entries))])), &LoadOptions::default())
}

#[test]
fn numpy_arrays_are_read_as_tensors() {
    let original = network(11, Dialect::Timm);
    let bytes = |data: Vec<u8>| [b"B", &(data.len() as u32).to_le_bytes()[..], &data].concat();
    for package in ["numpy.core", "numpy._core"] {
        let old = |t: &Tensor| array(package, &t.shape, dtype("f4", "<"), false, latin1(&little_endian(t)));
        assert_eq!(arrays(&original, old).unwrap().network, original);
        let new = |t: &Tensor| array(package, &t.shape, dtype("f4", "<"), false, bytes(little_endian(t)));
        assert_eq!(arrays(&original, new).unwrap().network, original);
        let wide = |t: &Tensor| {
            let data = t.data.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect();
            array(package, &t.shape, dtype("f8", "<"), false, bytes(data))
        };
        assert_eq!(arrays(&original, wide).unwrap().network, original);
        let buffer = |t: &Tensor| {
            let arguments = [bytes(little_endian(t)), dtype("f4", "<"), shape(&t.shape), text("C")];
            call(global(&format!("{package}.numeric"), "_frombuffer"), &arguments)
        };
        assert_eq!(arrays(&original, buffer).unwrap().network, original);
        let columns_first = |t: &Tensor| match t.shape.as_slice() {
            [rows, columns] => {
                let data: Vec<f32> =
                    (0..*columns).flat_map(|c| (0..*rows).map(move |r| t.data[r * columns + c])).collect();
                let data = little_endian(&tensor(&[*rows, *columns], &data));
                array(package, &t.shape, dtype("f4", "<"), true, bytes(data))
            }
            _ => array(package, &t.shape, dtype("f4", "<"), false, bytes(little_endian(t))),
        };
        assert_eq!(arrays(&original, columns_first).unwrap().network, original);
        // A length may also be a NumPy scalar.
        let scalar = |length: usize| {
            let data = bytes((length as u64).to_le_bytes().to_vec());
            call(global(&format!("{package}.multiarray"), "scalar"), &[dtype("i8", "<"), data])
        };
        let scalars = |t: &Tensor| {
            let lengths = tuple(&t.shape.iter().map(|length| scalar(*length)).collect::<Vec<_>>());
            let arguments = [bytes(little_endian(t)), dtype("f4", "<"), lengths, text("C")];
            call(global(&format!("{package}.numeric"), "_frombuffer"), &arguments)
        };
        assert_eq!(arrays(&original, scalars).unwrap().network, original);
    }
    let error = |dtype: Vec<u8>| {
        arrays(&original, |t| array("numpy.core", &t.shape, dtype.clone(), false, bytes(little_endian(t)))).unwrap_err()
    };
    assert!(error(dtype("f4", ">")).contains("its type is big-endian numbers"));
    assert!(error(dtype("i4", "<")).contains("its type is I32"));
    assert!(error(dtype("f8", "<")).contains("bytes do not fit its shape"));
    assert!(error(text("f4")).contains("its type is a NumPy array of objects"));
}

#[test]
fn a_distributed_tensor_is_read_where_the_file_holds_it_all() {
    let original = network(12, Dialect::Deit);
    let distributed = |whole: &dyn Fn(&[usize]) -> Vec<usize>, has_slots: bool| {
        let mut pickle = Pickle::default();
        let entries: Vec<_> = tensors(&original)
            .iter()
            .map(|(name, tensor)| {
                let class = || global("torch.distributed.tensor", "DTensor");
                let mut state =
                    dict(&[("_local_tensor".into(), pickle.tensor(tensor)), ("_spec".into(), b"N".to_vec())]);
                if has_slots {
                    state = tuple(&[b"N".to_vec(), state]);
                }
                let inner = tuple(&[class(), global("torch", "float32"), shape(&whole(&tensor.shape)), shape(&[1])]);
                let arguments = [global("torch._utils", "_rebuild_wrapper_subclass"), class(), inner, state];
                (name.clone(), call(global("torch._tensor", "_rebuild_from_type_v2"), &arguments))
            })
            .collect();
        open(pickle.file(&dict(&entries)), &LoadOptions::default())
    };
    for has_slots in [false, true] {
        assert_eq!(distributed(&|shape| shape.to_vec(), has_slots).unwrap().network, original);
        let twice = |shape: &[usize]| std::iter::once(shape[0] * 2).chain(shape[1..].iter().copied()).collect();
        let error = distributed(&twice, has_slots).unwrap_err();
        assert!(error.contains("'patch_embed.proj.weight'") && error.contains("full_tensor()"), "{error}");
    }
}

// Several sets of weights --------------------------------------------------------------------------------------------

#[test]
fn a_key_chooses_among_dictionaries_and_among_prefixes() {
    let networks = [13, 14, 15].map(|seed| network(seed, Dialect::Timm));
    let options = |key: &str| LoadOptions { key: Some(key.into()), ..LoadOptions::default() };
    let nested = |keys: [&str; 3]| {
        let mut pickle = Pickle::default();
        let states: Vec<_> = keys
            .iter()
            .zip(&networks)
            .map(|(key, network)| (key.to_string(), pickle.state(&tensors(network))))
            .collect();
        pickle.file(&dict(&states))
    };
    for keys in
        [["model", "model_ema", "best"], ["student", "teacher", "state_dict"], ["state_dict_ema", "state_dict", "net"]]
    {
        for (key, wanted) in keys.iter().zip(&networks) {
            let found = open(nested(keys), &options(key)).unwrap();
            assert_eq!(found.network, *wanted, "{key}");
            assert!(
                found.notes.iter().any(|note| note.contains(&format!("from '{key}', not")) && note.contains("--key"))
            );
        }
        let error = open(nested(keys), &options("none")).unwrap_err();
        assert!(keys.iter().all(|key| error.contains(&format!("'{key}'"))) && error.contains("--key"), "{error}");
    }
    let flat: Tensors = ["student.", "teacher.module.", "ema_model."]
        .iter()
        .zip(&networks)
        .flat_map(|(prefix, network)| renamed(tensors(network), |name| format!("{prefix}{name}")))
        .collect();
    for (key, wanted) in ["student", "teacher", "ema_model"].iter().zip(&networks) {
        assert_eq!(read_with(&flat, &options(key)).unwrap().network, *wanted, "{key}");
    }
    assert!(
        read_with(&flat, &options("model")).unwrap_err().contains("expected 'ema_model', 'student', 'teacher.module'")
    );
    assert!(read_with(&tensors(&networks[0]), &options("model")).unwrap_err().contains("under no key"));
}

#[test]
fn one_of_several_networks_is_as_closed_as_a_single_one() {
    let networks = [20, 21].map(|seed| network(seed, Dialect::Deit));
    let flat = |prefixes: [&str; 2]| -> Tensors {
        let all = prefixes.iter().zip(&networks);
        all.flat_map(|(prefix, network)| renamed(tensors(network), |name| format!("{prefix}{name}"))).collect()
    };
    for prefixes in [["ema.", ""], ["teacher.backbone.", "student.backbone."], ["ema_model.", "online_model."]] {
        let whole = flat(prefixes);
        let read = |tensors: &Tensors| read_with(tensors, &LoadOptions::default());
        assert_eq!(read(&whole).unwrap().network, networks[0]);
        for new in ["pos_embed", "fc_norm.weight", "blocks.0.norm1.gamma", "head.1.weight"] {
            let mut with = whole.clone();
            with.insert(format!("{}{new}", prefixes[0]), tensor(&[3], &[0.5; 3]));
            assert!(read(&with).unwrap_err().contains(new), "{new}");
        }
    }
    // A classifier beside two backbones may belong to either of them.
    let mut shared = flat(["teacher.", "student."]);
    shared.retain(|name, _| !name.contains(".head."));
    shared.insert("head.weight".into(), tensor(&[4, 3], &[0.5; 12]));
    shared.insert("head.bias".into(), tensor(&[4], &[0.5; 4]));
    assert!(read_with(&shared, &LoadOptions::default()).unwrap_err().contains("any of several networks"));
    let options = LoadOptions { embedding: true, ..LoadOptions::default() };
    assert_eq!(read_with(&shared, &options).unwrap().network, Network { head: None, ..networks[0].clone() });
}

// A map of names -----------------------------------------------------------------------------------------------------

const MAP: &str = r#"
[names]
"stem.proj.weight" = "embed.weight"
"stem.proj.bias" = "embed.bias"
"blocks.{}.norm1.alpha" = "layer{}.a1.scale"
"blocks.{}.norm1.beta" = "layer{}.a1.shift"
"blocks.{}.norm2.alpha" = "layer{}.a2.scale"
"blocks.{}.norm2.beta" = "layer{}.a2.shift"
"blocks.{}.linear_tokens.weight" = "layer{}.mix.weight"
"blocks.{}.linear_tokens.bias" = "layer{}.mix.bias"
"blocks.{}.mlp_channels.fc1.weight" = "layer{}.up.weight"
"blocks.{}.mlp_channels.fc1.bias" = "layer{}.up.bias"
"blocks.{}.mlp_channels.fc2.weight" = "layer{}.down.weight"
"blocks.{}.mlp_channels.fc2.bias" = "layer{}.down.bias"
"blocks.{}.ls1" = "layer{}.g1"
"blocks.{}.ls2" = "layer{}.g2"
"norm.alpha" = "last.scale"
"norm.beta" = "last.shift"
"head.weight" = "classes.weight"
"head.bias" = "classes.bias"
"#;

/// Returns the network's tensors under the names of [`MAP`], with the blocks numbered from `first`.
fn mapped(network: &Network, first: usize) -> Tensors {
    let pairs: Vec<_> = MAP
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(a, b)| (a.trim_matches('"'), b.trim_matches('"')))
        .collect();
    renamed(tensors(network), |name| {
        let found = pairs.iter().find_map(|(timm, theirs)| {
            (0..2)
                .find(|index| timm.replace("{}", &index.to_string()) == name)
                .map(|index| theirs.replace("{}", &(index + first).to_string()))
        });
        found.unwrap()
    })
}

fn read_mapped(tensors: &Tensors, map: &str) -> Result<Checkpoint, String> {
    let scratch = tempfile::tempdir().unwrap();
    let path: PathBuf = scratch.path().join("names.toml");
    std::fs::write(&path, map).unwrap();
    read_with(tensors, &LoadOptions { names: Some(path), ..LoadOptions::default() })
}

#[test]
fn a_map_of_names_leads_any_names_to_the_network() {
    let original = network(16, Dialect::Timm);
    assert!(refusal(&mapped(&original, 0)).contains("--names"));
    assert_eq!(read_mapped(&mapped(&original, 0), MAP).unwrap().network, original);
    assert_eq!(read_mapped(&mapped(&original, 1), &format!("first_block = 1\n{MAP}")).unwrap().network, original);
    let wrapped = renamed(mapped(&original, 0), |name| format!("module._orig_mod.{name}"));
    assert_eq!(read_mapped(&wrapped, MAP).unwrap().network, original);
    let stream = Network { placement: AffinePlacement::Stream, ..original.clone() };
    assert_eq!(read_mapped(&mapped(&original, 0), &format!("affine = \"stream\"\n{MAP}")).unwrap().network, stream);
    let relu = read_mapped(&mapped(&original, 0), &format!("activation = \"relu\"\n{MAP}")).unwrap();
    assert_eq!(relu.network.activation, Activation::Relu);
    let transposed: Tensors = mapped(&original, 0)
        .into_iter()
        .map(|(name, t)| match t.shape.as_slice() {
            [rows, columns] => {
                let data: Vec<f32> = (0..*columns)
                    .flat_map(|c| (0..*rows).map(|r| t.data[r * columns + c]).collect::<Vec<_>>())
                    .collect();
                (name, tensor(&[*columns, *rows], &data))
            }
            _ => (name, t),
        })
        .collect();
    assert_eq!(read_mapped(&transposed, &format!("linear = \"in_out\"\n{MAP}")).unwrap().network, original);
    let mut plain = original.clone();
    plain.final_affine.alpha.fill(1.0);
    plain.final_affine.beta.fill(0.0);
    let mut without = mapped(&original, 0);
    let no_final = format!("final_affine = false\n{MAP}");
    assert!(read_mapped(&without, &no_final).unwrap_err().contains("tensor 'last.scale': unexpected"));
    without.retain(|name, _| !name.starts_with("last."));
    assert_eq!(read_mapped(&without, &no_final).unwrap().network, plain);
}

#[test]
fn a_map_that_does_not_fit_says_where() {
    let original = network(17, Dialect::Timm);
    let tensors = mapped(&original, 0);
    for (map, words) in [
        (MAP.replace("layer{}.g2", "layer.g2"), "expected {} once on the right"),
        (MAP.replace("blocks.{}.ls2", "blocks.{}.ls3"), "'blocks.{}.ls3' is none of timm's names"),
        (MAP.replace("\"blocks.{}.ls2\" = \"layer{}.g2\"\n", ""), "'blocks.{}.ls2' is not given"),
        (MAP.replace("layer{}.g2", "layer{}.g1"), "is given for two of timm's names"),
        (MAP.replace("layer{}.g2", "layer{}.gamma"), "tensor 'blocks.0.ls2': missing"),
        (MAP.replace("\"head.bias\" = \"classes.bias\"\n", ""), "'head.bias': missing"),
        (format!("linear = \"columns\"\n{MAP}"), "linear = \"columns\"; expected \"in_out\" or \"out_in\""),
        (format!("first_blok = 1\n{MAP}"), "unknown key 'first_blok'"),
        (format!("first_block = 1\n{MAP}"), "tensor 'layer0."),
        ("linear = in_out".to_string(), "not a map of names in TOML"),
        ("linear = \"in_out\"".to_string(), "no table [names]"),
    ] {
        let error = read_mapped(&tensors, &map).unwrap_err();
        assert!(error.contains(words), "{error}, expected {words}");
    }
    for name in tensors.keys() {
        let mut without = tensors.clone();
        without.remove(name);
        assert!(read_mapped(&without, MAP).is_err(), "{name}");
        let mut with = tensors.clone();
        with.insert(format!("{name}x"), tensors[name].clone());
        assert!(read_mapped(&with, MAP).unwrap_err().contains(&format!("'{name}x'")));
    }
}

// Other networks and other formats -----------------------------------------------------------------------------------

#[test]
fn networks_that_only_look_alike_are_told_apart() {
    let original = network(18, Dialect::Timm);
    let whole = tensors(&original);
    let with = |name: &str, shape: &[usize]| {
        let mut tensors = whole.clone();
        tensors.insert(name.into(), tensor(shape, &vec![0.5; shape.iter().product()]));
        refusal(&tensors)
    };
    assert!(with("stem.proj.weight", &[3, 1, 2, 2]).contains("one colour (grey)"));
    assert!(with("stem.proj.weight", &[3, 4, 2, 2]).contains("pictures of 4 colours"));
    let mut flat = tensors(&network(18, Dialect::Lucidrains));
    flat.insert("1.weight".into(), tensor(&[3, 4], &[0.5; 12]));
    assert!(refusal(&flat).contains("one colour (grey)"));
    assert!(with("blocks.0.mlp_tokens.fc1.weight", &[3, 3]).contains("as in MLP-Mixer"));
    assert!(with("blocks.0.mlp_channels.gate.proj.weight", &[3, 3]).contains("as in gMLP"));
    let mut no_mixing = whole.clone();
    no_mixing.retain(|name, _| !name.contains("linear_tokens"));
    assert!(refusal(&no_mixing).contains("no linear layer across patches"));
    // The names are those of MLP-Mixers by several authors, of a gMLP, and of a network with an unusual name for its
    // linear layer across patches.
    let names = |names: &[&str]| {
        let tensors = names.iter().map(|name| (name.to_string(), tensor(&[2, 3], &[0.5; 6])));
        refusal(&tensors.collect())
    };
    for mixer in [
        ["mixer_blocks.0.token_mix.2.net.0.weight", "mixer_blocks.0.token_mix.2.net.3.weight"],
        ["layers.0.token_mixing.dense1.weight", "layers.0.token_mixing.dense2.weight"],
        ["blocks.0.mlp_tokens.fc1.weight", "blocks.0.mlp_tokens.fc2.weight"],
    ] {
        assert!(names(&mixer).contains("as in MLP-Mixer; a ResMLP has one linear layer"), "{}", names(&mixer));
    }
    assert!(
        names(&["2.0.fn.0.weight", "2.0.fn.3.weight", "2.0.norm.weight"])
            .contains("layer normalisation, as in MLP-Mixer")
    );
    assert!(names(&["layers.0.fn.sgu.proj.weight"]).contains("as in gMLP"));
    let own = names(&["net_0_token_mixing.weight", "net_1_token_mixing.weight", "net_0_norm.ww"]);
    assert!(own.contains("--names") && !own.contains("Mixer"), "{own}");
    let adapter = renamed(whole.clone(), |name| format!("base_model.model.{name}.lora_A.weight"));
    assert!(refusal(&adapter).contains("a LoRA adapter") && refusal(&adapter).contains("merge_and_unload"));
}

#[test]
fn a_file_of_another_kind_is_named_with_a_way_out() {
    for (start, words) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:00"[..], ["Git LFS pointer", "git lfs pull"]),
        (b"<!DOCTYPE html>\n<html>", ["an HTML page", "download"]),
        (b"  <HTML lang=en>", ["an HTML page", "download"]),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03", ["gzip", "unpack it"]),
        (b"\xfd7zXZ\x00\x00", ["xz", "unpack it"]),
        (b"\x1c\x00\x00\x00TFL3\x14\x00\x20\x00", ["TFLite", "converted from"]),
        (b"\x81\xa6params\x82\xa6blocks", ["Flax", "msgpack_restore"]),
        (b"\xde\x00\x10\xa6params", ["Flax", "msgpack_restore"]),
        (b"\x89HDF\r\n\x1a\n", ["HDF5", "model.export"]),
        (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}", ["a Python pickle", "torch.save"]),
        (b"\x93NUMPY\x01\x00", ["one NumPy array", "safetensors"]),
        (b"{\"weight_map\": {}}", ["a JSON text", "merge the shards"]),
    ] {
        let error = open(start.to_vec(), &LoadOptions::default()).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}, expected {words:?}");
    }
    for (names, words) in [
        (&["config.json", "metadata.json", "model.weights.h5"][..], ["Keras", "model.export"]),
        (&["stem.proj.weight.npy", "norm.alpha.npy"], [".npz", "save_file"]),
        (&["resmlp/archive_format", "resmlp/models/model.json"], [".pt2", "torch.export.load"]),
        (&["serialized_exported_program.json"], [".pt2", "torch.export.load"]),
        (&["weights/model.pth", "README.md"], ["a packed folder", "unpack"]),
        (&["README.md"], ["no checkpoint", "torch.save"]),
        (&["a/data.pkl", "a/constants.pkl", "a/code/__torch__.py"], ["TorchScript", "state_dict()"]),
    ] {
        let error = open(archive(names), &LoadOptions::default()).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}, expected {words:?}");
    }
}

/// Returns a zip archive with entries of these names, each of which holds an empty pickle.
fn archive(names: &[&str]) -> Vec<u8> {
    use std::io::Write;
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for name in names {
        archive.start_file(*name, stored).unwrap();
        archive.write_all(b"\x80\x02}.").unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_folder_stands_for_the_weights_in_it() {
    let original = network(19, Dialect::Timm);
    for (name, bytes) in
        [("model.safetensors", safetensors(&tensors(&original))), ("pytorch_model.bin", pth(&tensors(&original)))]
    {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        assert_eq!(load(folder.path(), &LoadOptions::default()).unwrap().network, original);
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(load(empty.path(), &LoadOptions::default()).unwrap_err().to_string().contains("model.safetensors"));
}
