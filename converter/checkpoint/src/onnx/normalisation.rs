//! Expresses a graph's arithmetic on the pixels before the patch embedding as mean and standard deviation.

use crate::LARGEST_OF_UNIT_PIXELS;

/// What a graph does to its pixels before the patch embedding.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Normalisation {
    /// Mean of each colour, for pixels from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each colour, for pixels from 0 to 1.
    pub std: [f32; 3],
    /// The largest value of the graph's pixels: 1 or 255.
    pub range: f32,
    /// Whether the graph negates each colour.
    pub negative: [bool; 3],
}

/// Converts `scale · pixel + shift` of each colour into mean and standard deviation. Returns `None` for floats that
/// enter the patch embedding unchanged.
///
/// # Errors
/// Returns a sentence where a colour is multiplied by zero, and where the numbers are too large or too small for `f32`.
pub(super) fn read(pixels: [[f64; 2]; 3], integers: bool) -> Result<Option<Normalisation>, String> {
    if !integers && pixels == [[1.0, 0.0]; 3] {
        return Ok(None);
    }
    let deviations = pixels.map(|[scale, _]| 1.0 / scale.abs());
    let means = pixels.map(|[scale, shift]| -shift / scale);
    let is_large = |values: [f64; 3]| values.iter().any(|value| value.abs() > LARGEST_OF_UNIT_PIXELS);
    let range = if integers || is_large(deviations) || is_large(means) { 255.0 } else { 1.0 };
    let [mean, std] = [means, deviations].map(|values| values.map(|value| (value / range) as f32));
    let is_sane = |value: &f32| value.is_finite();
    if !mean.iter().all(is_sane) || !std.iter().all(|std| is_sane(std) && *std > 0.0) {
        return Err(format!("arithmetic on the pixels that comes to mean {mean:?} and standard deviation {std:?}"));
    }
    Ok(Some(Normalisation { mean, std, range: range as f32, negative: pixels.map(|[scale, _]| scale < 0.0) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_the_pixels_follows_from_the_numbers() {
        assert_eq!(read([[1.0, 0.0]; 3], false), Ok(None));
        // The graph computes (x / 255 - 0.5) / 0.25 of bytes.
        let bytes = read([[4.0 / 255.0, -2.0]; 3], false).unwrap().unwrap();
        assert_eq!((bytes.mean, bytes.std, bytes.range), ([0.5; 3], [0.25; 3], 255.0));
        // The graph computes 1 - 2 x of pixels from 0 to 1.
        let unit = read([[-2.0, 1.0]; 3], false).unwrap().unwrap();
        assert_eq!((unit.mean, unit.std, unit.range, unit.negative), ([0.5; 3], [0.5; 3], 1.0, [true; 3]));
        // The bytes enter the patch embedding unchanged.
        let raw = read([[1.0, 0.0]; 3], true).unwrap().unwrap();
        assert_eq!((raw.mean, raw.std, raw.range), ([0.0; 3], [1.0 / 255.0; 3], 255.0));
        assert!(read([[0.0, 1.0]; 3], false).is_err());
    }
}
