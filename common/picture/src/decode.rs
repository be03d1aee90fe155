//! From the bytes of a picture file to upright RGB.
//!
//! JPEG goes through `jpeg-decoder`: of the decoders in Rust it comes closest to libjpeg-turbo, which Pillow uses,
//! where chroma is subsampled.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, GrayImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use jpeg_decoder::PixelFormat;

use super::Picture;

/// Most pixels a picture may have: the number above which Pillow warns of a decompression bomb.
const MAX_PIXELS: u64 = 89_478_485;

/// Most memory a decoder may take for its result and what it needs beside, in bytes.
const MAX_DECODER_BYTES: u64 = 1 << 30;

/// Most scans that a JPEG may have; a progressive one has about ten. Each costs a pass over all pixels and takes a few bytes in
/// the file, so without a limit a small file could keep the decoder busy for hours.
const MAX_SCANS: usize = 500;

/// Decodes a JPEG, PNG or BMP file; the error says what was found and what was expected.
pub fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let (mut image, orientation) = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => decode_jpeg(bytes)?,
        Ok(format @ (ImageFormat::Png | ImageFormat::Bmp)) => decode_lossless(bytes, format)?,
        Ok(other) => return Err(format!("{other:?} picture, expected JPEG, PNG or BMP")),
        Err(_) => return Err("not a picture, expected JPEG, PNG or BMP".into()),
    };
    image.apply_orientation(orientation);
    let rgb = to_rgb8(image);
    let (width, height) = rgb.dimensions();
    Picture::from_rgb(height, width, rgb.into_raw()).ok_or_else(|| "a picture without pixels".into())
}

fn decode_jpeg(bytes: &[u8]) -> Result<(DynamicImage, Orientation), String> {
    let failed = |e: jpeg_decoder::Error| format!("broken or truncated JPEG: {e}");
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.read_info().map_err(failed)?;
    let info = decoder.info().ok_or("JPEG without a frame header")?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_size(width, height)?;
    let scans = bytes.windows(2).filter(|marker| *marker == [0xff, 0xda]).count();
    if scans > MAX_SCANS {
        return Err(format!("JPEG with {scans} scans, expected at most {MAX_SCANS}"));
    }
    let samples = decoder.decode().map_err(failed)?;
    let orientation = decoder.exif_data().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let image = match info.pixel_format {
        PixelFormat::L8 => GrayImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::RGB24 => RgbImage::from_raw(width, height, samples).map(DynamicImage::from),
        PixelFormat::CMYK32 => RgbImage::from_raw(width, height, cmyk_to_rgb(&samples)).map(DynamicImage::from),
        PixelFormat::L16 => return Err("JPEG with 16 bits a sample, expected 8".into()),
    };
    Ok((image.ok_or("JPEG with fewer samples than its header says")?, orientation))
}

fn decode_lossless(bytes: &[u8], format: ImageFormat) -> Result<(DynamicImage, Orientation), String> {
    let failed = |e: image::ImageError| format!("broken or truncated {format:?}: {e}");
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    // A picture with unreadable metadata is still a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder).map_err(failed)?, orientation))
}

fn check_size(width: u32, height: u32) -> Result<(), String> {
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width} × {height} pixels, expected at most {} megapixels", MAX_PIXELS / 1_000_000));
    }
    Ok(())
}

/// Takes each ink off white, black off all three, with Pillow's rounding; no colour profile is followed.
fn cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let inked = |pixel: &[u8; 4]| {
        let [cyan, magenta, yellow, black] = *pixel;
        [cyan, magenta, yellow].map(|ink| {
            let light = u32::from(255 - black);
            let product = u32::from(ink) * light + 128;
            (light - ((product + (product >> 8)) >> 8)) as u8
        })
    };
    cmyk.as_chunks().0.iter().flat_map(inked).collect()
}

/// Drops alpha, repeats grey and keeps the high byte of 16-bit samples, as Pillow does with RGB of 16 bits.
///
/// Pillow clips 16-bit grey at 255 instead, which leaves a white picture; that is not copied.
fn to_rgb8(image: DynamicImage) -> RgbImage {
    match image {
        DynamicImage::ImageLuma16(_)
        | DynamicImage::ImageLumaA16(_)
        | DynamicImage::ImageRgb16(_)
        | DynamicImage::ImageRgba16(_) => {
            let wide = image.into_rgb16();
            RgbImage::from_fn(wide.width(), wide.height(), |x, y| {
                image::Rgb(wide.get_pixel(x, y).0.map(|sample| (sample >> 8) as u8))
            })
        }
        narrow => narrow.into_rgb8(),
    }
}
