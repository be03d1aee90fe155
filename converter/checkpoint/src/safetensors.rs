//! Reads `.safetensors` files; the `safetensors` crate parses and validates the format.

use crate::error::{Error, Result};
use crate::tensors::{Float, StateDict, Tensor, Tensors, Unread, Unreadable};
use safetensors::{Dtype, SafeTensors};
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

fn float(dtype: Dtype) -> Option<Float> {
    match dtype {
        Dtype::F16 => Some(Float::F16),
        Dtype::BF16 => Some(Float::Bf16),
        Dtype::F32 => Some(Float::F32),
        Dtype::F64 => Some(Float::F64),
        _ => None,
    }
}
