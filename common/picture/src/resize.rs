//! Resamples pictures with the arithmetic of Pillow, and reads only the part of the source that the result needs.

use std::error::Error;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ImageView, ResizeAlg, ResizeOptions, Resizer};

use crate::Picture;
use crate::limits::zeros;

/// Radius of the widest filter, cubic convolution, in pixels of the smaller of source and result.
const RADIUS: f64 = 2.0;

/// A part of a side, in pixels and fractions of pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub start: f64,
    pub length: f64,
}

/// Resamples the spans `rows` and `columns` of a picture to `[height, width]` pixels: `[height, width, 3]` of u8.
///
/// The first pass goes across and the second one down, each rounded to u8. That is Pillow's order, and it shows where a
/// filter overshoots. The first pass makes only the rows that the second one reads, so a picture of any shape takes
/// memory for about as many rows as it has columns.
pub fn resample(
    picture: &Picture,
    rows: Span,
    columns: Span,
    [height, width]: [u32; 2],
    filter: FilterType,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let (first, count) = rows_read(rows, height, picture.height());
    let source_row = 3 * picture.width() as usize;
    let start = first as usize * source_row;
    let source = picture.rgb().get(start..start + count as usize * source_row).ok_or("a span beyond the picture")?;

    let mut narrowed = zeros::<U8x3>(count as usize * width as usize)?;
    let across = options.crop(columns.start, 0.0, columns.length, f64::from(count));
    Resizer::new().resize_typed(
        &TypedImageRef::<U8x3>::from_buffer(picture.width(), count, source)?,
        &mut TypedImage::from_pixels_slice(width, count, &mut narrowed)?,
        &across,
    )?;

    let mut resized = zeros(3 * height as usize * width as usize)?;
    let down = options.crop(0.0, rows.start, f64::from(width), rows.length);
    Resizer::new().resize_typed(
        &Window { pixels: &narrowed, width, height: picture.height(), first },
        &mut TypedImage::<U8x3>::from_buffer(width, height, &mut resized)?,
        &down,
    )?;
    Ok(resized)
}

/// Returns the first row that resampling `span` of a side of `source` pixels to `target` pixels reads, and how many it
/// reads.
fn rows_read(span: Span, target: u32, source: u32) -> (u32, u32) {
    let scale = (span.length / f64::from(target)).max(1.0);
    // One more row on each side stands for whatever rounding the resizer does.
    let margin = RADIUS * scale + 1.0;
    let first = (span.start - margin).floor().max(0.0) as u32;
    let end = (span.start + span.length + margin).ceil().min(f64::from(source)) as u32;
    (first, end - first)
}

/// A picture that has only some of its rows in memory.
///
/// The resizer computes a filter's weights from positions in the whole picture. Were it given the rows alone, positions
/// would be rounded differently, and so might be a pixel.
struct Window<'p> {
    /// The rows from `first` on, each of `width` pixels.
    pixels: &'p [U8x3],
    width: u32,
    /// Height of the whole picture.
    height: u32,
    first: u32,
}

// SAFETY: the trait's one condition is that every row is at least as long as the image is wide, and `chunks_exact`
// gives rows of exactly `width` pixels. Were a row read that is not in memory, another row or none would take its
// place.
unsafe impl ImageView for Window<'_> {
    type Pixel = U8x3;

    fn width(&self) -> u32 {
        self.width
    }

    fn height(&self) -> u32 {
        self.height
    }

    fn iter_rows(&self, start_row: u32) -> impl Iterator<Item = &[U8x3]> {
        let skipped = start_row.saturating_sub(self.first) as usize;
        self.pixels.chunks_exact(self.width as usize).skip(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Resamples with all rows in memory. [`resample`] must give the same result.
    fn reference(picture: &Picture, rows: Span, columns: Span, to: [u32; 2], filter: FilterType) -> Vec<u8> {
        let width = to[1];
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        let step = |size: [u32; 2], pixels: &[u8], to: [u32; 2], options: &ResizeOptions| {
            let source = TypedImageRef::<U8x3>::from_buffer(size[1], size[0], pixels).unwrap();
            let mut resized = vec![0; 3 * to[0] as usize * to[1] as usize];
            let mut target = TypedImage::<U8x3>::from_buffer(to[1], to[0], &mut resized).unwrap();
            Resizer::new().resize_typed(&source, &mut target, options).unwrap();
            resized
        };
        let all = f64::from(picture.height());
        let across = options.crop(columns.start, 0.0, columns.length, all);
        let narrowed = step([picture.height(), picture.width()], picture.rgb(), [picture.height(), width], &across);
        let down = options.crop(0.0, rows.start, f64::from(width), rows.length);
        step([picture.height(), width], &narrowed, to, &down)
    }

    /// A linear congruential generator (Knuth's MMIX constants).
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) % u64::from(limit)) as u32
        }

        fn fraction(&mut self) -> f64 {
            f64::from(self.below(1 << 24)) / f64::from(1 << 24)
        }

        /// A span of a side of `source` pixels: odd, whole, or all of it.
        fn span(&mut self, source: u32) -> Span {
            let side = f64::from(source);
            match self.below(4) {
                0 => Span { start: 0.0, length: side },
                1 => {
                    let start = self.below(source);
                    Span { start: f64::from(start), length: f64::from(1 + self.below(source - start)) }
                }
                _ => {
                    let start = self.fraction() * side * 0.9;
                    Span { start, length: (0.01 + self.fraction()).min(1.0) * (side - start) }
                }
            }
        }
    }

    #[test]
    fn reading_only_the_rows_that_are_needed_changes_no_bit() {
        let mut random = Random(7);
        for round in 0..1500 {
            let side = |random: &mut Random| match random.below(4) {
                0 => 1 + random.below(4),
                1 => 1 + random.below(2000),
                _ => 1 + random.below(120),
            };
            let (height, width) = (side(&mut random), side(&mut random).min(150));
            let rgb = (0..3 * height * width).map(|_| [0, 255, random.below(256) as u8][random.below(3) as usize]);
            let picture = Picture::from_rgb(height, width, rgb.collect()).unwrap();
            let (rows, columns) = (random.span(height), random.span(width));
            // Sizes that are the span's own take the resizer's short cuts.
            let own =
                |length: f64, other: u32| if length >= 1.0 && other.is_multiple_of(5) { length as u32 } else { other };
            let to = [own(rows.length, 1 + random.below(90)), own(columns.length, 1 + random.below(90))];
            for filter in [FilterType::CatmullRom, FilterType::Bilinear] {
                let ours = resample(&picture, rows, columns, to, filter).unwrap();
                let expected = reference(&picture, rows, columns, to, filter);
                assert!(ours == expected, "round {round}: {height} × {width}, {rows:?}, {columns:?} to {to:?}");
            }
        }
    }

    #[test]
    fn a_tall_picture_needs_few_rows() {
        // The middle pixel of a column of 60,000, enlarged to 224 pixels.
        assert_eq!(rows_read(Span { start: 30_000.0, length: 1.0 }, 224, 60_000), (29_997, 7));
        assert_eq!(rows_read(Span { start: 0.0, length: 100.0 }, 50, 100), (0, 100));
        assert_eq!(rows_read(Span { start: 40.0, length: 20.0 }, 10, 100), (35, 30));
    }
}
