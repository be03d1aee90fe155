//! The preparation of pictures for a model, as the model's header states it.

/// The filter that resizes a picture before it enters the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Antialiased triangle filter.
    Bilinear,
    /// Antialiased cubic filter with a = -0.5.
    Bicubic,
}

/// The way in which a picture of another shape is fitted to the network's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// The shorter side is resized, and the centre is cut out.
    #[default]
    Crop,
    /// The whole picture is resized to the input's height and width, whatever the picture's shape is.
    Squash,
}

impl Fit {
    /// Returns the number that stands for the fit in a file's header.
    pub const fn code(self) -> u32 {
        match self {
            Self::Crop => 0,
            Self::Squash => 1,
        }
    }

    /// Returns the fit that a number in a file's header stands for.
    pub fn from_code(code: u32) -> Option<Self> {
        [Self::Crop, Self::Squash].into_iter().find(|fit| fit.code() == code)
    }
}

/// How a picture is turned into the network's input. The runtime takes finished `u8` pixels, so this is for programs
/// that prepare them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Interpolation.
    pub resize: Resize,
    /// The way in which a picture is fitted if its shape is not the input's.
    pub fit: Fit,
    /// The shorter side is resized to `image / crop` before the centre is cut out. [`Fit::Squash`] ignores this number.
    pub crop: f32,
    /// Mean of each colour that training subtracted, for pixels from 0 to 1. The stem already contains it.
    pub mean: [f32; 3],
    /// Standard deviation of each colour by which training divided. The stem already contains it.
    pub std: [f32; 3],
}
