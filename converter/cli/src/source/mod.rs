//! Reads checkpoint files: safetensors, PyTorch `.pth` (zip and legacy) and ONNX, told apart by content.

mod onnx;
mod pth;
mod safetensors;
mod tensors;

pub use tensors::{Tensor, Tensors, Unreadable};

use crate::error::{Error, Result};
use crate::names;
use crate::network::Network;
use resmlp_runtime::format::MAGIC;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// File formats of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Hugging Face safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6: a zip archive.
    PthZip,
    /// `torch.save` before PyTorch 1.6: a sequence of pickles.
    PthLegacy,
    /// An ONNX graph.
    Onnx,
}

impl Format {
    /// The format's name for people and for `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PthZip => "pth (zip)",
            Self::PthLegacy => "pth (legacy)",
            Self::Onnx => "onnx",
        }
    }
}

/// What the caller knows about a checkpoint that the file may not say.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Height and width of the picture in pixels, for token grids that are not square.
    pub image: Option<[usize; 2]>,
}

/// A checkpoint, read and understood.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The trained network.
    pub network: Network,
    /// The file's format.
    pub format: Format,
    /// Number of trained parameters.
    pub parameters: usize,
    /// What was chosen or left out while reading, one sentence each.
    pub notes: Vec<String>,
    /// The file itself, where it is ONNX and so can be run as it is.
    pub onnx: Option<PathBuf>,
}

/// Named tensors as a `.pth` or safetensors file holds them.
struct StateDict {
    tensors: Tensors,
    unreadable: Unreadable,
    notes: Vec<String>,
}

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
    checkpoint.network.check_lengths().map_err(|message| Error::file(path, message))?;
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
    Ok(Checkpoint { parameters: network.parameters(), network, format, notes, onnx: None })
}

/// Number and count of the shard that a file of this name is: `model-00001-of-00004.safetensors`.
fn shard(path: &Path) -> Option<[usize; 2]> {
    let (before, count) = path.file_stem()?.to_str()?.rsplit_once("-of-")?;
    let (_, number) = before.rsplit_once('-')?;
    let (number, count) = (number.parse().ok()?, count.parse().ok()?);
    (count > 1).then_some([number, count])
}

const SNIFFED: u64 = 16;
const SAFETENSORS_HEADER_LIMIT: u64 = 100_000_000;

/// Tells the format from a file's first bytes and its length, or says what the bytes are instead.
fn sniff(start: &[u8], length: u64) -> std::result::Result<Format, String> {
    if start.starts_with(b"PK\x03\x04") {
        return Ok(Format::PthZip);
    }
    if start.starts_with(pth::LEGACY_MAGIC) {
        return Ok(Format::PthLegacy);
    }
    if let Some((header, rest)) = start.split_first_chunk::<8>()
        && rest.first() == Some(&b'{')
        && u64::from_le_bytes(*header) <= SAFETENSORS_HEADER_LIMIT
    {
        return Ok(Format::Safetensors);
    }
    if onnx::begins_like_onnx(start) {
        return Ok(Format::Onnx);
    }
    Err(match start {
        [] => "the file is empty; expected a checkpoint (safetensors, PyTorch .pth or ONNX)".into(),
        [0x80, 2..=5, ..] => "a Python pickle that torch.save did not write; expected a PyTorch .pth".into(),
        start if start.starts_with(&MAGIC) => {
            "not a checkpoint but a packed model; expected safetensors, PyTorch .pth or ONNX".into()
        }
        [b'{', ..] => {
            "a JSON text; expected safetensors, PyTorch .pth or ONNX; if it is an index, merge the shards into one"
                .into()
        }
        [0x89, b'H', b'D', b'F', ..] => "an HDF5 file; expected safetensors, PyTorch .pth or ONNX".into(),
        _ => format!(
            "not a checkpoint: expected safetensors, PyTorch .pth (zip or legacy) or ONNX, found {length} bytes that \
             begin with {}",
            start.iter().take(8).map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
        ),
    })
}
