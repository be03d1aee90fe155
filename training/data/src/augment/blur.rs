//! Gaussian blur with the arithmetic of Pillow's `GaussianBlur`: three box blurs whose width need not be whole. The
//! results equal Pillow's in every bit.

use super::canvas::Canvas;

/// Number of box blurs in each direction.
const PASSES: usize = 3;

/// Blurs the picture: `ImageFilter.GaussianBlur(radius)`.
pub fn gaussian(canvas: &mut Canvas, radius: f64) {
    let Some(window) = Window::of(box_radius(radius as f32)) else { return };
    for _ in 0..2 {
        let [_, width] = canvas.size();
        for _ in 0..PASSES {
            canvas.replace(|source, target| {
                for (from, to) in source.chunks_exact(width).zip(target.chunks_exact_mut(width)) {
                    window.blur_row(from, to);
                }
            });
        }
        transpose(canvas);
    }
}

/// Returns the radius of the box that gives, after three passes, a Gaussian's standard deviation `radius` (Gwosdek et
/// al., Theoretical Foundations of Gaussian Convolution by Extended Box Filtering, 2011).
fn box_radius(radius: f32) -> f32 {
    let variance = radius * radius / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    whole + fraction / (6.0 * (variance - (whole + 1.0) * (whole + 1.0)))
}

/// The weights of a box: `2 · radius + 1` pixels count fully, and one more on each side counts in part.
struct Window {
    radius: usize,
    /// Weight of a full pixel, in units of 2⁻²⁴.
    full: u32,
    /// Weight of the outermost two, in units of 2⁻²⁴.
    outer: u32,
}

impl Window {
    /// Returns the window of a radius, or `None` if it is not above zero.
    fn of(radius: f32) -> Option<Self> {
        if radius.is_nan() || radius <= 0.0 {
            return None;
        }
        let whole = radius as usize;
        let full = ((1 << 24) as f32 / (radius * 2.0 + 1.0)) as u32;
        let outer = ((1 << 24) - (whole as u32 * 2 + 1) * full) / 2;
        Some(Self { radius: whole, full, outer })
    }

    /// Blurs one row. Beyond its ends, the row goes on with its first and its last pixel.
    fn blur_row(&self, from: &[[u8; 3]], to: &mut [[u8; 3]]) {
        let last = from.len() as isize - 1;
        let radius = self.radius as isize;
        let pixel = |x: isize| from[x.clamp(0, last) as usize].map(u32::from);
        let mut sum = [0; 3];
        for x in -radius - 1..radius {
            sum = add(sum, pixel(x));
        }
        for (x, result) in (0..).zip(to) {
            let (before, end, after) = (pixel(x - radius - 1), pixel(x + radius), pixel(x + radius + 1));
            for c in 0..3 {
                sum[c] = sum[c] + end[c] - before[c];
                let weighted = sum[c] * self.full + (before[c] + after[c]) * self.outer;
                result[c] = ((weighted + (1 << 23)) >> 24) as u8;
            }
        }
    }
}

fn add(a: [u32; 3], b: [u32; 3]) -> [u32; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// Exchanges rows and columns.
fn transpose(canvas: &mut Canvas) {
    let [height, width] = canvas.size();
    canvas.replace(|source, target| {
        for (y, row) in source.chunks_exact(width).enumerate() {
            for (x, pixel) in row.iter().enumerate() {
                target[x * height + y] = *pixel;
            }
        }
    });
    canvas.resize([width, height]);
}
