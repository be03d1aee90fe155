//! Constant tensors of a graph: weights, and the integers that exporters compute shapes from.

use super::proto::TensorProto;
use super::proto::{DataLocation, DataType};
use crate::tensors::{Float, volume};
use half::{bf16, f16};

/// A dense row-major constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Constant {
    pub shape: Vec<usize>,
    pub data: Data,
}

/// The numbers of a constant. Booleans are stored as integers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Data {
    pub fn len(&self) -> usize {
        match self {
            Self::Float(data) => data.len(),
            Self::Int(data) => data.len(),
        }
    }

    /// Returns the elements at `indices`. Indices out of range are skipped.
    pub fn gather(&self, indices: impl Iterator<Item = usize>) -> Self {
        match self {
            Self::Float(data) => Self::Float(indices.filter_map(|index| data.get(index).copied()).collect()),
            Self::Int(data) => Self::Int(indices.filter_map(|index| data.get(index).copied()).collect()),
        }
    }
}

impl Constant {
    /// Creates a vector of integers.
    pub fn ints(data: Vec<i64>) -> Self {
        Self { shape: vec![data.len()], data: Data::Int(data) }
    }

    /// Creates a scalar: one number, no dimensions.
    pub fn scalar(data: Data) -> Self {
        Self { shape: Vec::new(), data }
    }

    /// Returns the numbers, which must be floats.
    pub fn floats(&self) -> Result<&[f32], String> {
        match &self.data {
            Data::Float(data) => Ok(data),
            Data::Int(_) => Err("integers; expected floating-point numbers".into()),
        }
    }

    /// Returns the numbers, which must be integers.
    pub fn integers(&self) -> Result<&[i64], String> {
        match &self.data {
            Data::Int(data) => Ok(data),
            Data::Float(_) => Err("floating-point numbers; expected integers".into()),
        }
    }

    /// Reads a `TensorProto` that holds its numbers itself.
    pub fn read(tensor: &TensorProto) -> Result<Self, String> {
        let shape: Option<Vec<usize>> = tensor.dims.iter().map(|length| usize::try_from(*length).ok()).collect();
        let shape = shape.ok_or_else(|| format!("shape {:?}; expected no negative lengths", tensor.dims))?;
        check_rank(shape.len())?;
        let count = volume(&shape).ok_or_else(|| format!("shape {shape:?}, which overflows"))?;
        let data_type = DataType::try_from(tensor.data_type).unwrap_or(DataType::Undefined);
        let size = size_of(data_type).ok_or_else(|| {
            let expected =
                "FLOAT, FLOAT16, BFLOAT16, DOUBLE, INT32, INT64, UINT8 or BOOL, as in a graph that is not quantised";
            format!("type {}; expected {expected}", data_type.as_str_name())
        })?;
        let bytes = count.checked_mul(size).ok_or_else(|| format!("shape {shape:?}, which overflows"))?;
        let data = if tensor.data_location == DataLocation::External as i32 {
            return Err("external data that was not read".into());
        } else if !tensor.raw_data.is_empty() {
            if tensor.raw_data.len() != bytes {
                return Err(format!("{} bytes for shape {shape:?}; expected {bytes}", tensor.raw_data.len()));
            }
            from_bytes(data_type, &tensor.raw_data)
        } else {
            from_fields(data_type, tensor)
        };
        if data.len() != count {
            return Err(format!("{} numbers for shape {shape:?}; expected {count}", data.len()));
        }
        if let Data::Float(floats) = &data
            && let Some(index) = floats.iter().position(|value| !value.is_finite())
        {
            return Err(format!("element {index} is not finite; expected finite numbers"));
        }
        Ok(Self { shape, data })
    }
}

/// Refuses tensors with more dimensions than any exporter writes.
pub(super) fn check_rank(rank: usize) -> Result<(), String> {
    const MOST: usize = 12;
    if rank > MOST { Err(format!("{rank} dimensions; expected at most {MOST}")) } else { Ok(()) }
}

/// Returns how a floating-point type is stored, or `None` for other types.
pub(super) fn float_type(data_type: DataType) -> Option<Float> {
    match data_type {
        DataType::Float => Some(Float::F32),
        DataType::Float16 => Some(Float::F16),
        DataType::Bfloat16 => Some(Float::Bf16),
        DataType::Double => Some(Float::F64),
        _ => None,
    }
}

fn size_of(data_type: DataType) -> Option<usize> {
    match data_type {
        DataType::Int64 => Some(8),
        DataType::Int32 => Some(4),
        DataType::Bool | DataType::Uint8 => Some(1),
        other => Some(float_type(other)?.size()),
    }
}

fn from_bytes(data_type: DataType, bytes: &[u8]) -> Data {
    match (float_type(data_type), data_type) {
        (Some(float), _) => Data::Float(float.decode(bytes)),
        (_, DataType::Int64) => Data::Int(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
        (_, DataType::Int32) => Data::Int(bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()),
        _ => Data::Int(bytes.iter().map(|b| i64::from(*b)).collect()),
    }
}

fn from_fields(data_type: DataType, tensor: &TensorProto) -> Data {
    let halves = |number: fn(u16) -> f32| tensor.int32_data.iter().map(|bits| number(*bits as u16)).collect();
    match data_type {
        DataType::Float => Data::Float(tensor.float_data.clone()),
        DataType::Double => Data::Float(tensor.double_data.iter().map(|value| *value as f32).collect()),
        DataType::Float16 => Data::Float(halves(|bits| f16::from_bits(bits).to_f32())),
        DataType::Bfloat16 => Data::Float(halves(|bits| bf16::from_bits(bits).to_f32())),
        DataType::Int64 => Data::Int(tensor.int64_data.clone()),
        _ => Data::Int(tensor.int32_data.iter().map(|value| i64::from(*value)).collect()),
    }
}
