//! Decodes JPEG files.
//!
//! They go through `jpeg-decoder`: of the decoders in Rust it comes closest to libjpeg-turbo, which Pillow uses, where
//! chroma is subsampled. It takes whatever memory and time a file asks for, so [`Survey`] counts both beforehand.

use image::metadata::Orientation;
use jpeg_decoder::{Decoder, PixelFormat};

use super::scans::Survey;
use super::{Stored, drop_every_fourth};
use crate::limits::{Budget, require, zeros};

pub fn decode(bytes: &[u8], budget: &Budget) -> Result<Stored, String> {
    let failed = |error| format!("broken or truncated JPEG: {error}");
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(failed)?;
    let info = decoder.info().ok_or("JPEG without a frame header")?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    Budget::check_size(width, height)?;
    let survey = Survey::of(bytes).ok_or("JPEG without a frame header")?;
    let memory = survey.memory();
    budget.check_memory(memory + survey.metadata())?;
    budget.check_work(survey.work(), survey.scans())?;
    require(memory)?;
    let mut samples = decoder.decode().map_err(failed)?;
    let exif = decoder.exif_data().and_then(Orientation::from_exif_chunk);
    let rgb = match info.pixel_format {
        PixelFormat::RGB24 => samples,
        PixelFormat::L8 => {
            let mut rgb = zeros(3 * samples.len())?;
            rgb.as_chunks_mut().0.iter_mut().zip(&samples).for_each(|(pixel, &grey)| *pixel = [grey; 3]);
            rgb
        }
        PixelFormat::CMYK32 => {
            drop_every_fourth(&mut samples, cmyk_to_rgb);
            samples
        }
        PixelFormat::L16 => return Err("JPEG with 16 bits a sample, expected 8".into()),
    };
    Ok(Stored { width, height, rgb, orientation: exif.unwrap_or(Orientation::NoTransforms) })
}

/// Subtracts each ink from white, and black from all three colours, with Pillow's rounding. Colour profiles are
/// ignored.
fn cmyk_to_rgb([cyan, magenta, yellow, black]: [u8; 4]) -> [u8; 3] {
    [cyan, magenta, yellow].map(|ink| {
        let light = u32::from(255 - black);
        let product = u32::from(ink) * light + 128;
        (light - ((product + (product >> 8)) >> 8)) as u8
    })
}
