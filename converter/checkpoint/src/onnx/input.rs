//! The picture that a graph reads: its size, whether its colours come first or last, and what its numbers are.

use super::layout::{Axis, Dimension, whole};
use super::proto::{DataType, Length, ValueInfoProto};

/// Largest height or width of a picture in pixels.
const EDGE_LIMIT: usize = 1 << 14;
/// Largest number of pictures that a graph may be fixed to.
const BATCH_LIMIT: usize = 1 << 12;

/// The input of a graph.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PictureInput {
    /// Pictures that the graph takes at once, where it is fixed; 1 otherwise.
    pub batch: usize,
    /// Height and width in pixels.
    pub image: [usize; 2],
    /// `[batch, height, width, 3]` rather than `[batch, 3, height, width]`.
    pub colours_last: bool,
    /// Whether the numbers are integers: bytes from 0 to 255.
    pub integers: bool,
}

impl PictureInput {
    /// Reads the input's type; `image` is what the caller says where the graph leaves the size open.
    pub fn read(input: &ValueInfoProto, image: Option<[usize; 2]>) -> Result<Self, String> {
        let Some(tensor) = input.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()) else {
            return Err("an input that is no tensor; expected [batch, 3, height, width]".into());
        };
        let data_type = DataType::try_from(tensor.elem_type).unwrap_or(DataType::String);
        let integers = match data_type {
            DataType::Undefined | DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double => false,
            DataType::Uint8 | DataType::Int32 | DataType::Int64 => true,
            other => return Err(format!("pixels of type {}; expected FLOAT or UINT8", other.as_str_name())),
        };
        let lengths = tensor.shape.as_ref().map_or(&[][..], |shape| shape.dim.as_slice());
        let fixed: Vec<Option<i64>> = lengths
            .iter()
            .map(|length| match length.value {
                Some(Length::DimValue(value)) => Some(value),
                _ => None,
            })
            .collect();
        let shape = || {
            let lengths = fixed.iter().map(|length| length.map_or("?".into(), |length| length.to_string()));
            format!("shape [{}]", lengths.collect::<Vec<_>>().join(", "))
        };
        let [batch, second, third, fourth] = *fixed.as_slice() else {
            return Err(format!("{}; expected [batch, 3, height, width]", shape()));
        };
        let colours_last = fourth == Some(3) && second != Some(3);
        let (colours, height, width) = if colours_last { (fourth, second, third) } else { (second, third, fourth) };
        if colours.is_some_and(|colours| colours != 3) {
            return Err(format!("{}; expected 3 colours: [batch, 3, height, width]", shape()));
        }
        let batch = match batch.map(usize::try_from) {
            None | Some(Ok(0)) | Some(Err(_)) => 1, // Zero and negative lengths are how some exporters write any length.
            Some(Ok(batch)) if batch <= BATCH_LIMIT => batch,
            Some(Ok(_)) => return Err(format!("{}; expected a batch of at most {BATCH_LIMIT}", shape())),
        };
        let edge = |length: Option<i64>, told: Option<usize>| match length {
            Some(length) if length > 0 => usize::try_from(length).ok().filter(|length| *length <= EDGE_LIMIT),
            _ => told.filter(|length| (1..=EDGE_LIMIT).contains(length)),
        };
        match (edge(height, image.map(|i| i[0])), edge(width, image.map(|i| i[1]))) {
            (Some(height), Some(width)) => Ok(Self { batch, image: [height, width], colours_last, integers }),
            _ => Err(format!("{}; expected a fixed height and width, or --image-size HxW", shape())),
        }
    }

    /// What the input's dimensions hold.
    pub fn dimensions(&self) -> Vec<Dimension> {
        let [height, width] = self.image;
        let (rows, columns) = (whole(Axis::Row, height), whole(Axis::Column, width));
        let (batch, colours) = (whole(Axis::Batch, self.batch), whole(Axis::Colour, 3));
        match self.colours_last {
            true => vec![batch, rows, columns, colours],
            false => vec![batch, colours, rows, columns],
        }
    }
}
