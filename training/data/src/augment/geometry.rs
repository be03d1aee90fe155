//! Rotations, shears and translations with the arithmetic of Pillow's `Image.transform` and `Image.rotate`.
//!
//! The results equal Pillow's in every bit. Only additions, multiplications and comparisons of f64 decide a pixel; the
//! sine and cosine of a rotation are computed by `libm` and rounded to 15 decimals, as Pillow rounds them.

use super::canvas::Canvas;

/// A filter of [`affine`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Takes the pixel at the position.
    Nearest,
    /// Weighs 2 × 2 pixels linearly.
    Bilinear,
    /// Weighs 4 × 4 pixels by cubic convolution with a = -1.
    Bicubic,
}

/// The matrix of an affine map from a position in the result to one in the source:
/// `(a · x + b · y + c, d · x + e · y + f)`.
pub type Matrix = [f64; 6];

/// Returns the matrix of timm's `shear_x`.
pub const fn shear_x(factor: f64) -> Matrix {
    [1.0, factor, 0.0, 0.0, 1.0, 0.0]
}

/// Returns the matrix of timm's `shear_y`.
pub const fn shear_y(factor: f64) -> Matrix {
    [1.0, 0.0, 0.0, factor, 1.0, 0.0]
}

/// Returns the matrix of timm's `translate_x_abs`. timm's `translate_x_rel` gives a share of the width.
pub const fn translate_x(pixels: f64) -> Matrix {
    [1.0, 0.0, pixels, 0.0, 1.0, 0.0]
}

/// Returns the matrix of timm's `translate_y_abs`. timm's `translate_y_rel` gives a share of the height.
pub const fn translate_y(pixels: f64) -> Matrix {
    [1.0, 0.0, 0.0, 0.0, 1.0, pixels]
}

/// Returns the matrix of Pillow's `rotate`, which turns a picture counter-clockwise about its centre. Pillow turns by
/// multiples of 90 degrees without a matrix; see [`rotate`].
fn rotation(degrees: f64, [height, width]: [usize; 2]) -> Matrix {
    let angle = -(degrees.rem_euclid(360.0) * (std::f64::consts::PI / 180.0));
    let (sine, cosine) = libm::sincos(angle);
    let [a, b, d, e] = [cosine, sine, -sine, cosine].map(to_15_decimals);
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    // Pillow adds a zero before it adds the centre, which changes nothing.
    [a, b, a * -x + b * -y + x, d, e, d * -x + e * -y + y]
}

/// Rounds to 15 decimals as Python's `round` does, by way of the decimal digits.
fn to_15_decimals(value: f64) -> f64 {
    format!("{value:.15}").parse().unwrap_or(value)
}

/// Turns the picture counter-clockwise about its centre: Pillow's `Image.rotate(degrees, filter, fillcolor=fill)`.
///
/// Angles that are multiples of 90 degrees, other than multiples of 360, are interpolated like all others, while Pillow
/// moves whole pixels.
pub fn rotate(canvas: &mut Canvas, degrees: f64, filter: Filter, fill: [u8; 3]) {
    if degrees.rem_euclid(360.0) != 0.0 {
        let matrix = rotation(degrees, canvas.size());
        affine(canvas, matrix, filter, fill);
    }
}

/// Maps the picture: Pillow's `Image.transform(size, AFFINE, matrix, filter, fillcolor=fill)`.
///
/// Pixels whose position lies outside the source get the colour `fill`.
pub fn affine(canvas: &mut Canvas, matrix: Matrix, filter: Filter, fill: [u8; 3]) {
    let [height, width] = canvas.size();
    canvas.replace(|source, target| {
        let source = Source { pixels: source, height, width };
        match filter {
            Filter::Nearest if matrix[1] == 0.0 && matrix[3] == 0.0 => scale_nearest(&source, target, matrix, fill),
            Filter::Nearest => nearest(&source, target, matrix, fill),
            Filter::Bilinear => interpolate(&source, target, matrix, fill, bilinear),
            Filter::Bicubic => interpolate(&source, target, matrix, fill, bicubic),
        }
    });
}

/// The picture that is read.
struct Source<'s> {
    pixels: &'s [[u8; 3]],
    height: usize,
    width: usize,
}

impl Source<'_> {
    /// Returns the pixel, or `fill` where there is none.
    fn pixel(&self, y: i64, x: i64, fill: [u8; 3]) -> [u8; 3] {
        if y < 0 || x < 0 || y >= self.height as i64 || x >= self.width as i64 {
            return fill;
        }
        self.pixels[y as usize * self.width + x as usize]
    }

    /// Returns row `y`, or the closest one where there is none.
    fn row(&self, y: i64) -> &[[u8; 3]] {
        let y = y.clamp(0, self.height as i64 - 1) as usize;
        &self.pixels[y * self.width..(y + 1) * self.width]
    }

    /// Returns column `x`, or the closest one where there is none.
    fn column(&self, x: i64) -> usize {
        x.clamp(0, self.width as i64 - 1) as usize
    }
}

