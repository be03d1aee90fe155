//! Says how pictures are varied in training, and varies them.

pub mod blur;
pub mod canvas;
pub mod colour;
pub mod crop;
pub mod erase;
pub mod geometry;
pub mod mix;
mod notation;
pub mod randaugment;
mod validate;
mod vary;

use serde::{Deserialize, Serialize};

pub use vary::Varier;

use crate::random::Random;
use geometry::Filter;

/// Variation of pictures in training. [`Augmentation::none`] varies nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augmentation {
    /// Way in which a part of the picture becomes the network's input.
    pub crop: Crop,
    /// Probability of a horizontal flip.
    pub flip: f32,
    /// RandAugment, or `None`.
    pub randaugment: Option<RandAugment>,
    /// Random brightness, contrast, saturation and hue, or `None`.
    pub colour_jitter: Option<ColourJitter>,
    /// Probability that a picture loses its colour.
    pub greyscale: f32,
    /// Random blur, or `None`.
    pub blur: Option<Blur>,
    /// Probability that all values from 128 upwards are inverted.
    pub solarise: f32,
    /// Random erasing, or `None`.
    pub erasing: Option<Erasing>,
    /// Mixup and cutmix.
    pub mix: Mix,
    /// Share of the target that is spread evenly over all classes, from 0 to 1 (exclusive): label smoothing.
    pub smoothing: f32,
    /// How many times a picture stands in an epoch, each time varied anew: repeated augmentation. An epoch keeps its
    /// length and so has fewer different pictures.
    pub repeats: u32,
}

/// Ways in which a part of a picture becomes the network's input.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crop {
    /// Prepares the picture as in evaluation: resize and centre crop.
    Centre,
    /// Cuts out a random rectangle and resizes it to the input: timm's `RandomResizedCropAndInterpolation`.
    Resized {
        /// Smallest and largest share of the picture's area.
        scale: [f32; 2],
        /// Smallest and largest ratio of width to height.
        ratio: [f32; 2],
        /// Filter of the resize.
        interpolation: Interpolation,
    },
    /// Prepares the picture as in evaluation, pads it on all sides, and cuts out a random part of the input's size:
    /// torchvision's `RandomCrop(size, padding)`.
    Padded {
        /// Pixels added on each side.
        pixels: u32,
        /// Contents of the added pixels.
        padding: Padding,
    },
}

/// A filter for resampling pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Takes one pixel.
    Nearest,
    /// Weighs pixels linearly with their distance.
    Bilinear,
    /// Weighs pixels by cubic convolution.
    Bicubic,
    /// Chooses bilinear or bicubic at random for each use, as timm does by default.
    Random,
}

/// Contents of pixels outside a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Padding {
    /// The picture, mirrored at its outermost pixels.
    Reflect,
    /// Black.
    Zero,
}

/// timm's RandAugment with the increasing operations:
/// `rand-m{magnitude}-n{layers}-p{probability}-mstd{deviation}-inc1`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RandAugment {
    /// Mean strength of an operation, from 0 to 10.
    pub magnitude: f32,
    /// Standard deviation of the strength.
    pub deviation: f32,
    /// Number of operations drawn for a picture.
    pub layers: u32,
    /// Probability that a drawn operation is applied.
    pub probability: f32,
    /// Filter of rotations, shears and translations.
    pub interpolation: Interpolation,
}

/// Random brightness, contrast, saturation and hue in random order: torchvision's `ColorJitter`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColourJitter {
    /// Largest deviation of the brightness's factor from 1.
    pub brightness: f32,
    /// Largest deviation of the contrast's factor from 1.
    pub contrast: f32,
    /// Largest deviation of the saturation's factor from 1.
    pub saturation: f32,
    /// Largest turn of the hue, as a share of the circle, from 0 to 0.5.
    pub hue: f32,
    /// Probability that a picture is varied at all.
    pub probability: f32,
}

/// Random Gaussian blur: Pillow's `GaussianBlur` with a radius drawn from a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blur {
    /// Probability that a picture is blurred.
    pub probability: f32,
    /// Smallest and largest radius (standard deviation), in pixels of an input of 224 × 224. The radius follows the
    /// input's height, so that small inputs are not blurred beyond recognition.
    pub radius: [f32; 2],
}

/// Random erasing: a rectangle of the normalised picture is replaced (timm's `RandomErasing`, arXiv 1708.04896).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Erasing {
    /// Probability that a picture loses a rectangle.
    pub probability: f32,
    /// Replacement of the rectangle.
    pub mode: ErasingMode,
    /// Smallest and largest share of the picture's area.
    pub area: [f32; 2],
}

/// Replacement of an erased rectangle in a normalised picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErasingMode {
    /// Zeros, which are the mean colour.
    Constant,
    /// A number of the standard normal distribution for each value.
    Pixel,
}

/// Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899): timm's `Mixup`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Parameter of mixup's beta distribution; 0 turns mixup off.
    pub mixup: f32,
    /// Parameter of cutmix's beta distribution; 0 turns cutmix off.
    pub cutmix: f32,
    /// Probability that a batch (or, with `elementwise`, a sample) is mixed.
    pub probability: f32,
    /// Probability that cutmix is chosen where both are on.
    pub switch: f32,
    /// Draws the kind and the share of the mixture for each sample rather than once for the batch.
    pub elementwise: bool,
}

impl Mix {
    /// Returns a mix that leaves all batches as they are.
    pub const fn none() -> Self {
        Self { mixup: 0.0, cutmix: 0.0, probability: 1.0, switch: 0.5, elementwise: false }
    }

    /// Tells whether batches are mixed.
    pub fn is_on(&self) -> bool {
        self.probability > 0.0 && (self.mixup > 0.0 || self.cutmix > 0.0)
    }
}

impl Augmentation {
    /// Varies nothing: centre crop, and targets of one class each.
    pub const fn none() -> Self {
        Self {
            crop: Crop::Centre,
            flip: 0.0,
            randaugment: None,
            colour_jitter: None,
            greyscale: 0.0,
            blur: None,
            solarise: 0.0,
            erasing: None,
            mix: Mix::none(),
            smoothing: 0.0,
            repeats: 1,
        }
    }

    /// Returns the augmentation of the paper (arXiv 2105.03404, section 3, after DeiT): random resized crop, flip,
    /// RandAugment m9, erasing 0.25, mixup 0.8, cutmix 1.0, smoothing 0.1 and three repeats.
    pub const fn paper() -> Self {
        Self {
            crop: Crop::Resized {
                scale: [0.08, 1.0],
                ratio: [3.0 / 4.0, 4.0 / 3.0],
                interpolation: Interpolation::Bicubic,
            },
            flip: 0.5,
            randaugment: Some(RandAugment::m9()),
            erasing: Some(Erasing { probability: 0.25, mode: ErasingMode::Pixel, area: [0.02, 1.0 / 3.0] }),
            mix: Mix { mixup: 0.8, cutmix: 1.0, ..Mix::none() },
            smoothing: 0.1,
            repeats: 3,
            ..Self::none()
        }
    }

    /// Returns the augmentation of the paper for small pictures such as CIFAR's 32 × 32: a padded crop in place of the
    /// resized one, and no repeats.
    pub const fn small_pictures() -> Self {
        Self { crop: Crop::Padded { pixels: 4, padding: Padding::Reflect }, repeats: 1, ..Self::paper() }
    }

    /// Returns a light augmentation for fine-tuning and quantisation-aware training: padded crop and flip.
    pub const fn light() -> Self {
        Self { crop: Crop::Padded { pixels: 4, padding: Padding::Reflect }, flip: 0.5, ..Self::none() }
    }

    /// Returns the augmentations of DINO's views (arXiv 2104.14294, section 3): two global crops, then `local_crops`
    /// local ones. All of them are resized to the network's input, because a ResMLP's number of patches is fixed.
    pub fn dino_views(local_crops: usize) -> Vec<Self> {
        let view = |scale: [f32; 2], blur: f32, solarise: f32| Self {
            crop: Crop::Resized { scale, ratio: [3.0 / 4.0, 4.0 / 3.0], interpolation: Interpolation::Bicubic },
            flip: 0.5,
            colour_jitter: Some(ColourJitter {
                brightness: 0.4,
                contrast: 0.4,
                saturation: 0.2,
                hue: 0.1,
                probability: 0.8,
            }),
            greyscale: 0.2,
            blur: Some(Blur { probability: blur, radius: [0.1, 2.0] }),
            solarise,
            ..Self::none()
        };
        let globals = [view([0.4, 1.0], 1.0, 0.0), view([0.4, 1.0], 0.1, 0.2)];
        globals.into_iter().chain(std::iter::repeat_n(view([0.05, 0.4], 0.5, 0.0), local_crops)).collect()
    }
}

impl RandAugment {
    /// Returns `rand-m9-mstd0.5-inc1` with bicubic filters, the RandAugment of DeiT and of the paper.
    pub const fn m9() -> Self {
        Self { magnitude: 9.0, deviation: 0.5, layers: 2, probability: 0.5, interpolation: Interpolation::Bicubic }
    }
}

impl Interpolation {
    /// Returns the filter, drawn from two if it is random.
    fn choose(self, random: &mut Random) -> Filter {
        match self {
            Self::Nearest => Filter::Nearest,
            Self::Bilinear => Filter::Bilinear,
            Self::Bicubic => Filter::Bicubic,
            Self::Random => [Filter::Bilinear, Filter::Bicubic][random.below(2) as usize],
        }
    }
}
