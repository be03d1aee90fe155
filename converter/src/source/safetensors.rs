//! Reads `.safetensors`; the format itself is the `safetensors` crate's work.

use super::tensors::Float;
use super::{StateDict, Tensor};
use crate::error::{Error, Result};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Every floating-point tensor of the file; tensors of other types are left out.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("a damaged safetensors file ({e}); expected a complete one")))?;
    let tensors = file.iter().filter_map(|(name, view)| {
        let data = float(view.dtype())?.decode(view.data());
        Some((name.to_string(), Tensor { shape: view.shape().to_vec(), data }))
    });
    Ok(StateDict { tensors: tensors.collect(), notes: Vec::new() })
}

fn float(dtype: Dtype) -> Option<Float> {
    match dtype {
        Dtype::F16 => Some(Float::F16),
        Dtype::BF16 => Some(Float::Bf16),
        Dtype::F32 => Some(Float::F32),
        Dtype::F64 => Some(Float::F64),
        _ => None,
    }
}
