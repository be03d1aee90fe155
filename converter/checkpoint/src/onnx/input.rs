//! The picture that a graph reads: its size, the place of its colours, and the type of its numbers.

use super::layout::{Axis, Dimension, whole};
use super::proto::{DataType, Length, ValueInfoProto};

/// Largest height or width of a picture in pixels.
const EDGE_LIMIT: usize = 1 << 14;
/// Largest fixed batch of a graph, in pictures.
const BATCH_LIMIT: usize = 1 << 12;

/// The one input of a graph: its picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PictureInput {
    /// Number of pictures that the graph takes at once; 1 if the graph leaves it open.
    pub batch: usize,
    /// Height and width in pixels.
    pub image: [usize; 2],
    /// Whether the input is `[batch, height, width, 3]` rather than `[batch, 3, height, width]`.
    pub colours_last: bool,
    /// Whether the numbers are integers: bytes from 0 to 255.
    pub integers: bool,
}

impl PictureInput {
    /// Reads the type of the input. `image` is the height and width that apply if the graph leaves them open.
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
            // Some exporters write an open length as zero or as a negative number.
            None | Some(Ok(0)) | Some(Err(_)) => 1,
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

    /// Returns the axes of the network that the input's dimensions hold.
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
