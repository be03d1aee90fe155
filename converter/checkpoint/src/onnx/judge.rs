//! The user's own graph, reduced to the part that its output needs, for an independent engine to run.

use super::input::PictureInput;
use super::normalisation::Normalisation;
use super::proto::{
    DataType, Dimension, Length, ModelProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// The part of an ONNX file that its logits need: the user's own operators, sorted, with every constant inside.
///
/// An engine that runs this graph sees only operators that the reader knows and from which it read the network.
#[derive(Clone, Debug)]
pub struct OnnxGraph {
    /// The graph with one input and one output.
    pub model: ModelProto,
    /// Shape and numbers of the picture that the graph reads.
    pub input: OnnxInput,
}

/// Shape and numbers of the picture that an [`OnnxGraph`] reads.
#[derive(Clone, Debug)]
pub struct OnnxInput {
    /// Number of pictures that the graph takes at once.
    pub batch: usize,
    /// Height and width of the picture in pixels.
    pub image: [usize; 2],
    /// Whether the input is `[batch, height, width, 3]` rather than `[batch, 3, height, width]`.
    pub colours_last: bool,
    /// Whether the input holds integers from 0 to 255.
    pub integers: bool,
    /// Mean and standard deviation that the graph itself applies, and the largest value of its pixels.
    pub normalises: Option<([f32; 3], [f32; 3], f32)>,
}

impl OnnxGraph {
    pub(super) fn new(mut model: ModelProto, input: PictureInput, normalisation: Option<&Normalisation>) -> Self {
        let PictureInput { batch, image, colours_last, integers } = input;
        let normalises = normalisation.map(|n| (n.mean, n.std, n.range));
        let input = OnnxInput { batch, image, colours_last, integers, normalises };
        for info in model.graph.iter_mut().flat_map(|graph| &mut graph.input) {
            *info = with_shape(info, &input.shape());
        }
        Self { model, input }
    }
}

impl OnnxInput {
    /// Returns the length of each dimension of the input.
    pub fn shape(&self) -> [usize; 4] {
        let [height, width] = self.image;
        match self.colours_last {
            true => [self.batch, height, width, 3],
            false => [self.batch, 3, height, width],
        }
    }

    /// Converts pictures `[pictures, 3, height, width]`, normalised as the network expects them, into the graph's own
    /// input.
    pub fn pixels(&self, normalised: &[f32]) -> Vec<f32> {
        let [height, width] = self.image;
        let area = height * width;
        let raw = |index: usize, value: f32| {
            let Some((mean, std, range)) = &self.normalises else { return value };
            let colour = index / area % 3;
            let pixel = (value * std[colour] + mean[colour]) * range;
            if self.integers { pixel.round() } else { pixel }
        };
        let pixels: Vec<f32> = normalised.iter().enumerate().map(|(index, value)| raw(index, *value)).collect();
        if !self.colours_last {
            return pixels;
        }
        let pictures = pixels.chunks_exact(3 * area);
        pictures.flat_map(|picture| (0..3 * area).map(|at| picture[at % 3 * area + at / 3])).collect()
    }
}

/// Returns the input `info` with the lengths of `shape` in place of its own.
fn with_shape(info: &ValueInfoProto, shape: &[usize]) -> ValueInfoProto {
    let known = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).map(|tensor| tensor.elem_type);
    let elem_type = known.filter(|kind| *kind != 0).unwrap_or(DataType::Float as i32);
    let dim = shape.iter().map(|length| Dimension { value: Some(Length::DimValue(*length as i64)) }).collect();
    let tensor = TensorTypeProto { elem_type, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: info.name.clone(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}
