//! Named tensors and the number formats that checkpoints store them in.

use half::{bf16, f16};
use std::collections::BTreeMap;

/// A dense row-major tensor of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Length of each dimension.
    pub shape: Vec<usize>,
    /// The values in row-major order; their number is the product of `shape`.
    pub data: Vec<f32>,
}

/// Tensors by their names in the checkpoint.
pub type Tensors = BTreeMap<String, Tensor>;

/// Values that cannot be read as floating-point numbers, by their names in the checkpoint.
pub(crate) type Unreadable = BTreeMap<String, Unread>;

/// Why a value in a checkpoint cannot be read as floating-point numbers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// The tensor has this type, which is none of the floating-point types that are read.
    #[error("its type is {0}; expected F16, BF16, F32 or F64")]
    Type(String),
    /// The value is not a tensor but an object of this Python class.
    #[error("its type is '{0}'; expected F16, BF16, F32 or F64")]
    Object(String),
    /// The file holds only a part of a tensor that is distributed over several processes.
    #[error(
        "a shard of a distributed tensor (DTensor): this file holds {found:?} of {whole:?}; save a state_dict whose \
         tensors were gathered with full_tensor()"
    )]
    Shard {
        /// Shape of the part in the file.
        found: Vec<usize>,
        /// Shape of the whole tensor.
        whole: Vec<usize>,
    },
}

impl Unread {
    /// Returns how many bytes the value holds beside its own size.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Type(name) | Self::Object(name) => name.len(),
            Self::Shard { found, whole } => size_of_val(found.as_slice()) + size_of_val(whole.as_slice()),
        }
    }

    /// Returns whether the value is a tensor, so that leaving it out could change the network.
    pub(crate) fn is_tensor(&self) -> bool {
        !matches!(self, Self::Object(_))
    }
}

/// Named tensors from a `.pth` or safetensors file.
pub(crate) struct StateDict {
    pub tensors: Tensors,
    pub unreadable: Unreadable,
    /// Choices that the reader made among several dictionaries, one note each.
    pub notes: Vec<String>,
    /// Whether `LoadOptions::key` has already chosen this dictionary.
    pub key_is_used: bool,
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
    /// Returns the size of one number in bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Decodes the first number in `bytes`; returns `None` if `bytes` are too short for one.
    pub fn first(self, bytes: &[u8]) -> Option<f32> {
        self.decode(bytes.get(..self.size())?).first().copied()
    }

    /// Decodes the numbers in `bytes`; a remainder that is too short for a number is ignored.
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

/// Returns the product of `shape`, or `None` if the product of its non-zero lengths overflows.
///
/// Leaving zeros out of the check guarantees that no product of some of the lengths overflows, in whatever order.
pub(crate) fn volume(shape: &[usize]) -> Option<usize> {
    let product = shape.iter().try_fold(1usize, |product, length| product.checked_mul(*length.max(&1)))?;
    Some(if shape.contains(&0) { 0 } else { product })
}
