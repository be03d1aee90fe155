//! Decodes BMP files, including run-length encoded ones.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use super::{Stored, drop_every_fourth};
use crate::limits::{Budget, zeros};

pub fn decode(bytes: &[u8], budget: &Budget) -> Result<Stored, String> {
    let failed = |error| format!("broken or truncated BMP: {error}");
    let decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    Budget::check_size(width, height)?;
    let color = decoder.color_type();
    budget.check_memory(decoder.total_bytes())?;
    let mut samples = zeros(decoder.total_bytes() as usize)?;
    decoder.read_image(&mut samples).map_err(failed)?;
    match color {
        ColorType::Rgb8 => {}
        ColorType::Rgba8 => drop_every_fourth(&mut samples, |[red, green, blue, _]| [red, green, blue]),
        other => return Err(format!("BMP of kind {other:?}, expected RGB with or without alpha")),
    }
    Ok(Stored { width, height, rgb: samples, orientation: Orientation::NoTransforms })
}
