//! Named tensors and the number formats that checkpoints store them in.

use half::{bf16, f16};
use std::collections::BTreeMap;

/// A dense row-major tensor of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// The values; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Tensors by their names in the checkpoint.
pub type Tensors = BTreeMap<String, Tensor>;

/// The types of what is no floating-point tensor, by its name in the checkpoint.
pub type Unreadable = BTreeMap<String, String>;

/// Named tensors as a `.pth` or safetensors file holds them.
pub(crate) struct StateDict {
    pub tensors: Tensors,
    pub unreadable: Unreadable,
    pub notes: Vec<String>,
}

/// What is said of a tensor that must be one of floats.
pub(crate) fn wrong_type(kind: &str) -> String {
    format!("its type is {kind}; expected F16, BF16, F32 or F64")
}

/// Floating-point formats that weights are stored in, all little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// The first number in `bytes`, unless they are too short for one.
    pub fn first(self, bytes: &[u8]) -> Option<f32> {
        self.decode(bytes.get(..self.size())?).first().copied()
    }

    /// The numbers in `bytes`, one after the other; a remainder too short for a number is left out.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => numbers(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::Bf16 => numbers(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Self::F32 => numbers(bytes, f32::from_le_bytes),
            Self::F64 => numbers(bytes, |b| f64::from_le_bytes(b) as f32),
        }
    }
}

fn numbers<const SIZE: usize>(bytes: &[u8], number: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<SIZE>().0.iter().map(|b| number(*b)).collect()
}

/// The product of `shape`, unless that of its lengths other than 0 overflows: then no reordering of it can either.
pub(crate) fn volume(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length.max(&1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}
