//! The reasons why a network cannot be converted.

use crate::pack::PackError;

/// A reason why a network cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// An int8 model is requested without calibration pictures.
    #[error("an int8 model needs pictures to calibrate with, found none")]
    NoPictures,
    /// A layer's activations for the calibration pictures are not finite.
    #[error(
        "layer {stage}: the calibration pictures give it the value {value}, expected finite numbers; its weights or those \
         of the layers before it are too large, so check that the checkpoint is undamaged and that --mean and --std are \
         those of its training"
    )]
    Layer {
        /// Name of the layer: `stem`, `block.3.mix`, `block.3.mlp` or `head`.
        stage: String,
        /// First value that is not finite.
        value: f32,
    },
    /// The network does not fit the packed format.
    #[error("the network cannot be packed: {0}")]
    Pack(#[from] PackError),
}
