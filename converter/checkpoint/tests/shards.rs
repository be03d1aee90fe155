//! Checkpoints that are split into several files, which an index lists.

#[path = "common/state.rs"]
mod state;

use std::collections::BTreeMap;
use std::path::Path;

use resmlp_checkpoint::{Checkpoint, LoadOptions, Tensors, load};
use resmlp_network::Network;
use state::{DIALECTS, network, pth, pth_zip, safetensors, tensor, tensors};

/// Splits the tensors over `count` files in turn, and writes the files with their index into `folder`.
fn write(folder: &Path, all: &Tensors, count: usize, stem: &str, encode: fn(&Tensors) -> Vec<u8>) {
    let (name, extension) = stem.split_once('.').unwrap();
    let mut shards = vec![Tensors::new(); count];
    let mut map = BTreeMap::new();
    for (at, (tensor, values)) in all.iter().enumerate() {
        shards[at % count].insert(tensor.clone(), values.clone());
        map.insert(tensor, format!("{name}-{:05}-of-{count:05}.{extension}", at % count + 1));
    }
    for (at, shard) in shards.iter().enumerate() {
        std::fs::write(folder.join(format!("{name}-{:05}-of-{count:05}.{extension}", at + 1)), encode(shard)).unwrap();
    }
    index(folder, stem, &serde_json::json!({"metadata": {"total_size": 1}, "weight_map": map}));
}

fn index(folder: &Path, stem: &str, json: &serde_json::Value) {
    std::fs::write(folder.join(format!("{stem}.index.json")), json.to_string()).unwrap();
}

fn read(path: &Path) -> Result<Checkpoint, String> {
    load(path, &LoadOptions::default()).map_err(|error| error.to_string())
}

/// Writes the tensors of `original` as three safetensors files.
fn split(original: &Network) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &tensors(original), 3, "model.safetensors", safetensors);
    folder
}

#[test]
fn shards_are_read_together_from_their_folder_or_their_index() {
    for dialect in DIALECTS {
        let original = network(4, dialect);
        for (stem, encode) in [
            ("model.safetensors", safetensors as fn(&Tensors) -> Vec<u8>),
            ("pytorch_model.bin", pth),
            ("pytorch_model.bin", pth_zip),
        ] {
            for count in [1, 2, 5] {
                let folder = tempfile::tempdir().unwrap();
                write(folder.path(), &tensors(&original), count, stem, encode);
                let found = read(folder.path()).unwrap();
                assert_eq!(found.network, original);
                assert_eq!(read(&folder.path().join(format!("{stem}.index.json"))).unwrap().network, original);
                let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap());
                let shards = files.filter(|file| !file.file_name().to_string_lossy().ends_with(".json"));
                assert_eq!(found.bytes, shards.map(|file| file.metadata().unwrap().len()).sum::<u64>());
            }
        }
    }
}

#[test]
fn a_tensor_more_or_less_is_refused_by_its_name() {
    let original = network(5, DIALECTS[0]);
    let second = "model-00002-of-00003.safetensors";
    for name in tensors(&original).keys() {
        let mut less = tensors(&original);
        less.remove(name);
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &less, 3, "model.safetensors", safetensors);
        let error = read(folder.path()).unwrap_err();
        assert!(error.contains(&format!("'{name}'")), "{error}");

        // The second shard also has a tensor that the index does not list there, or under another name.
        let folder = split(&original);
        let bytes = std::fs::read(folder.path().join(second)).unwrap();
        let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let own = file.names().iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let all = tensors(&original);
        let mut shard: Tensors = own.iter().map(|name| (name.clone(), all[name].clone())).collect();
        if own.contains(name) {
            let values = shard.remove(name).unwrap();
            shard.insert(format!("{name}x"), values);
        } else {
            shard.insert(name.clone(), tensor(&[1], &[0.5]));
        }
        std::fs::write(folder.path().join(second), safetensors(&shard)).unwrap();
        let error = read(folder.path()).unwrap_err();
        assert!(error.contains(&format!("tensor '{name}'")), "{error}");
    }
}

#[test]
fn an_index_leads_nowhere_else() {
    let original = network(6, DIALECTS[0]);
    let folder = split(&original);
    let path = folder.path().join("model.safetensors.index.json");
    for file in ["../model.safetensors", "/etc/passwd", "a/b", ".hidden", "..", "a\\b", ""] {
        index(folder.path(), "model.safetensors", &serde_json::json!({"weight_map": {"x": file}}));
        let error = read(&path).unwrap_err();
        assert!(error.contains("in the folder of the index") || file.is_empty(), "{error}");
    }
    for json in ["", "{}", "[]", r#"{"weight_map": {}}"#, r#"{"weight_map": {"x": 1}}"#, r#"{"weight_map": ["x"]}"#] {
        std::fs::write(&path, json).unwrap();
        assert!(read(&path).unwrap_err().contains("expected an index of shards"), "{json}");
    }
    index(folder.path(), "model.safetensors", &serde_json::json!({"weight_map": {"x": "gone.safetensors"}}));
    assert!(read(&path).unwrap_err().contains("gone.safetensors"));
    // An index is no shard of itself.
    index(
        folder.path(),
        "model.safetensors",
        &serde_json::json!({"weight_map": {"x": "model.safetensors.index.json"}}),
    );
    assert!(read(&path).unwrap_err().contains("a JSON text"));
    // A folder of shards without their index is refused with what is looked for.
    std::fs::remove_file(&path).unwrap();
    assert!(read(folder.path()).unwrap_err().contains(".index.json"));
    let first = read(&folder.path().join("model-00001-of-00003.safetensors")).unwrap_err();
    assert!(first.contains("shard 1 of 3") && first.contains("give the path of the index"), "{first}");
}
