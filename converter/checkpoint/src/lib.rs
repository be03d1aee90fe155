//! Reads trained ResMLP checkpoints: safetensors, PyTorch `.pth` (zip and legacy) and ONNX, told apart by content.
//!
//! [`load`] gives a [`Checkpoint`], whose [`Network`](resmlp_network::Network) every later stage starts from. The way
//! through this crate is: bytes, then named tensors ([`Tensors`]) or a graph, then the network.

mod checkpoint;
mod error;
pub mod export;
pub mod labels;
pub mod names;
pub mod onnx;
mod pth;
mod safetensors;
mod sniff;
mod tensors;

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

pub use checkpoint::{Checkpoint, Format, LoadOptions};
pub use error::{Error, Result};
use sniff::{SNIFFED, sniff};
use tensors::StateDict;
pub use tensors::{Tensor, Tensors, Unreadable};

/// Reads the checkpoint at `path`, whatever its name says.
///
/// # Errors
/// The file cannot be read, has none of the known formats, is damaged, or does not hold a ResMLP.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    // Looked at before it is opened: to open a pipe would wait for who writes to it.
    let metadata = path.metadata().map_err(|e| Error::io(path, e))?;
    if !metadata.is_file() {
        return Err(Error::file(path, "expected a checkpoint file, found something that is not a regular file"));
    }
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut start = Vec::new();
    file.by_ref().take(SNIFFED).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    let format = sniff(&start, metadata.len()).map_err(|message| Error::file(path, message))?;
    file.rewind().map_err(|e| Error::io(path, e))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    read(path, format, bytes, options)
}

/// Reads a checkpoint whose contents are in memory; `path` is for messages, and for data beside an ONNX file.
///
/// # Errors
/// As [`load`].
pub fn load_bytes(path: &Path, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let start = bytes.get(..SNIFFED as usize).unwrap_or(&bytes);
    let format = sniff(start, bytes.len() as u64).map_err(|message| Error::file(path, message))?;
    read(path, format, bytes, options)
}

fn read(path: &Path, format: Format, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    let checkpoint = match format {
        Format::Safetensors => named(path, format, safetensors::read(path, &bytes)?, bytes, options)?,
        Format::PthZip => named(path, format, pth::read_zip(path, &bytes)?, bytes, options)?,
        Format::PthLegacy => named(path, format, pth::read_legacy(path, &bytes)?, bytes, options)?,
        Format::Onnx => onnx::load(path, bytes, options)?,
    };
    checkpoint.network.check_lengths().map_err(|error| Error::file(path, error.to_string()))?;
    Ok(checkpoint)
}

fn named(path: &Path, format: Format, state: StateDict, bytes: Vec<u8>, options: &LoadOptions) -> Result<Checkpoint> {
    drop(bytes); // the tensors are copies; a large checkpoint should not be held twice
    let StateDict { tensors, unreadable, mut notes } = state;
    let network = names::network(path, tensors, unreadable, options.image, &mut notes);
    let network = network.map_err(|error| match shard(path) {
        Some([number, count]) => {
            error.with(&format!("it is shard {number} of {count}: merge the shards into one file"))
        }
        None => error,
    })?;
    Ok(Checkpoint { parameters: network.parameters(), network, format, notes, onnx: None, normalisation: None })
}

/// Number and count of the shard that a file of this name is: `model-00001-of-00004.safetensors`.
fn shard(path: &Path) -> Option<[usize; 2]> {
    let (before, count) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
    let (_, number) = before.rsplit_once('-')?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (count > 1).then_some([number, count])
}
