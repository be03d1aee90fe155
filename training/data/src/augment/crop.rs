//! Cuts out random parts of pictures.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use resmlp_picture::Picture;

use super::Padding;
use super::canvas::Canvas;
use super::geometry::Filter;
use crate::random::Random;

/// A rectangle of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rectangle {
    /// Rows above the rectangle.
    pub top: u32,
    /// Columns to the left of the rectangle.
    pub left: u32,
    /// Number of rows.
    pub height: u32,
    /// Number of columns.
    pub width: u32,
}

impl Rectangle {
    /// Tells whether the pixel in row `y` and column `x` is within the rectangle.
    pub fn contains(&self, y: usize, x: usize) -> bool {
        let within = |position: usize, first: u32, length: u32| position.wrapping_sub(first as usize) < length as usize;
        within(y, self.top, self.height) && within(x, self.left, self.width)
    }
}

/// Draws the rectangle of a random resized crop in a picture of `[height, width]` pixels: timm's
/// `RandomResizedCropAndInterpolation.get_params`.
///
/// `scale` bounds the share of the picture's area, and `ratio` the ratio of width to height. If ten rectangles do not
/// fit, the largest central one of an allowed ratio is taken.
pub fn random_rectangle(random: &mut Random, size: [u32; 2], scale: [f32; 2], ratio: [f32; 2]) -> Rectangle {
    let [height, width] = size;
    let [scale, ratio] = [scale, ratio].map(|range| range.map(f64::from));
    let area = f64::from(height) * f64::from(width);
    let log_ratio = ratio.map(libm::log);
    for _ in 0..10 {
        let target = random.uniform(scale[0], scale[1]) * area;
        let aspect = libm::exp(random.uniform(log_ratio[0], log_ratio[1]));
        let [w, h] = [target * aspect, target / aspect].map(|square| square.sqrt().round_ties_even() as u32);
        // timm lets a side of a tiny picture become zero, and Pillow then refuses the crop.
        let (w, h) = (w.max(1), h.max(1));
        if w <= width && h <= height {
            let (top, left) = (random.below(height - h + 1), random.below(width - w + 1));
            return Rectangle { top, left, height: h, width: w };
        }
    }
    let shape = f64::from(width) / f64::from(height);
    let rounded = |side: f64, most: u32| (side.round_ties_even() as u32).clamp(1, most);
    let (h, w) = if shape < ratio[0] {
        (rounded(f64::from(width) / ratio[0], height), width)
    } else if shape > ratio[1] {
        (height, rounded(f64::from(height) * ratio[1], width))
    } else {
        (height, width)
    };
    Rectangle { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}

/// Cuts rectangles out of pictures and resizes them, and keeps the memory that this takes.
#[derive(Debug)]
pub struct Cutter {
    resizer: Resizer,
    /// The rectangle, `[height, width, 3]`.
    cut: Vec<u8>,
    /// The rectangle with the width of the result.
    narrowed: Vec<u8>,
}

impl Default for Cutter {
    fn default() -> Self {
        Self { resizer: Resizer::new(), cut: Vec::new(), narrowed: Vec::new() }
    }
}

impl Cutter {
    /// Cuts out a rectangle and resizes it to `size` (height, width) on the canvas: Pillow's `crop` and `resize`.
    ///
    /// A value differs from Pillow's by at most 1. No pixel outside the rectangle has an influence.
    ///
    /// # Panics
    /// Panics if the rectangle is empty or not within the picture, or if the filter is [`Filter::Nearest`], for which
    /// no resize is defined.
    pub fn cut(&mut self, picture: &Picture, part: Rectangle, filter: Filter, size: [usize; 2], canvas: &mut Canvas) {
        let filter = match filter {
            Filter::Bicubic => FilterType::CatmullRom,
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Nearest => unreachable!("settings with the nearest filter are refused"),
        };
        let Rectangle { top, left, height, width } = part;
        let [row, first] = [picture.width(), left].map(|pixels| 3 * pixels as usize);
        self.cut.clear();
        let rows = picture.rgb().chunks_exact(row).skip(top as usize).take(height as usize);
        rows.for_each(|row| self.cut.extend_from_slice(&row[first..first + 3 * width as usize]));

        // Pillow's first pass goes across and the second one down, each rounded to u8.
        let [target_height, target_width] = size.map(|side| side as u32);
        self.narrowed.resize(3 * height as usize * target_width as usize, 0);
        let target = canvas.resize(size);
        pass(&mut self.resizer, filter, &self.cut, [height, width], &mut self.narrowed, [height, target_width]);
        pass(&mut self.resizer, filter, &self.narrowed, [height, target_width], target, [target_height, target_width]);
    }
}

/// Resizes a picture; `from` and `to` are the heights and widths.
fn pass(resizer: &mut Resizer, filter: FilterType, source: &[u8], from: [u32; 2], target: &mut [u8], to: [u32; 2]) {
    if from == to {
        return target.copy_from_slice(source);
    }
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    let source = TypedImageRef::<U8x3>::from_buffer(from[1], from[0], source).expect("buffer of the picture's size");
    let mut target = TypedImage::<U8x3>::from_buffer(to[1], to[0], target).expect("buffer of the result's size");
    resizer.resize_typed(&source, &mut target, &options).expect("a resize of the whole picture");
}

/// Pads the canvas by `pixels` on all sides and cuts out the part of its old size that begins at `top` and `left` of
/// the padded picture: torchvision's `pad` and `crop`.
///
/// # Panics
/// Panics if `top` or `left` is above `2 · pixels`.
pub fn padded(canvas: &mut Canvas, pixels: u32, padding: Padding, [top, left]: [u32; 2]) {
    assert!(top <= 2 * pixels && left <= 2 * pixels, "a crop beyond the padding");
    let [height, width] = canvas.size();
    let [down, right] = [top, left].map(|first| i64::from(first) - i64::from(pixels));
    let inside = |position: i64, side: usize| usize::try_from(position).ok().filter(|&position| position < side);
    canvas.replace(|source, target| {
        for (y, row) in (0..).zip(target.chunks_exact_mut(width)) {
            let from = match padding {
                Padding::Zero => inside(y + down, height),
                Padding::Reflect => Some(reflect(y + down, height)),
            };
            let Some(from) = from.map(|y| &source[y * width..(y + 1) * width]) else {
                row.fill([0; 3]);
                continue;
            };
            for (x, pixel) in (0..).zip(row) {
                *pixel = match padding {
                    Padding::Zero => inside(x + right, width).map_or([0; 3], |x| from[x]),
                    Padding::Reflect => from[reflect(x + right, width)],
                };
            }
        }
    });
}

/// Returns the position within a side that a position beyond its ends mirrors. The outermost pixels do not repeat.
fn reflect(position: i64, side: usize) -> usize {
    let last = side as i64 - 1;
    if (0..=last).contains(&position) {
        return position as usize;
    }
    if last == 0 {
        return 0;
    }
    let position = position.rem_euclid(2 * last);
    position.min(2 * last - position) as usize
}