/// Takes the nearest pixels without turning: positions are sums of steps, as in Pillow's `ImagingScaleAffine`.
fn scale_nearest(source: &Source, target: &mut [[u8; 3]], [a, _, c, _, e, f]: Matrix, fill: [u8; 3]) {
    let whole = |position: f64| if position < 0.0 { -1 } else { position as i64 };
    let mut y = f + e * 0.5;
    for row in target.chunks_exact_mut(source.width) {
        let mut x = c + a * 0.5;
        for pixel in row {
            *pixel = source.pixel(whole(y), whole(x), fill);
            x += a;
        }
        y += e;
    }
}

/// Takes the nearest pixels with positions in units of 2⁻¹⁶, as in Pillow's `affine_fixed`. Positions beyond 2¹⁵
/// pixels, which Pillow computes in f64, are clipped.
fn nearest(source: &Source, target: &mut [[u8; 3]], [a, b, c, d, e, f]: Matrix, fill: [u8; 3]) {
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let (mut first_x, mut first_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    let [a, b, d, e] = [a, b, d, e].map(fixed);
    for row in target.chunks_exact_mut(source.width) {
        let (mut x, mut y) = (first_x, first_y);
        for pixel in row {
            *pixel = source.pixel(y >> 16, x >> 16, fill);
            (x, y) = (x + a, y + d);
        }
        (first_x, first_y) = (first_x + b, first_y + e);
    }
}

/// Computes each pixel by `filter` from its position in the source.
fn interpolate(
    source: &Source,
    target: &mut [[u8; 3]],
    [a, b, c, d, e, f]: Matrix,
    fill: [u8; 3],
    filter: impl Fn(&Source, f64, f64) -> [u8; 3],
) {
    let (height, width) = (source.height as f64, source.width as f64);
    for (y, row) in target.chunks_exact_mut(source.width).enumerate() {
        let y = y as f64 + 0.5;
        for (x, pixel) in row.iter_mut().enumerate() {
            let x = x as f64 + 0.5;
            let (from_x, from_y) = (a * x + b * y + c, d * x + e * y + f);
            let inside = from_x >= 0.0 && from_x < width && from_y >= 0.0 && from_y < height;
            *pixel = if inside { filter(source, from_x - 0.5, from_y - 0.5) } else { fill };
        }
    }
}

/// Weighs 2 × 2 pixels around a position, which counts from the first pixel's centre.
fn bilinear(source: &Source, x: f64, y: f64) -> [u8; 3] {
    let (left, top) = (floor(x), floor(y));
    let (dx, dy) = (x - left as f64, y - top as f64);
    let columns = [source.column(left), source.column(left + 1)];
    let across = |row: &[[u8; 3]]| {
        let [p, q] = columns.map(|column| row[column]);
        [0, 1, 2].map(|c| f64::from(p[c]) + f64::from(i32::from(q[c]) - i32::from(p[c])) * dx)
    };
    let upper = across(source.row(top));
    if dy == 0.0 {
        return upper.map(|value| value as u8);
    }
    let lower = across(source.row(top + 1));
    // A conversion of Rust's drops the fraction, as C's does.
    [0, 1, 2].map(|c| (upper[c] + (lower[c] - upper[c]) * dy) as u8)
}

/// Weighs 4 × 4 pixels around a position, which counts from the first pixel's centre.
fn bicubic(source: &Source, x: f64, y: f64) -> [u8; 3] {
    let (left, top) = (floor(x), floor(y));
    let (dx, dy) = (x - left as f64, y - top as f64);
    let columns = [-1, 0, 1, 2].map(|step| source.column(left + step));
    // Without a fraction, the polynomial is the value of the second pixel or row exactly.
    let across = |row: &[[u8; 3]]| {
        if dx == 0.0 {
            return row[columns[1]].map(f64::from);
        }
        let pixels = columns.map(|column| row[column]);
        [0, 1, 2].map(|c| {
            // The differences of whole numbers are exact, so they may be computed as whole numbers.
            let [v1, v2, v3, v4] = pixels.map(|pixel| i32::from(pixel[c]));
            let [p1, p2, p3, p4] = [v2, v3 - v1, 2 * (v1 - v2) + v3 - v4, v2 - v1 - v3 + v4].map(f64::from);
            p1 + dx * (p2 + dx * (p3 + dx * p4))
        })
    };
    if dy == 0.0 {
        return across(source.row(top)).map(|value| value as u8);
    }
    let rows = [-1, 0, 1, 2].map(|step| across(source.row(top + step)));
    // A conversion of Rust's clips the value to 0 … 255 and drops the fraction.
    [0, 1, 2].map(|c| {
        let [v1, v2, v3, v4] = rows.map(|row| row[c]);
        let (p2, p3, p4) = (-v1 + v3, 2.0 * (v1 - v2) + v3 - v4, -v1 + v2 - v3 + v4);
        (v2 + dy * (p2 + dy * (p3 + dy * p4))) as u8
    })
}

/// Returns the largest whole number that is not above a value of moderate size.
fn floor(value: f64) -> i64 {
    let whole = value as i64;
    whole - i64::from(whole as f64 > value)
}
