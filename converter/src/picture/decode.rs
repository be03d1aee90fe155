//! From the bytes of a picture file to upright RGB.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::Picture;

/// Most pixels a picture may have: the number above which Pillow warns of a decompression bomb.
const MAX_PIXELS: u64 = 89_478_485;

/// Most memory a decoder may take beside its result, in bytes.
const MAX_DECODER_BYTES: u64 = 768 << 20;

/// Decodes a JPEG, PNG or BMP file; the error says what was found and what was expected.
pub fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| format!("cannot be read: {e}"))?;
    match reader.format() {
        Some(ImageFormat::Jpeg) if !has_end_of_image(bytes) => {
            return Err(format!("truncated: a JPEG of {} bytes without an end-of-image marker", bytes.len()));
        }
        Some(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::Bmp) => {}
        Some(other) => return Err(format!("{other:?} picture, expected JPEG, PNG or BMP")),
        None => return Err("not a picture, expected JPEG, PNG or BMP".into()),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);

    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(format!("{width} × {height} pixels, expected at most {} megapixels", MAX_PIXELS / 1_000_000));
    }
    // A picture with unreadable metadata is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    image.apply_orientation(orientation);
    let rgb = to_rgb8(image);
    let (width, height) = rgb.dimensions();
    Picture::from_rgb(height, width, rgb.into_raw()).ok_or_else(|| "a picture without pixels".into())
}

/// Whether an end-of-image marker follows the last start of a scan.
///
/// The decoder fills what is missing with grey; Pillow, and we, refuse a picture that was cut short.
fn has_end_of_image(jpeg: &[u8]) -> bool {
    let last = |marker: [u8; 2]| jpeg.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

/// Drops alpha, repeats grey and keeps the high byte of 16-bit samples, as Pillow does with RGB of 16 bits.
///
/// Pillow clips 16-bit grey at 255 instead, which leaves a white picture; that is not copied.
fn to_rgb8(image: DynamicImage) -> image::RgbImage {
    match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let wide = image.into_rgb16();
            image::RgbImage::from_fn(wide.width(), wide.height(), |x, y| {
                image::Rgb(wide.get_pixel(x, y).0.map(|sample| (sample >> 8) as u8))
            })
        }
        narrow => narrow.into_rgb8(),
    }
}
