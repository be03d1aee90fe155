//! Resizes and crops with the arithmetic of torchvision's `Resize` and `CenterCrop`.

use std::fmt;

use fast_image_resize::FilterType;
use resmlp_runtime::{self as runtime, Model, Preprocessing, Resize};
use serde::{Deserialize, Serialize};

use crate::Picture;
use crate::error::{Error, Result};
use crate::resize::{Span, resample};

/// Largest height or width a network may ask for, in pixels.
const MAX_IMAGE: usize = 16_384;

/// The antialiasing filter that a picture is resampled with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum ResizeMode {
    /// Cubic convolution with a = -0.5.
    #[default]
    Bicubic,
    /// Triangle filter.
    Bilinear,
}

impl ResizeMode {
    /// Returns the filter that computes the same as Pillow's filter of this name.
    fn filter(self) -> FilterType {
        match self {
            Self::Bicubic => FilterType::CatmullRom,
            Self::Bilinear => FilterType::Bilinear,
        }
    }
}

impl fmt::Display for ResizeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bicubic => "bicubic",
            Self::Bilinear => "bilinear",
        })
    }
}

/// What happens to a picture whose shape is not that of the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The shorter side is resized, and the centre is cut out: torchvision's `Resize(size)` and `CenterCrop`.
    #[default]
    Crop,
    /// The whole picture is resized to the input's height and width: torchvision's `Resize((height, width))`.
    Squash,
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crop => "crop",
            Self::Squash => "squash",
        })
    }
}

/// The steps that turn a picture into a network's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Height and width of the network's input in pixels.
    pub image: [usize; 2],
    /// How a picture of another shape is fitted to the input.
    #[serde(default)]
    pub fit: Fit,
    /// Share of the resized picture's shorter side that the centre crop keeps, from 0.01 to 1. [`Fit::Squash`] makes no
    /// use of it.
    pub crop: f32,
    /// Resampling filter.
    pub resize: ResizeMode,
    /// Mean of red, green and blue for pixels from 0 to 1. The network itself subtracts it.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue for pixels from 0 to 1. The network itself divides by it.
    pub std: [f32; 3],
}

impl Preprocess {
    /// Returns the preprocessing for a packed model.
    pub fn of(model: &Model) -> Self {
        let Preprocessing { resize, fit, crop, mean, std } = *model.preprocessing();
        let fit = match fit {
            runtime::Fit::Crop => Fit::Crop,
            runtime::Fit::Squash => Fit::Squash,
        };
        let resize = match resize {
            Resize::Bilinear => ResizeMode::Bilinear,
            Resize::Bicubic => ResizeMode::Bicubic,
        };
        Self { image: model.dims().image, fit, crop, resize, mean, std }
    }

    /// Returns the part that a packed model stores as its preprocessing. The size of the input is missing, because the
    /// model's dimensions state it.
    pub fn packed(&self) -> Preprocessing {
        let Self { resize, fit, crop, mean, std, .. } = *self;
        let fit = match fit {
            Fit::Crop => runtime::Fit::Crop,
            Fit::Squash => runtime::Fit::Squash,
        };
        let resize = match resize {
            ResizeMode::Bilinear => Resize::Bilinear,
            ResizeMode::Bicubic => Resize::Bicubic,
        };
        Preprocessing { resize, fit, crop, mean, std }
    }

