//! Reads the initramfs: a packed model, followed by any number of pictures of its size, with nothing between them.
//!
//! ```text
//! cat new.rmlp first.rgb second.rgb > model.rmlp
//! ```
//! A picture is height × width × RGB bytes, as the engine takes them.

use core::fmt;

use resmlp_runtime::format::{HEADER_LEN, field};
use resmlp_runtime::{Model, ModelError};

/// A validated model and the pictures that follow it.
#[derive(Clone, Debug)]
pub struct Payload<'a> {
    /// The model.
    pub model: Model<'a>,
    /// Whole pictures, one after the other.
    pub pictures: &'a [u8],
    /// Number of bytes after the last whole picture.
    pub leftover: usize,
}

/// The reason why there is no model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PayloadError {
    /// The boot firmware loaded no initramfs.
    Missing,
    /// The initramfs lies outside the memory.
    Outside {
        /// First address of the initramfs.
        start: usize,
        /// Address after its last byte.
        end: usize,
    },
    /// The initramfs holds no valid model.
    Model(ModelError),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "no initramfs: config.txt wants the line `initramfs MODEL followkernel`, and the card the file",
            ),
            Self::Outside { start, end } => write!(f, "initramfs from {start:#x} to {end:#x} is outside the memory"),
            Self::Model(error) => write!(f, "initramfs: {error}"),
        }
    }
}

impl core::error::Error for PayloadError {}

impl<'a> Payload<'a> {
    /// Validates the model at the beginning of `bytes`, which must start at a multiple of 64.
    ///
    /// # Errors
    /// Returns the errors of [`Model::parse`]. A model that is longer than `bytes` counts as cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let length = model_length(bytes).unwrap_or(0).max(HEADER_LEN).min(bytes.len());
        let (model, rest) = bytes.split_at_checked(length).unwrap_or((bytes, &[]));
        let model = Model::parse(model).map_err(PayloadError::Model)?;
        let size = picture_length(&model);
        let leftover = rest.len().checked_rem(size).unwrap_or(rest.len());
        let pictures = rest.get(..rest.len() - leftover).unwrap_or_default();
        Ok(Self { model, pictures, leftover })
    }

    /// Returns the pictures, each of the model's size.
    pub fn pictures(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.pictures.chunks_exact(picture_length(&self.model).max(1))
    }
}

/// Returns the length in bytes of a picture for this model.
pub fn picture_length(model: &Model) -> usize {
    let [height, width] = model.dims().image;
    height * width * 3
}

/// Returns the length that the model's header states.
fn model_length(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(field::FILE_LEN..)?.first_chunk()?;
    usize::try_from(u64::from_le_bytes(*length)).ok()
}
