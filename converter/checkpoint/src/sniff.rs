//! Tells the format of a checkpoint by its first bytes.

use crate::checkpoint::Format;
use crate::{onnx, pth};
use resmlp_runtime::format::MAGIC;

/// Bytes that [`sniff`] looks at.
pub(crate) const SNIFFED: u64 = 16;
const SAFETENSORS_HEADER_LIMIT: u64 = 100_000_000;

/// Tells the format from a file's first bytes and its length, or says what the bytes are instead.
pub(crate) fn sniff(start: &[u8], length: u64) -> std::result::Result<Format, String> {
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
