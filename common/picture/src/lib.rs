//! Pictures in: decoded, turned upright, resized and cropped as torchvision with Pillow does it.

#[cfg(feature = "dataset")]
pub mod dataset;
mod decode;
mod error;
mod normalise;
mod preprocess;

use std::fs::File;
use std::io::Read;
use std::path::Path;

pub use error::{Error, Result};
pub use preprocess::{Preprocess, ResizeMode};

/// Longest picture file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// An upright 8-bit RGB picture of at least one pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    height: u32,
    width: u32,
    rgb: Vec<u8>,
}

impl Picture {
    /// A picture of `height * width` pixels, `rgb` being `[height, width, 3]`.
    ///
    /// `None` where `rgb` has another length or the picture no pixel.
    pub fn from_rgb(height: u32, width: u32, rgb: Vec<u8>) -> Option<Self> {
        let pixels = u64::from(height) * u64::from(width);
        (pixels > 0 && pixels.checked_mul(3) == Some(rgb.len() as u64)).then_some(Self { height, width, rgb })
    }

    /// Reads a JPEG, PNG or BMP file, told apart by content; EXIF orientation is applied, alpha dropped.
    ///
    /// Errors name the file: unreadable, of another kind, truncated, or too large (256 MiB, 89 megapixels).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |message| Error::File { path: path.to_owned(), message };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(failed(format!("longer than {} MiB, expected a picture", MAX_FILE_BYTES >> 20)));
        }
        Self::decode(&bytes).map_err(failed)
    }

    /// Decodes the bytes of a picture file as [`Picture::open`] does; the error is the message without the file's name.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        decode::decode(bytes)
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The pixels, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}
