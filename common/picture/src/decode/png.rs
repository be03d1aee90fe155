//! Decodes PNG files.
//!
//! Colour profiles and texts are skipped without being decompressed: a kilobyte of them can hold a megabyte. What is
//! not interlaced is turned into RGB row by row, so that only the RGB picture is ever held whole.

use std::io::Cursor;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};

use super::Stored;
use crate::limits::{Budget, zeros};

/// Bytes of metadata that are allowed in every file, whatever remains of its budget.
const METADATA: u64 = 256 << 10;

/// Bytes that the decoder's window and tables take in addition to its rows.
const DECODER: u64 = 512 << 10;

pub fn decode(bytes: &[u8], budget: &Budget) -> Result<Stored, String> {
    let failed = |error| format!("broken or truncated PNG: {error}");
    let mut decoder = Decoder::new(Cursor::new(bytes));
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(failed)?;
    let (width, height, interlaced) = (header.width, header.height, header.interlaced);
    Budget::check_size(width, height)?;
    let pixels = u64::from(width) * u64::from(height);
    // At most four channels of two bytes. A row is held three times: compressed, filtered and expanded.
    let rows = 3 * 8 * u64::from(width) + DECODER;
    budget.check_memory(3 * pixels + rows)?;
    // EXIF is the only metadata that the decoder keeps, and it holds it three times.
    let metadata = (budget.memory - 3 * pixels - rows) / 3;
    decoder.set_limits(Limits { bytes: usize::try_from(rows + metadata.max(METADATA)).unwrap_or(usize::MAX) });
    let mut reader = decoder.read_info().map_err(failed)?;
    let orientation = reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
    let layout = Layout::of(&reader)?;
    let mut rgb = zeros(3 * pixels as usize)?;
    if interlaced {
        let stored = (layout.pixel as u64) * pixels;
        budget.check_memory(3 * pixels + rows + stored)?;
        let mut samples = zeros(stored as usize)?;
        reader.next_frame(&mut samples).map_err(failed)?;
        layout.to_rgb(&samples, &mut rgb);
    } else {
        let mut row = zeros(layout.pixel * width as usize)?;
        for place in rgb.chunks_exact_mut(3 * width as usize) {
            reader.read_row(&mut row).map_err(failed)?.ok_or("broken PNG: rows are missing")?;
            layout.to_rgb(&row, place);
        }
        // Reads the rest of the compressed data, so that a wrong checksum is noticed.
        reader.read_row(&mut row).map_err(failed)?;
    }
    Ok(Stored { width, height, rgb, orientation: orientation.unwrap_or(Orientation::NoTransforms) })
}

/// The arrangement of a pixel's samples, in bytes.
struct Layout {
    /// Size of a pixel.
    pixel: usize,
    /// Distance from a sample to the next one of the same pixel.
    sample: usize,
    is_grey: bool,
}

impl Layout {
    fn of(reader: &Reader<Cursor<&[u8]>>) -> Result<Self, String> {
        let (color, depth) = reader.output_color_type();
        let sample = match depth {
            BitDepth::Eight => 1,
            BitDepth::Sixteen => 2,
            other => return Err(format!("PNG of {other:?} bits a sample, expected 8 or 16")),
        };
        let is_grey = matches!(color, ColorType::Grayscale | ColorType::GrayscaleAlpha);
        Ok(Self { pixel: color.samples() * sample, sample, is_grey })
    }

    /// Drops alpha, repeats grey, and keeps the high byte of 16-bit samples, as Pillow does with RGB of 16 bits.
    ///
    /// Pillow instead clips 16-bit grey at 255, which makes nearly every picture white. This function does not copy
    /// that.
    fn to_rgb(&self, samples: &[u8], rgb: &mut [u8]) {
        let offsets = if self.is_grey { [0; 3] } else { [0, self.sample, 2 * self.sample] };
        for (pixel, place) in samples.chunks_exact(self.pixel).zip(rgb.as_chunks_mut::<3>().0) {
            *place = offsets.map(|offset| pixel.get(offset).copied().unwrap_or_default());
        }
    }
}
