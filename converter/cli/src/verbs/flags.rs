//! Flags that several verbs share: the same word means the same thing everywhere.

use std::path::{Path, PathBuf};

use clap::Args;
use resmlp_cli::error::{Error, Result};
use resmlp_picture::{Preprocess, ResizeMode};

/// How pictures are prepared for a checkpoint, which does not say it itself. ImageNet's usual way is the default.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pictures for a checkpoint (a packed model carries its own)")]
pub struct PreprocessFlags {
    /// Mean of red, green and blue that training subtracted, of pixels in 0..1 [default: ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = mean, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,

    /// Standard deviation of red, green and blue that training divided by [default: ImageNet's]
    #[arg(long, value_name = "R,G,B", value_parser = std, allow_hyphen_values = true)]
    std: Option<[f32; 3]>,

    /// Share of the resized picture's shorter side that the centre crop keeps [default: 0.9]
    #[arg(long, value_name = "SHARE")]
    crop: Option<f32>,

    /// How pictures are resampled [default: bicubic]
    #[arg(long, value_name = "MODE")]
    resize_mode: Option<ResizeMode>,

    /// Height and width of the network's picture, where the patches do not form a square
    #[arg(long, value_name = "HxW", value_parser = height_and_width)]
    pub image_size: Option<[usize; 2]>,
}

impl PreprocessFlags {
    /// Refuses the flags for a packed model, which carries its own answers.
    pub fn refuse_for(&self, path: &Path) -> Result<()> {
        let Self { mean, std, crop, resize_mode, image_size } = self;
        let given = mean.is_some() || std.is_some() || crop.is_some() || resize_mode.is_some() || image_size.is_some();
        if given {
            let message = "a packed model carries its own preprocessing: --mean, --std, --crop, --resize-mode and \
                           --image-size are for checkpoints";
            return Err(Error::Usage(format!("{}: {message}", path.display())));
        }
        Ok(())
    }

    /// The preprocessing for a network of `image` (height, width).
    pub fn for_image(&self, image: [usize; 2]) -> Result<Preprocess> {
        self.over(&Preprocess::imagenet(image))
    }

    /// What the flags say, and `default` where they say nothing.
    pub fn over(&self, default: &Preprocess) -> Result<Preprocess> {
        let preprocess = Preprocess {
            image: default.image,
            crop: self.crop.unwrap_or(default.crop),
            resize: self.resize_mode.unwrap_or(default.resize),
            mean: self.mean.unwrap_or(default.mean),
            std: self.std.unwrap_or(default.std),
        };
        preprocess.validate()?;
        Ok(preprocess)
    }
}

/// Which kernels run a packed model.
#[derive(Args, Clone, Debug, Default)]
pub struct KernelFlags {
    /// Kernels that run a packed model, by name [default: the fastest that this CPU has]
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
}

impl KernelFlags {
    /// Refuses the flag for a checkpoint, which tract runs.
    pub fn refuse_for(&self, path: &Path) -> Result<()> {
        if self.kernels.is_some() {
            let message = "a checkpoint is run in f32 by tract: --kernels is for packed models";
            return Err(Error::Usage(format!("{}: {message}", path.display())));
        }
        Ok(())
    }
}

/// Names of the classes.
#[derive(Args, Clone, Debug, Default)]
pub struct LabelFlags {
    /// Names of the classes, one a line
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

/// How many cores are used.
#[derive(Args, Clone, Debug, Default)]
pub struct ThreadFlags {
    /// Threads that work at the same time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl ThreadFlags {
    /// Gives rayon this many threads; to be called once, before it works.
    pub fn apply(&self) -> Result<()> {
        let count = self.threads.map_or(0, usize::from);
        let built = rayon::ThreadPoolBuilder::new().num_threads(count).build_global();
        built.map_err(|error| Error::Usage(format!("--threads {count}: {error}")))
    }
}

fn mean(text: &str) -> std::result::Result<[f32; 3], String> {
    of_pixels_to_one(three_numbers(text)?, 1.0)
}

fn std(text: &str) -> std::result::Result<[f32; 3], String> {
    of_pixels_to_one(three_numbers(text)?, 2.0)
}

/// Refuses numbers beyond `most`: they are of pixels in 0..255, and would leave the network a nearly uniform picture.
fn of_pixels_to_one(numbers: [f32; 3], most: f32) -> std::result::Result<[f32; 3], String> {
    match numbers.iter().find(|number| number.abs() > most) {
        Some(number) => Err(format!("{number} is out of range, pixels are 0..1; divide by 255?")),
        None => Ok(numbers),
    }
}

fn three_numbers(text: &str) -> std::result::Result<[f32; 3], String> {
    let numbers: std::result::Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or("expected three numbers: R,G,B".into())
}

fn height_and_width(text: &str) -> std::result::Result<[usize; 2], String> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    let side = |side: &str| side.parse().ok().filter(|side| (1..=1 << 15).contains(side));
    match (side(height), side(width)) {
        (Some(height), Some(width)) => Ok([height, width]),
        _ => Err("expected HEIGHTxWIDTH in pixels, or one number for a square".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_threes() {
        assert_eq!(three_numbers("0.5, -1,2e-1"), Ok([0.5, -1.0, 0.2]));
        for text in ["", "1", "1,2", "1,2,3,4", "1,2,x"] {
            assert!(three_numbers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_of_pixels_in_0_to_1() {
        assert_eq!((mean("-1,0.5,1"), std("0.25,2,1")), (Ok([-1.0, 0.5, 1.0]), Ok([0.25, 2.0, 1.0])));
        for refused in [mean("123.7,116.3,103.5"), mean("0,-1.5,0"), std("0.5,0.5,57.4"), std("inf,1,1")] {
            assert!(refused.unwrap_err().ends_with("divide by 255?"));
        }
    }

    #[test]
    fn sizes_are_squares_or_pairs() {
        assert_eq!(height_and_width("224"), Ok([224, 224]));
        assert_eq!(height_and_width("32x48"), Ok([32, 48]));
        for text in ["", "0", "x", "3x", "3x4x5", "-3", "99999"] {
            assert!(height_and_width(text).is_err(), "{text}");
        }
    }
}
