//! Reads trained ResMLP checkpoints: safetensors, PyTorch `.pth` (zip and legacy) and ONNX, told apart by content.
//!
//! [`load`] gives a [`Checkpoint`], whose [`Network`](resmlp_network::Network) every later stage starts from. The way
//! through this crate is: bytes, then named tensors ([`Tensors`]) or a graph, then the network. What lies beside the
//! weights, such as timm's `config.json`, is read by [`config`] and [`labels`].

mod checkpoint;
pub mod config;
pub mod error;
pub mod export;
pub mod labels;
mod names;
pub mod onnx;
mod pth;
mod safetensors;
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

/// Reads the checkpoint at `path`, whatever its name says.
///
/// A folder stands for the weights in it, see [`config::weights_in`].
///
/// # Errors
/// The file cannot be read, has none of the known formats, is damaged, or does not hold a ResMLP.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    let path = match path.is_dir() {
        true => &config::weights_in(path)?,
        false => path,
    };
    let (format, bytes) = open(path)?;
    read(path, format, bytes, options)
}

/// Reads a checkpoint whose contents are in memory; `path` is for messages, and for data beside an ONNX file.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(path: &Path, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let start = bytes.get(..SNIFFED as usize).unwrap_or(&bytes);
    let format = sniff(start, bytes.len() as u64).map_err(|reason| Error::file(path, reason))?;
    read(path, format, bytes, options)
}

/// The format and the contents of the file `path`.
fn open(path: &Path) -> Result<(Format, Vec<u8>)> {
    let (mut file, length) = open_regular(path)?;
    let mut start = Vec::new();
    file.by_ref().take(SNIFFED).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    let format = sniff(&start, length).map_err(|reason| Error::file(path, reason))?;
    file.rewind().map_err(|e| Error::io(path, e))?;
    let bytes = resmlp_files::read_rest(&mut file, length).map_err(|e| Error::io(path, e))?;
    Ok((format, bytes))
}

/// Opens a regular file and tells its length.
fn open_regular(path: &Path) -> Result<(File, u64)> {
    let file = resmlp_files::open(path).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => Error::file(path, NotACheckpoint::NotAFile),
        _ => Error::io(path, e),
    })?;
    let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
    Ok((file, length))
}

/// Reads a small regular file; `None` where it is longer than `limit` bytes.
fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>> {
    let (mut file, _) = open_regular(path)?;
    let bytes = resmlp_files::read_rest(&mut file, limit + 1).map_err(|e| Error::io(path, e))?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

fn read(path: &Path, format: Format, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let checkpoint = match format {
        Format::Onnx => onnx::load(path, bytes, options)?,
        _ => named(path, format, bytes, options)?,
    };
    checkpoint.network.check_lengths().map_err(|reason| Error::file(path, reason))?;
    Ok(checkpoint)
}

/// Reads a checkpoint of named tensors.
fn named(path: &Path, format: Format, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let vocabulary = match &options.names {
        Some(map) => Vocabulary::Map(NameMap::open(map)?),
        None => Vocabulary::Public,
    };
    let wanted = Wanted { vocabulary: &vocabulary, key: options.key.as_deref() };
    let state = state_dict(path, format, &bytes, wanted)?;
    drop(bytes); // The tensors are copies, and a large checkpoint should not be held twice.
    let head = options.head.as_deref().map(head).transpose()?;
    let network = names::network(path, state, &vocabulary, options, head);
    let (network, mut notes) = network.map_err(|error| match shard(path) {
        Some([number, count]) => error.of_shard(number, count),
        None => error,
    })?;
    if options.output.is_some() {
        notes.push("--output has no effect: only ONNX graphs have outputs to choose from".into());
    }
    Ok(Checkpoint { parameters: network.parameters(), network, format, notes, onnx: None, normalisation: None })
}

fn state_dict(path: &Path, format: Format, bytes: &[u8], wanted: Wanted) -> Result<StateDict> {
    match format {
        Format::Safetensors => safetensors::read(path, bytes),
        Format::PthZip => pth::read_zip(path, bytes, wanted),
        Format::PthLegacy => pth::read_legacy(path, bytes, wanted),
        Format::Onnx => Err(Error::file(path, NotACheckpoint::Graph)),
    }
}

/// The path and the tensors of a file with a classifier.
fn head(path: &Path) -> Result<(PathBuf, StateDict)> {
    let (format, bytes) = open(path)?;
    let wanted = Wanted { vocabulary: &Vocabulary::Public, key: None };
    Ok((path.to_path_buf(), state_dict(path, format, &bytes, wanted)?))
}

/// Number and count of the shard that a file of this name is: `model-00001-of-00004.safetensors`.
fn shard(path: &Path) -> Option<[usize; 2]> {
    let (before, count) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
    let (_, number) = before.rsplit_once('-')?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (count > 1).then_some([number, count])
}
