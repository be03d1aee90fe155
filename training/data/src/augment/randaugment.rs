//! RandAugment (arXiv 1909.13719) as timm has it: `rand-m9-mstd0.5-inc1` and its relatives.

use super::canvas::Canvas;
use super::geometry::Filter;
use super::{RandAugment, colour, geometry};
use crate::random::Random;

/// Largest strength of an operation: timm's `_LEVEL_DENOM`.
const STRONGEST: f64 = 10.0;

/// An operation of RandAugment: timm's `_RAND_INCREASING_TRANSFORMS`, whose effect grows with the strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Stretches each channel to the whole range.
    AutoContrast,
    /// Makes the values of each channel equally frequent.
    Equalise,
    /// Inverts all values.
    Invert,
    /// Turns by up to 30 degrees.
    Rotate,
    /// Keeps 4 to 0 bits of each value.
    Posterise,
    /// Inverts the values from 256 to 0 upwards.
    Solarise,
    /// Adds up to 110 to the values below 128.
    SolariseAdd,
    /// Changes the saturation by a factor of 0.1 to 1.9.
    Colour,
    /// Changes the contrast by a factor of 0.1 to 1.9.
    Contrast,
    /// Changes the brightness by a factor of 0.1 to 1.9.
    Brightness,
    /// Changes the sharpness by a factor of 0.1 to 1.9.
    Sharpness,
    /// Moves rows against each other by up to 0.3 pixels a row.
    ShearX,
    /// Moves columns against each other by up to 0.3 pixels a column.
    ShearY,
    /// Moves by up to 45 % of the width.
    TranslateX,
    /// Moves by up to 45 % of the height.
    TranslateY,
}

impl Operation {
    /// All operations, in timm's order.
    pub const ALL: [Self; 15] = [
        Self::AutoContrast,
        Self::Equalise,
        Self::Invert,
        Self::Rotate,
        Self::Posterise,
        Self::Solarise,
        Self::SolariseAdd,
        Self::Colour,
        Self::Contrast,
        Self::Brightness,
        Self::Sharpness,
        Self::ShearX,
        Self::ShearY,
        Self::TranslateX,
        Self::TranslateY,
    ];

    /// Applies the operation with a strength from 0 to 10.
    ///
    /// `negative` chooses the direction of operations that have two. Rotations, shears and translations use `filter`
    /// and show `fill` where the picture has no pixel.
    pub fn apply(self, canvas: &mut Canvas, strength: f64, negative: bool, filter: Filter, fill: [u8; 3]) {
        let share = strength / STRONGEST;
        let signed = |value: f64| if negative { -value } else { value };
        // The factor of an enhancement moves away from 1, at which a picture stays as it is.
        let factor = (1.0 + signed(share * 0.9)).max(0.1);
        let [height, width] = canvas.size().map(|side| side as f64);
        let mut map = |matrix| geometry::affine(canvas, matrix, filter, fill);
        match self {
            Self::ShearX => map(geometry::shear_x(signed(share * 0.3))),
            Self::ShearY => map(geometry::shear_y(signed(share * 0.3))),
            Self::TranslateX => map(geometry::translate_x(signed(share * 0.45) * width)),
            Self::TranslateY => map(geometry::translate_y(signed(share * 0.45) * height)),
            Self::Rotate => geometry::rotate(canvas, signed(share * 30.0), filter, fill),
            Self::AutoContrast => colour::autocontrast(canvas),
            Self::Equalise => colour::equalise(canvas),
            Self::Invert => colour::invert(canvas),
            Self::Posterise => colour::posterise(canvas, 4 - ((share * 4.0) as u32).min(4)),
            Self::Solarise => colour::solarise(canvas, 256 - ((share * 256.0) as u32).min(256)),
            Self::SolariseAdd => colour::solarise_add(canvas, ((share * 110.0) as u32).min(128)),
            Self::Colour => colour::saturation(canvas, factor),
            Self::Contrast => colour::contrast(canvas, factor),
            Self::Brightness => colour::brightness(canvas, factor),
            Self::Sharpness => colour::sharpness(canvas, factor),
        }
    }
}

impl RandAugment {
    /// Draws operations and applies them, as timm's `RandAugment` does. `fill` is the colour where a picture that was
    /// moved has no pixel; timm uses the mean of the data set.
    pub fn apply(&self, canvas: &mut Canvas, random: &mut Random, fill: [u8; 3]) {
        for _ in 0..self.layers {
            let operation = Operation::ALL[random.below(Operation::ALL.len() as u32) as usize];
            if !random.chance(self.probability) {
                continue;
            }
            let strength = random.normal(f64::from(self.magnitude), f64::from(self.deviation)).clamp(0.0, STRONGEST);
            let negative = random.chance(0.5);
            let filter = self.interpolation.choose(random);
            operation.apply(canvas, strength, negative, filter, fill);
        }
    }
}
