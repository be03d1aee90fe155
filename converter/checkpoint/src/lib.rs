//! Reads trained ResMLP checkpoints: safetensors, PyTorch `.pth` (zip and legacy) and ONNX.
//!
//! The reader tells the formats apart by their content, not by the file's name. [`load`] returns a [`Checkpoint`],
//! whose [`Network`](resmlp_network::Network) is the input of every later stage. Data flows through this crate in three
//! steps: the file's bytes, then named tensors ([`Tensors`]) or an ONNX graph, then the network. [`config`] and
//! [`labels`] read the files beside the weights, such as timm's `config.json`.

mod checkpoint;
pub mod config;
pub mod error;
pub mod export;
pub mod labels;
mod names;
pub mod onnx;
mod pth;
mod safetensors;
mod shards;
mod sniff;
mod tensors;

use std::fs::File;
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};

pub use checkpoint::{Checkpoint, Format, LoadOptions};
pub use error::{Error, Reason, Result};
pub use names::GELU_IS_ASSUMED;
use names::{NameMap, Vocabulary};
use pth::Wanted;
use sniff::{NotACheckpoint, SNIFFED, sniff};
use tensors::StateDict;
pub use tensors::{Tensor, Tensors};

/// Largest mean or standard deviation that counts as one of pixels from 0 to 1. Larger ones mean pixels from 0 to 255,
/// because no network normalises pixels from 0 to 1 by such numbers.
const LARGEST_OF_UNIT_PIXELS: f64 = 4.0;

/// Reads the checkpoint at `path`; the content decides the format, not the file's extension.
///
/// If `path` is a folder, the function reads the weights that [`config::weights_in`] finds in it. If it is the index of
/// shards, which has a name that ends in `.index.json`, the function reads all of the shards.
///
/// # Errors
/// Returns an error if the file cannot be read, has none of the known formats, is damaged, or does not hold a ResMLP,
/// or if a file that `options` names cannot be used.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    let path = match path.is_dir() {
        true => &config::weights_in(path)?,
        false => path,
    };
    if shards::is_index(path) {
        let vocabulary = vocabulary(options)?;
        let (format, bytes, state) = shards::read(path, &vocabulary)?;
        return checked(path, named(path, format, bytes, state, &vocabulary, options)?);
    }
    let (format, bytes) = open(path)?;
    read(path, format, bytes, options)
}

/// Reads a checkpoint whose contents are in memory.
///
/// Messages name `path`, and the external data of an ONNX model is looked for in the folder of `path`.
///
/// # Errors
/// Returns an error if `bytes` have none of the known formats, are damaged, or do not hold a ResMLP. It also returns an
/// error if the external data of an ONNX model cannot be read, or if a file that `options` names cannot be used.
pub fn load_bytes(path: &Path, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let start = bytes.get(..SNIFFED as usize).unwrap_or(&bytes);
    let format = sniff(start, bytes.len() as u64).map_err(|reason| Error::file(path, reason))?;
    read(path, format, bytes, options)
}

/// Reads the file `path` and returns its format and its contents.
fn open(path: &Path) -> Result<(Format, Vec<u8>)> {
    let (mut file, length) = open_regular(path)?;
    let mut start = Vec::new();
    file.by_ref().take(SNIFFED).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    let format = sniff(&start, length).map_err(|reason| Error::file(path, reason))?;
    file.rewind().map_err(|e| Error::io(path, e))?;
    let bytes = resmlp_files::read_rest(&mut file, length).map_err(|e| Error::io(path, e))?;
    Ok((format, bytes))
}

/// Opens a regular file and returns it with its length in bytes.
fn open_regular(path: &Path) -> Result<(File, u64)> {
    let file = resmlp_files::open(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => Error::file(path, NotACheckpoint::NotAFile),
        _ => Error::io(path, e),
    })?;
    let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
    Ok((file, length))
}

/// Reads a small regular file; returns `None` if the file is longer than `limit` bytes.
fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let (mut file, _) = open_regular(path)?;
    let bytes = resmlp_files::read_rest(&mut file, limit + 1).map_err(|e| Error::io(path, e))?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn read(path: &Path, format: Format, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    if format == Format::Onnx {
        return checked(path, onnx::load(path, bytes, options)?);
    }
    let vocabulary = vocabulary(options)?;
    let wanted = Wanted { vocabulary: &vocabulary, key: options.key.as_deref() };
    let state = state_dict(path, format, &bytes, wanted)?;
    let length = bytes.len() as u64;
    drop(bytes); // The tensors are copies; dropping the file's bytes avoids holding a large checkpoint twice.
    let checkpoint = named(path, format, length, state, &vocabulary, options);
    let checkpoint = checkpoint.map_err(|error| match shard(path) {
        Some([number, count]) => error.of_shard(number, count),
        None => error,
    })?;
    checked(path, checkpoint)
}

/// Checks that the network is no larger than the packed format allows.
fn checked(path: &Path, checkpoint: Checkpoint) -> Result<Checkpoint> {
    checkpoint.network.check_lengths().map_err(|reason| Error::file(path, reason))?;
    Ok(checkpoint)
}

/// Returns the names that the reader looks for: those in the caller's map, or those of the public dialects.
fn vocabulary(options: &LoadOptions) -> Result<Vocabulary> {
    Ok(match &options.names {
        Some(map) => Vocabulary::Map(NameMap::open(map)?),
        None => Vocabulary::Public,
    })
}

/// Builds a checkpoint from the named tensors in files of `bytes` bytes.
fn named(
    path: &Path,
    format: Format,
    bytes: u64,
    state: StateDict,
    vocabulary: &Vocabulary,
    options: &LoadOptions,
) -> Result<Checkpoint> {
    let head = options.head.as_deref().map(head).transpose()?;
    let names::Named { network, normalisation, mut notes } = names::network(path, state, vocabulary, options, head)?;
    if options.output.is_some() {
        notes.push("--onnx-output has no effect: only ONNX graphs have outputs to choose from".into());
    }
    Ok(Checkpoint { parameters: network.parameters(), network, format, notes, onnx: None, bytes, normalisation })
}

fn state_dict(path: &Path, format: Format, bytes: &[u8], wanted: Wanted) -> Result<StateDict> {
    match format {
        Format::Safetensors => safetensors::read(path, bytes),
        Format::PthZip => pth::read_zip(path, bytes, wanted),
        Format::PthLegacy => pth::read_legacy(path, bytes, wanted),
        Format::Onnx => Err(Error::file(path, NotACheckpoint::Graph)),
    }
}

/// Reads a file that holds a classifier and returns its path and its tensors.
fn head(path: &Path) -> Result<(PathBuf, StateDict)> {
    let (format, bytes) = open(path)?;
    let wanted = Wanted { vocabulary: &Vocabulary::Public, key: None };
    Ok((path.to_path_buf(), state_dict(path, format, &bytes, wanted)?))
}

/// Returns the shard's number and the number of shards if the file's name gives them, as
/// `model-00001-of-00004.safetensors` does.
fn shard(path: &Path) -> Option<[usize; 2]> {
    let (before, count) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
    let (_, number) = before.rsplit_once('-')?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (count > 1).then_some([number, count])
}
