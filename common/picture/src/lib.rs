//! Turns picture files into a network's input: decoded, turned upright, resized and cropped as torchvision with Pillow
//! does it.
//!
//! A file may come from anywhere. Reading one takes bounded memory and time, which [`Limits`] state; what exceeds them
//! is an error that says what was found and what is allowed.

#[cfg(feature = "dataset")]
pub mod dataset;
mod decode;
mod error;
mod limits;
mod normalise;
mod preprocess;
mod resize;

use std::path::Path;

pub use error::{Error, Result};
pub use limits::Limits;
pub use preprocess::{Fit, Preprocess, ResizeMode};

/// Longest picture file that [`Limits::desktop`] allows, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

const _: () = assert!(MAX_FILE_BYTES == Limits::desktop().longest_file());

/// An upright 8-bit RGB picture of at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    height: u32,
    width: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// Creates a picture of `height * width` pixels, `rgb` being `[height, width, 3]`.
    ///
    /// Returns `None` if `rgb` has another length or the picture has no pixel.
    pub fn from_rgb(height: u32, width: u32, rgb: Vec<u8>) -> Option<Self> {
        let pixels = u64::from(height) * u64::from(width);
        (pixels > 0 && pixels.checked_mul(3) == Some(rgb.len() as u64)).then_some(Self { height, width, rgb })
    }

    /// Reads a picture file within the limits of a desktop computer, as [`Picture::open_within`] does.
    ///
    /// # Errors
    /// Returns the errors of [`Picture::open_within`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path, &Limits::desktop())
    }

    /// Reads a JPEG, PNG or BMP file, whose kind is recognised by its contents. The EXIF orientation is applied, and
    /// alpha is dropped.
    ///
    /// # Errors
    /// The error names the file. It says if the file cannot be read or is no regular file, if it is of another kind,
    /// damaged or truncated, and if it would exceed the limits: what was found, and what is allowed.
    pub fn open_within(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        // One byte more than the limits allow shows that the file is too long.
        let bytes = resmlp_files::read(path, limits.longest_file() + 1);
        let bytes = bytes.map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::decode_within(&bytes, limits).map_err(|message| Error::File { path: path.to_owned(), message })
    }

    /// Decodes the bytes of a picture file within the limits of a desktop computer, as [`Picture::decode_within`] does.
    ///
    /// # Errors
    /// Returns the errors of [`Picture::decode_within`].
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        Self::decode_within(bytes, &Limits::desktop())
    }

    /// Decodes the bytes of a picture file as [`Picture::open_within`] does.
    ///
    /// # Errors
    /// The error is the message of [`Picture::open_within`] without the file's name.
    pub fn decode_within(bytes: &[u8], limits: &Limits) -> std::result::Result<Self, String> {
        decode::decode(bytes, limits)
    }

    /// Returns the height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the pixels, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}
