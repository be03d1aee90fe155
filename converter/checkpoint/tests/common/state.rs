//! Writes random networks as checkpoints: named tensors of every dialect, as safetensors and as `torch.save` files.

#![allow(dead_code, reason = "each test program uses a part of this file")]

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use resmlp_checkpoint::{Checkpoint, LoadOptions, Tensor, Tensors, load_bytes};
use resmlp_network::{Affine, AffinePlacement, Dialect, Linear, Network};
use resmlp_testing::{Random, Shape};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A function that receives a tensor's name, shape and numbers.
type Put<'a> = &'a mut dyn FnMut(String, &[usize], &[f32]);

/// The dialects of named tensors.
pub const DIALECTS: [Dialect; 4] = [Dialect::Timm, Dialect::Deit, Dialect::Lucidrains, Dialect::Rishikksh20];

/// Returns a random network of 4 patches, 3 channels, 5 hidden units, 2 blocks and 4 classes.
pub fn network(seed: u64, dialect: Dialect) -> Network {
    let shape = Shape { image: [4, 4], patch: 2, dim: 3, hidden: 5, depth: 2, classes: Some(4) };
    let placement = match dialect {
        Dialect::Rishikksh20 => AffinePlacement::Stream,
        _ => AffinePlacement::Branch,
    };
    Network { dialect, ..Random(seed).network(&shape, placement) }
}

/// Returns a normalised picture for [`network`].
pub fn picture() -> Vec<f32> {
    Random(99).vector(3 * 4 * 4, -1.0, 1.0)
}

pub fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    Tensor { shape: shape.to_vec(), data: data.to_vec() }
}

/// The names of one dialect: the stem, the text before a block's number, the number of the first block, the seven parts
/// of a block, the final Aff, the head, and the two tensors of an Aff.
type Words<'a> = (&'a str, &'a str, usize, [&'a str; 7], String, String, [&'a str; 2]);

fn words<'a>(dialect: Dialect, depth: usize) -> Words<'a> {
    let greek = ["alpha", "beta"];
    match dialect {
        Dialect::Timm => {
            let parts = ["norm1", "linear_tokens", "ls1", "norm2", "mlp_channels.fc1", "mlp_channels.fc2", "ls2"];
            ("stem.proj", "blocks.", 0, parts, "norm".into(), "head".into(), greek)
        }
        Dialect::Deit => {
            let parts = ["norm1", "attn", "gamma_1", "norm2", "mlp.fc1", "mlp.fc2", "gamma_2"];
            ("patch_embed.proj", "blocks.", 0, parts, "norm".into(), "head".into(), greek)
        }
        Dialect::Lucidrains => {
            let parts = ["0.affine", "0.fn", "0.scale", "1.affine", "1.fn.0", "1.fn.2", "1.scale"];
            ("1", "", 2, parts, (depth + 2).to_string(), (depth + 4).to_string(), ["g", "b"])
        }
        Dialect::Rishikksh20 => {
            let parts = ["pre_affine", "token_mix.1", "gamma_1", "post_affine", "ff.0.net.0", "ff.0.net.3", "gamma_2"];
            let (affine, head) = ("affine".into(), "mlp_head.0".into());
            ("to_patch_embedding.0", "mlp_blocks.", 0, parts, affine, head, greek)
        }
        Dialect::Onnx => panic!("a graph has no names"),
    }
}

/// Returns the network's tensors under the names of its dialect.
pub fn tensors(network: &Network) -> Tensors {
    let (stem, block, first, parts, last, head, [alpha, beta]) = words(network.dialect, network.blocks.len());
    let (dim, patch) = (network.dim(), network.patch);
    let mut all = Tensors::new();
    let mut put =
        |name: String, shape: &[usize], data: &[f32]| assert!(all.insert(name, tensor(shape, data)).is_none());
    let is_flat = network.dialect == Dialect::Lucidrains;
    let weights: Vec<f32> = match is_flat {
        false => network.stem.weight.data.clone(),
        true => (0..dim)
            .flat_map(|row| {
                let row = network.stem.weight.row(row);
                (0..patch * patch).flat_map(move |pixel| (0..3).map(move |colour| row[colour * patch * patch + pixel]))
            })
            .collect(),
    };
    let flat = [dim, 3 * patch * patch];
    let shape: &[usize] = if is_flat { &flat } else { &[dim, 3, patch, patch] };
    put(format!("{stem}.weight"), shape, &weights);
    put(format!("{stem}.bias"), &[dim], &network.stem.bias);
    let affine = |put: Put, name: &str, Affine { alpha: a, beta: b }: &Affine| {
        put(format!("{name}.{alpha}"), &[1, 1, dim], a);
        put(format!("{name}.{beta}"), &[1, 1, dim], b);
    };
    let linear = |put: Put, name: &str, Linear { weight, bias }: &Linear| {
        put(format!("{name}.weight"), &[weight.rows, weight.cols], &weight.data);
        put(format!("{name}.bias"), &[weight.rows], bias);
    };
    for (index, layers) in network.blocks.iter().enumerate() {
        let name = |part: usize| format!("{block}{}.{}", first + index, parts[part]);
        affine(&mut put, &name(0), &layers.mix_affine);
        linear(&mut put, &name(1), &layers.mix);
        put(name(2), &[dim], &layers.mix_scale);
        affine(&mut put, &name(3), &layers.mlp_affine);
        linear(&mut put, &name(4), &layers.expand);
        linear(&mut put, &name(5), &layers.contract);
        put(name(6), &[dim], &layers.mlp_scale);
    }
    affine(&mut put, &last, &network.final_affine);
    if let Some(classifier) = &network.head {
        linear(&mut put, &head, classifier);
    }
    all
}

/// Applies `rename` to the name of every tensor.
pub fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

/// Returns the tensors as a safetensors file.
pub fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut header = serde_json::Map::new();
    for (name, Tensor { shape, data }) in tensors {
        let start = bytes.len();
        bytes.extend(data.iter().flat_map(|value| value.to_le_bytes()));
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat()
}

/// A pickle under construction, with the storages that it names.
#[derive(Default)]
pub struct Pickle {
    storages: BTreeMap<String, Vec<f32>>,
}

pub fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

pub fn number(number: usize) -> Vec<u8> {
    [b"J", &(number as u32).to_le_bytes()[..]].concat()
}

pub fn tuple(members: &[Vec<u8>]) -> Vec<u8> {
    [b"(", &members.concat()[..], b"t"].concat()
}

pub fn global(module: &str, name: &str) -> Vec<u8> {
    format!("c{module}\n{name}\n").into_bytes()
}

pub fn call(function: Vec<u8>, arguments: &[Vec<u8>]) -> Vec<u8> {
    [function, tuple(arguments), b"R".to_vec()].concat()
}

pub fn dict(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let entries: Vec<u8> = entries.iter().flat_map(|(key, value)| [text(key), value.clone()].concat()).collect();
    [b"}(", &entries[..], b"u"].concat()
}

pub fn shape(lengths: &[usize]) -> Vec<u8> {
    tuple(&lengths.iter().map(|length| number(*length)).collect::<Vec<_>>())
}

impl Pickle {
    /// Pickles a tensor as `torch.save` does.
    pub fn tensor(&mut self, tensor: &Tensor) -> Vec<u8> {
        let key = self.storages.len().to_string();
        let class = global("torch", "FloatStorage");
        let id = [text("storage"), class, text(&key), text("cpu"), number(tensor.data.len())];
        let storage = [tuple(&id), b"Q".to_vec()].concat();
        self.storages.insert(key, tensor.data.clone());
        let strides: Vec<usize> = (0..tensor.shape.len()).map(|at| tensor.shape[at + 1..].iter().product()).collect();
        let arguments =
            [storage, number(0), shape(&tensor.shape), shape(&strides), b"\x89".to_vec(), call(ordered(), &[])];
        call(global("torch._utils", "_rebuild_tensor_v2"), &arguments)
    }

    /// Pickles a state dict as `torch.save` does.
    pub fn state(&mut self, tensors: &Tensors) -> Vec<u8> {
        let entries: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), self.tensor(tensor))).collect();
        dict(&entries)
    }

    /// Returns the file with the data `root`, in the format before PyTorch 1.6.
    pub fn file(&self, root: &[u8]) -> Vec<u8> {
        let magic = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
        let mut file =
            [&magic[..], b"\x80\x02M\xe9\x03.", b"\x80\x02}.", b"\x80\x02", root, b".", b"\x80\x02]("].concat();
        file.extend(self.storages.keys().flat_map(|key| text(key)));
        file.extend(b"e.");
        for data in self.storages.values() {
            file.extend((data.len() as u64).to_le_bytes());
            file.extend(data.iter().flat_map(|value| value.to_le_bytes()));
        }
        file
    }

    /// Returns the file with the data `root`, in the zip format since PyTorch 1.6.
    pub fn archive(&self, root: &[u8]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        let mut put = |name: &str, bytes: &[u8]| {
            archive.start_file(format!("archive/{name}"), stored).unwrap();
            archive.write_all(bytes).unwrap();
        };
        put("data.pkl", &[b"\x80\x02", root, b"."].concat());
        put("byteorder", b"little");
        for (key, data) in &self.storages {
            put(&format!("data/{key}"), &data.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        }
        put("version", b"3\n");
        archive.finish().unwrap().into_inner()
    }
}

