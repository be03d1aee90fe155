//! Refuses settings that no picture can be varied with.

use std::ops::RangeInclusive;

use super::{Augmentation, Crop, Interpolation};
use crate::error::{DataError, Result};

/// Largest padding on a side, in pixels.
const MOST_PADDING: u32 = 4096;

/// Most operations of RandAugment for one picture.
const MOST_LAYERS: u32 = 15;

/// Most times that a picture stands in an epoch.
const MOST_REPEATS: u32 = 64;

impl Augmentation {
    /// Refuses settings that no picture can be varied with.
    ///
    /// # Errors
    /// The error names the setting, and says in which range it is expected.
    pub fn validate(&self) -> Result<()> {
        self.validate_crop()?;
        self.validate_colours()?;
        probability("flip", self.flip)?;
        if let Some(randaugment) = &self.randaugment {
            within("RandAugment's magnitude", randaugment.magnitude, 0.0..=10.0, "0 to 10")?;
            within("RandAugment's deviation", randaugment.deviation, 0.0..=10.0, "0 to 10")?;
            probability("RandAugment's probability", randaugment.probability)?;
            within("RandAugment's layers", randaugment.layers, 0..=MOST_LAYERS, "0 to 15 operations")?;
        }
        if let Some(erasing) = &self.erasing {
            probability("erasing's probability", erasing.probability)?;
            range("erasing's area", erasing.area, 0.0..=1.0, "two shares from 0 to 1, the smaller one first")?;
        }
        within("mixup", self.mix.mixup, 0.0..=100.0, "0 to 100")?;
        within("cutmix", self.mix.cutmix, 0.0..=100.0, "0 to 100")?;
        probability("probability of mixing", self.mix.probability)?;
        probability("probability of cutmix rather than mixup", self.mix.switch)?;
        // A target must stay above the others, so all of it cannot be spread.
        within("label smoothing", self.smoothing, 0.0..=0.999, "0 to 0.999")?;
        within("repeats", self.repeats, 1..=MOST_REPEATS, "1 to 64")
    }

    fn validate_crop(&self) -> Result<()> {
        match self.crop {
            Crop::Centre => Ok(()),
            Crop::Padded { pixels, .. } => within("padding", pixels, 0..=MOST_PADDING, "0 to 4096 pixels"),
            Crop::Resized { scale, ratio, interpolation } => {
                range("scale of the crop", scale, 1e-6..=1.0, "two shares above 0, the smaller one first")?;
                range("ratio of the crop", ratio, 1e-3..=1e3, "two ratios from 0.001 to 1000, the smaller one first")?;
                match interpolation {
                    Interpolation::Nearest => Err(DataError::Setting {
                        setting: "interpolation of the crop",
                        found: "nearest".into(),
                        expected: "bilinear, bicubic or random",
                    }),
                    _ => Ok(()),
                }
            }
        }
    }

    fn validate_colours(&self) -> Result<()> {
        if let Some(jitter) = &self.colour_jitter {
            within("colour jitter's brightness", jitter.brightness, 0.0..=10.0, "0 to 10")?;
            within("colour jitter's contrast", jitter.contrast, 0.0..=10.0, "0 to 10")?;
            within("colour jitter's saturation", jitter.saturation, 0.0..=10.0, "0 to 10")?;
            within("colour jitter's hue", jitter.hue, 0.0..=0.5, "0 to 0.5")?;
            probability("colour jitter's probability", jitter.probability)?;
        }
        if let Some(blur) = &self.blur {
            probability("blur's probability", blur.probability)?;
            range("blur's radius", blur.radius, 0.0..=100.0, "two radii from 0 to 100, the smaller one first")?;
        }
        probability("greyscale", self.greyscale)?;
        probability("solarise", self.solarise)
    }
}

fn probability(setting: &'static str, found: f32) -> Result<()> {
    within(setting, found, 0.0..=1.0, "a probability from 0 to 1")
}

fn within<T>(setting: &'static str, found: T, allowed: RangeInclusive<T>, expected: &'static str) -> Result<()>
where
    T: PartialOrd + ToString,
{
    if allowed.contains(&found) {
        return Ok(());
    }
    Err(DataError::Setting { setting, found: found.to_string(), expected })
}

/// Refuses a pair of which one is out of range, or the first one is larger.
fn range(setting: &'static str, found: [f32; 2], allowed: RangeInclusive<f32>, expected: &'static str) -> Result<()> {
    if found.iter().all(|value| allowed.contains(value)) && found[0] <= found[1] {
        return Ok(());
    }
    Err(DataError::Setting { setting, found: format!("{} to {}", found[0], found[1]), expected })
}
