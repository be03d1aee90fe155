//! Reads `.safetensors` files; the `safetensors` crate parses and validates the format.

use crate::error::{Error, Result};
use crate::tensors::{Float, StateDict, Tensor, Tensors, Unread, Unreadable};
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// Reads every floating-point tensor of the file and records the type of every other tensor.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict> {
    let file = SafeTensors::deserialize(bytes).map_err(|reason| Error::file(path, reason))?;
    let (mut tensors, mut unreadable) = (Tensors::new(), Unreadable::new());
    for (name, view) in file.iter() {
        match float(view.dtype()) {
            Some(float) => {
                let tensor = Tensor { shape: view.shape().to_vec(), data: float.decode(view.data()) };
                tensors.insert(name.to_string(), tensor);
            }
            None => {
                unreadable.insert(name.to_string(), Unread::Type(format!("{:?}", view.dtype())));
            }
        }
    }
    Ok(StateDict { tensors, unreadable, notes: Vec::new(), key_is_used: false })
}

/// Longest header whose metadata are read before the file is.
const MAX_HEADER: u64 = 16 << 20;

/// Returns the text under `key` in the metadata of a safetensors file; `None` for every other file.
///
/// Whether the file is damaged is left to [`read`], which says so.
pub(crate) fn embedded(path: &Path, key: &str) -> Result<Option<String>> {
    if !path.is_file() {
        return Ok(None);
    }
    let (mut file, _) = crate::open_regular(path)?;
    let mut start = [0; 8];
    if file.read_exact(&mut start).is_err() || u64::from_le_bytes(start) > MAX_HEADER {
        return Ok(None);
    }
    let header = resmlp_files::read_rest(&mut file, u64::from_le_bytes(start)).map_err(|e| Error::io(path, e))?;
    Ok(serde_json::from_slice::<Header>(&header).ok().and_then(|header| header.metadata?.remove(key)))
}

/// The part of a header that is not about tensors.
#[derive(serde::Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Option<HashMap<String, String>>,
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