    /// Returns ImageNet's preprocessing for an input of `image` (height, width) pixels: bicubic, crop 0.9, ImageNet's
    /// mean and standard deviation.
    pub fn imagenet(image: [usize; 2]) -> Self {
        Self {
            image,
            fit: Fit::Crop,
            crop: 0.9,
            resize: ResizeMode::Bicubic,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }

    /// Refuses values that no picture can be prepared with.
    ///
    /// # Errors
    /// The error names the value, and says in which range it is expected.
    pub fn validate(&self) -> Result<()> {
        let [height, width] = self.image;
        if [height, width].iter().any(|side| !(1..=MAX_IMAGE).contains(side)) {
            return Err(Error::Preparation(format!(
                "image size {height} × {width}, expected 1 to {MAX_IMAGE} pixels a side"
            )));
        }
        // With a crop of 0.01, the resized picture is a hundred times as high and wide as the network's input.
        if !(0.01..=1.0).contains(&self.crop) {
            return Err(Error::Preparation(format!("crop {}, expected 0.01 to 1", self.crop)));
        }
        if !self.mean.iter().all(|m| m.is_finite()) {
            return Err(Error::Preparation(format!("mean {:?}, expected finite numbers", self.mean)));
        }
        if !self.std.iter().all(|s| s.is_normal() && *s > 0.0) {
            return Err(Error::Preparation(format!("std {:?}, expected numbers over 0", self.std)));
        }
        Ok(())
    }

    /// Resizes a picture, and crops it if [`Fit`] says so, to the network's input, `[height, width, 3]` of u8.
    ///
    /// Only the part that the crop keeps is resampled, from all the pixels that the filter reaches. If the resized size
    /// equals the picture's own size, the picture is only cropped.
    ///
    /// # Errors
    /// Fails if [`Preprocess::validate`] does, or if the machine has too little memory left.
    pub fn apply(&self, picture: &Picture) -> Result<Vec<u8>> {
        self.validate()?;
        let [height, width] = self.image;
        let size = [picture.height(), picture.width()];
        let [rows, columns] = match self.fit {
            Fit::Crop => {
                let scaled = self.scaled_size(size.map(u64::from));
                [source_span(size[0], scaled[0], height), source_span(size[1], scaled[1], width)]
            }
            Fit::Squash => size.map(|side| Span { start: 0.0, length: f64::from(side) }),
        };
        let target = self.image.map(|side| side as u32);
        resample(picture, rows, columns, target, self.resize.filter()).map_err(|error| {
            let [from_height, from_width] = size;
            Error::Preparation(format!(
                "cannot resize a picture from {from_height} × {from_width} pixels (height × width) to {height} × {width}: \
                 {error}"
            ))
        })
    }

    /// Returns the height and width to which the whole picture of `[height, width]` would be resized before the crop.
    ///
    /// The resized picture just covers `image / crop`. Its longer side is rounded down, as torchvision does.
    fn scaled_size(&self, [height, width]: [u64; 2]) -> [u64; 2] {
        // The crop is converted to f64 by way of its decimal digits, because 3 / 0.6 is 5, but not if 0.6 is rounded to
        // f32.
        let crop: f64 = self.crop.to_string().parse().unwrap_or(f64::from(self.crop));
        let [cover_height, cover_width] = self.image.map(|side| (side as f64 / crop) as u64);
        if height * cover_width <= width * cover_height {
            [cover_height, cover_height * width / height]
        } else {
            [cover_width * height / width, cover_width]
        }
    }
}

/// Returns the span of a side of `source` pixels that becomes the central `kept` pixels when the side is resized to
/// `scaled` pixels.
fn source_span(source: u32, scaled: u64, kept: usize) -> Span {
    // torchvision rounds half a pixel to the nearest even number.
    let start = ((scaled as f64 - kept as f64) / 2.0).round_ties_even();
    let source = f64::from(source);
    let pixel = source / scaled as f64;
    let start = start * pixel;
    Span { start, length: (kept as f64 * pixel).min(source - start) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocess(image: [usize; 2], crop: f32) -> Preprocess {
        Preprocess { crop, ..Preprocess::imagenet(image) }
    }

    #[test]
    fn sizes_are_the_same_as_in_torchvision() {
        // int(224 / 0.9) = 248; int(248 * 500 / 375) = 330
        assert_eq!(preprocess([224, 224], 0.9).scaled_size([375, 500]), [248, 330]);
        assert_eq!(preprocess([224, 224], 0.9).scaled_size([500, 375]), [330, 248]);
        assert_eq!(preprocess([224, 224], 0.875).scaled_size([100, 100]), [256, 256]);
        assert_eq!(preprocess([32, 32], 1.0).scaled_size([32, 32]), [32, 32]);
        assert_eq!(preprocess([3, 3], 0.6).scaled_size([7, 7]), [5, 5]);
        assert_eq!(preprocess([9, 9], 0.9).scaled_size([1, 3]), [10, 30]);
    }

    #[test]
    fn oblong_networks_are_covered() {
        for size in [[1, 1], [10, 1000], [1000, 10], [17, 33], [48, 96], [47, 96], [49, 96]] {
            let [height, width] = preprocess([24, 48], 1.0).scaled_size(size);
            assert!((height == 24 && width >= 48) || (height >= 24 && width == 48), "{size:?}: {height}, {width}");
        }
    }

    #[test]
    fn the_crop_rounds_half_to_even() {
        // (5 - 4) / 2 = 0.5 -> 0; (7 - 4) / 2 = 1.5 -> 2
        assert_eq!(source_span(5, 5, 4), Span { start: 0.0, length: 4.0 });
        assert_eq!(source_span(7, 7, 4), Span { start: 2.0, length: 4.0 });
    }

    #[test]
    fn a_picture_of_the_right_size_is_untouched() {
        let rgb: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 37 % 251) as u8).collect();
        let picture = Picture::from_rgb(32, 32, rgb.clone()).unwrap();
        for resize in [ResizeMode::Bicubic, ResizeMode::Bilinear] {
            let preprocess = Preprocess { resize, ..preprocess([32, 32], 1.0) };
            assert_eq!(preprocess.apply(&picture).unwrap(), rgb);
        }
    }