fn ordered() -> Vec<u8> {
    global("collections", "OrderedDict")
}

/// Returns the tensors as a file of `torch.save`, in the format before PyTorch 1.6.
pub fn pth(tensors: &Tensors) -> Vec<u8> {
    let mut pickle = Pickle::default();
    let root = pickle.state(tensors);
    pickle.file(&root)
}

pub fn open(bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint, String> {
    load_bytes(Path::new("my.checkpoint"), bytes, options).map_err(|error| error.to_string())
}

/// Returns the tensors as a file of `torch.save`, in the zip format since PyTorch 1.6.
pub fn pth_zip(tensors: &Tensors) -> Vec<u8> {
    let mut pickle = Pickle::default();
    let root = pickle.state(tensors);
    pickle.archive(&root)
}

/// Reads the tensors from a safetensors file and from both kinds of `torch.save` files, which must give the same
/// network or error.
pub fn read_with(tensors: &Tensors, options: &LoadOptions) -> Result<Checkpoint, String> {
    let outcomes = [safetensors(tensors), pth(tensors), pth_zip(tensors)].map(|bytes| open(bytes, options));
    let [first, second, third] =
        outcomes.each_ref().map(|outcome| outcome.as_ref().map(|checkpoint| &checkpoint.network));
    assert_eq!(first, second);
    assert_eq!(first, third);
    let [outcome, ..] = outcomes;
    outcome
}

pub fn read(tensors: &Tensors) -> Result<Checkpoint, String> {
    read_with(tensors, &LoadOptions::default())
}

pub fn refusal(tensors: &Tensors) -> String {
    read(tensors).map(|checkpoint| checkpoint.notes).expect_err("a refusal")
}
