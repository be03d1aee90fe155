//! Reads `.safetensors` files; the `safetensors` crate parses and validates the format.

use crate::error::{Error, Result};
use crate::tensors::{Float, StateDict, Tensor, Tensors, Unread, Unreadable};
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

/// Largest number of dimensions of a tensor; a weight has at most four.
const MOST_DIMENSIONS: usize = 64;

/// Largest number of tensors in a file; a ResMLP has a few hundred.
const MOST_TENSORS: usize = 1 << 16;

/// Reads every floating-point tensor of the file and records the type of every other tensor.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict> {
    check_header(bytes).map_err(|message| Error::file(path, message))?;
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

/// Refuses a file whose header describes absurdly many tensors or dimensions.
///
/// Each length in a shape takes two bytes of the header, and eight bytes in each of the copies that the safetensors
/// crate makes of the shape.
fn check_header(file: &[u8]) -> std::result::Result<(), String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else { return Ok(()) };
    let header = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.get(..length));
    let (mut values, mut dimensions, mut tensors) = (0, 0, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in header.unwrap_or_default() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' => tensors += 1,
            b'[' => values = 1,
            b',' => values += 1,
            // The values of an object are no list.
            b':' => values = 0,
            _ => {}
        }
        dimensions = dimensions.max(values);
    }
    if dimensions > MOST_DIMENSIONS {
        return Err(format!("a tensor of {dimensions} dimensions; expected at most {MOST_DIMENSIONS}"));
    }
    if tensors > MOST_TENSORS {
        return Err(format!("{tensors} tensors; expected at most {MOST_TENSORS}"));
    }
    Ok(())
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