    #[test]
    fn any_shape_comes_out_at_the_right_size() {
        for (height, width) in [(1, 1), (1, 20_000), (20_000, 1), (2, 3), (333, 17), (1, 2)] {
            let colour = [200, 100, 50];
            let picture = Picture::from_rgb(height, width, colour.repeat((height * width) as usize)).unwrap();
            for (image, crop) in [([224, 224], 0.9), ([31, 17], 0.875), ([1, 1], 1.0), ([5, 64], 0.95)] {
                for resize in [ResizeMode::Bicubic, ResizeMode::Bilinear] {
                    let pixels = Preprocess { resize, ..preprocess(image, crop) }.apply(&picture).unwrap();
                    assert_eq!(pixels, colour.repeat(image[0] * image[1]), "{height} × {width} to {image:?}");
                }
            }
        }
    }

    #[test]
    fn a_squashed_picture_keeps_its_edges() {
        // The left half is black and the right half white, and so are the halves of the input.
        let row = [[0; 3].repeat(60), [255; 3].repeat(60)].concat();
        let picture = Picture::from_rgb(40, 120, row.repeat(40)).unwrap();
        for (resize, crop) in [(ResizeMode::Bicubic, 0.5), (ResizeMode::Bilinear, 1.0)] {
            let squash = Preprocess { fit: Fit::Squash, resize, ..preprocess([20, 10], crop) };
            let pixels = squash.apply(&picture).unwrap();
            let expected = [[0; 3].repeat(4), [255; 3].repeat(4)].concat();
            for row in pixels.chunks_exact(30) {
                let without_the_middle = [&row[..12], &row[18..]].concat();
                assert_eq!(without_the_middle, expected, "{resize}");
            }
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let picture = Picture::from_rgb(1, 1, vec![0; 3]).unwrap();
        for crop in [0.0, -0.5, 1.1, f32::NAN, f32::INFINITY, f32::MIN_POSITIVE] {
            let message = preprocess([32, 32], crop).apply(&picture).unwrap_err().to_string();
            assert!(message.starts_with("crop "), "{message}");
        }
        for image in [[0, 32], [32, 0], [1 << 20, 32]] {
            let message = preprocess(image, 1.0).apply(&picture).unwrap_err().to_string();
            assert!(message.starts_with("image size "), "{message}");
        }
        let flat = Preprocess { std: [0.0, 1.0, 1.0], ..preprocess([32, 32], 1.0) };
        assert!(flat.validate().unwrap_err().to_string().starts_with("std "));
        let wild = Preprocess { mean: [f32::NAN, 1.0, 1.0], ..preprocess([32, 32], 1.0) };
        assert!(wild.validate().unwrap_err().to_string().starts_with("mean "));
    }
}
