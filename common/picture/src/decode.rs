//! Decodes the bytes of a picture file to upright RGB.
//!
//! Each kind of file has a module of its own. All of them state what decoding will cost before they begin, so that a
//! file cannot make a decoder take more memory or time than [`Limits`] allow.

mod bmp;
mod jpeg;
mod png;
mod scans;

use image::imageops::{
    flip_horizontal_in_place, flip_vertical_in_place, rotate90_in, rotate180_in_place, rotate270_in,
};
use image::metadata::Orientation;
use image::{ImageFormat, RgbImage};

use crate::Picture;
use crate::limits::{Budget, Limits, zeros};

/// A decoded picture as the file stores it, and how it has to be turned.
struct Stored {
    width: u32,
    height: u32,
    /// `[height, width, 3]`.
    rgb: Vec<u8>,
    orientation: Orientation,
}

/// Decodes a JPEG, PNG or BMP file. The error says what was found and what was expected.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Picture, String> {
    limits.check_file(bytes.len() as u64)?;
    let budget = Budget::new(limits, bytes);
    let stored = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, &budget)?,
        Ok(ImageFormat::Png) => png::decode(bytes, &budget)?,
        Ok(ImageFormat::Bmp) => bmp::decode(bytes, &budget)?,
        Ok(other) => return Err(format!("{other:?} picture, expected JPEG, PNG or BMP")),
        Err(_) => return Err("not a picture, expected JPEG, PNG or BMP".into()),
    };
    let upright = turn(stored, &budget)?;
    let (width, height) = upright.dimensions();
    Picture::from_rgb(height, width, upright.into_raw()).ok_or_else(|| "a picture without pixels".into())
}

/// Turns a picture upright. Only quarter turns need memory for a second picture.
fn turn(stored: Stored, budget: &Budget) -> Result<RgbImage, String> {
    let Stored { width, height, rgb, orientation } = stored;
    let mut image = RgbImage::from_raw(width, height, rgb).ok_or("fewer samples than the header says")?;
    match orientation {
        Orientation::NoTransforms => {}
        Orientation::FlipHorizontal => flip_horizontal_in_place(&mut image),
        Orientation::FlipVertical => flip_vertical_in_place(&mut image),
        Orientation::Rotate180 => rotate180_in_place(&mut image),
        Orientation::Rotate90 | Orientation::Rotate90FlipH | Orientation::Rotate270 | Orientation::Rotate270FlipH => {
            let length = image.as_raw().len();
            budget.check_memory(2 * length as u64)?;
            let mut turned = RgbImage::from_raw(height, width, zeros(length)?).ok_or("a picture without pixels")?;
            let outcome = match orientation {
                Orientation::Rotate90 | Orientation::Rotate90FlipH => rotate90_in(&image, &mut turned),
                _ => rotate270_in(&image, &mut turned),
            };
            outcome.map_err(|error| format!("cannot turn the picture upright: {error}"))?;
            if matches!(orientation, Orientation::Rotate90FlipH | Orientation::Rotate270FlipH) {
                flip_horizontal_in_place(&mut turned);
            }
            image = turned;
        }
    }
    Ok(image)
}

/// Moves the first three bytes of every group of four to the front, and cuts off the rest.
fn drop_every_fourth(samples: &mut Vec<u8>, convert: impl Fn([u8; 4]) -> [u8; 3]) {
    let count = samples.len() / 4;
    for pixel in 0..count {
        if let Some(&four) = samples.get(4 * pixel..).and_then(|rest| rest.first_chunk::<4>())
            && let Some(place) = samples.get_mut(3 * pixel..3 * pixel + 3)
        {
            place.copy_from_slice(&convert(four));
        }
    }
    samples.truncate(3 * count);
}
