//! Recognises the format of a checkpoint by its first bytes.

use crate::checkpoint::Format;
use crate::{onnx, pth};
use resmlp_runtime::format::MAGIC;

/// Number of bytes at the start of a file that [`sniff`] looks at.
pub(crate) const SNIFFED: u64 = 512;
const SAFETENSORS_HEADER_LIMIT: u64 = 100_000_000;

/// Why a file is not a readable checkpoint. The messages say what the file is and how to get a readable one from it.
#[derive(Debug, thiserror::Error)]
pub enum NotACheckpoint {
    /// The file is empty.
    #[error("the file is empty; expected a checkpoint (safetensors, PyTorch .pth or ONNX)")]
    Empty,
    /// The file has another, known format.
    #[error("{kind}; {way_out}")]
    Known {
        /// Description of the file's format.
        kind: &'static str,
        /// What the user can do instead.
        way_out: &'static str,
    },
    /// The file has no known format.
    #[error(
        "not a checkpoint: expected safetensors, PyTorch .pth (zip or legacy) or ONNX, found {length} bytes that begin \
         with {start}"
    )]
    Unknown {
        /// Length of the file in bytes.
        length: u64,
        /// The file's first bytes, in hexadecimal.
        start: String,
    },
    /// The file is an ONNX graph, but a classifier's named tensors are expected.
    #[error("an ONNX graph; expected a classifier's named tensors (safetensors or PyTorch .pth)")]
    Graph,
    /// The path names something other than a regular file.
    #[error("expected a checkpoint file, found something that is not a regular file")]
    NotAFile,
    /// The path names a folder without weights.
    #[error(
        "expected a checkpoint file, or a folder with model.safetensors or pytorch_model.bin in it, or with the index of \
         its shards (….index.json); found a folder with none of them"
    )]
    Folder,
}

/// Recognises the format of a file by `start`, its first bytes; `length` is the file's length in bytes.
///
/// # Errors
/// Returns an error that says what the file is if it has none of the known formats.
pub(crate) fn sniff(start: &[u8], length: u64) -> std::result::Result<Format, NotACheckpoint> {
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
    if let Some(known) = known(start) {
        return Err(known);
    }
    if onnx::begins_like_onnx(start) {
        return Ok(Format::Onnx);
    }
    let start = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    Err(NotACheckpoint::Unknown { length, start })
}

/// Returns the error for a file that begins with `start`, if that is a kind of file often mistaken for a checkpoint.
fn known(start: &[u8]) -> Option<NotACheckpoint> {
    const EXPECTED: &str = "expected safetensors, PyTorch .pth or ONNX";
    const UNPACK: &str = "unpack it first; expected safetensors, PyTorch .pth or ONNX";
    let at = |offset: usize, magic: &[u8]| start.get(offset..).is_some_and(|bytes| bytes.starts_with(magic));
    let is = |magic: &[u8]| at(0, magic);
    let text = start.trim_ascii_start();
    let is_html = || {
        let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word));
        begins(b"<!doctype html") || begins(b"<html")
    };
    let (kind, way_out) = match start {
        [] => return Some(NotACheckpoint::Empty),
        _ if is(&MAGIC) => ("not a checkpoint but a packed model", EXPECTED),
        _ if is(b"version https://git-lfs") => (
            "a Git LFS pointer, which only names the checkpoint",
            "fetch the file itself with git lfs pull, or download it from the repository's page",
        ),
        _ if is_html() => (
            "an HTML page, probably in place of a download",
            "download the file itself: the link may lead to a page about it, or ask for a login",
        ),
        [0x1f, 0x8b, ..] => ("a file compressed with gzip", UNPACK),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("a file compressed with xz", UNPACK),
        [b'B', b'Z', b'h', ..] => ("a file compressed with bzip2", UNPACK),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("a file compressed with Zstandard", UNPACK),
        _ if is(b"7z\xbc\xaf\x27\x1c") => ("a 7-Zip archive", UNPACK),
        _ if at(257, b"ustar") => ("a tar archive", UNPACK),
        _ if at(4, b"TFL3") => (
            "a TFLite model, whose graph is compiled for TensorFlow Lite",
            "use the model that it was converted from, or convert it with tf2onnx (--tflite) if it is not quantised",
        ),
        [0x89, b'H', b'D', b'F', ..] => (
            "an HDF5 file, as Keras writes it (.h5)",
            "export the model from Keras: model.export(\"model.onnx\", format=\"onnx\"); expected safetensors, PyTorch \
             .pth or ONNX",
        ),
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => ("one NumPy array (.npy)", EXPECTED),
        _ if is(b"GGUF") => ("a GGUF file, as llama.cpp reads it", EXPECTED),
        [0x80, 2..=5, ..] => (
            "a Python pickle that torch.save did not write, such as PaddlePaddle's .pdparams",
            "load it in Python and save its arrays with safetensors or torch.save; expected a PyTorch .pth",
        ),
        // In MessagePack, these bytes begin a map whose first key is a string.
        [0x81..=0x8f, 0xa1..=0xbf | 0xd9, ..] | [0xde, _, _, 0xa1..=0xbf | 0xd9, ..] => (
            "a MessagePack file, as Flax writes it (.msgpack)",
            "in Python, load it with flax.serialization.msgpack_restore, flatten the parameters' names with dots and \
             save them with safetensors.flax.save_file; names that are not timm's then need --names",
        ),
        _ if text.starts_with(b"{") => (
            "a JSON text",
            "expected safetensors, PyTorch .pth or ONNX; if it is an index of shards, let its name end in \
                 .index.json, or merge the shards into one file",
        ),
        _ => return None,
    };
    Some(NotACheckpoint::Known { kind, way_out })
}
