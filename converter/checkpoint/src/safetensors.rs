//! Reads `.safetensors`; the format itself is the `safetensors` crate's work.

use crate::error::{Error, Result};
use crate::names;
use crate::tensors::{Float, StateDict, Tensor, Tensors, Unreadable, wrong_type};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Every floating-point tensor of the file, and the types of the others.
pub(crate) fn read(path: &Path, bytes: &[u8]) -> Result<StateDict> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| Error::file(path, format!("a damaged safetensors file ({e}); expected a complete one")))?;
    let (mut tensors, mut unreadable) = (Tensors::new(), Unreadable::new());
    for (name, view) in file.iter() {
        match float(view.dtype()) {
            Some(float) => {
                let tensor = Tensor { shape: view.shape().to_vec(), data: float.decode(view.data()) };
                tensors.insert(name.to_string(), tensor);
            }
            None => {
                let kind = format!("{:?}", view.dtype());
                if names::is_recognised(name) {
                    return Err(Error::tensor(path, name, wrong_type(&kind)));
                }
                unreadable.insert(name.to_string(), kind);
            }
        }
    }
    Ok(StateDict { tensors, unreadable, notes: Vec::new() })
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
