//! Varies one picture as an augmentation says.

use resmlp_picture::{Picture, Preprocess};

use super::canvas::Canvas;
use super::crop::{Cutter, padded, random_rectangle};
use super::{Augmentation, Blur, ColourJitter, Crop, blur, colour};
use crate::random::Random;

/// Height of the input for which the radius of a blur is stated, in pixels.
const BLURRED_HEIGHT: f64 = 224.0;

/// Prepares and varies pictures one after the other, and keeps the memory that this takes.
#[derive(Debug, Default)]
pub struct Varier {
    canvas: Canvas,
    cutter: Cutter,
}

impl Varier {
    /// Prepares a picture for evaluation and returns its pixels, `[height, width, 3]`.
    ///
    /// # Errors
    /// The error says why the picture cannot be resized.
    pub fn prepare(&mut self, picture: &Picture, input: &Preprocess) -> Result<&[u8], String> {
        self.fit(picture, input)?;
        Ok(self.canvas.rgb())
    }

    /// Varies a picture and returns its pixels, `[height, width, 3]`: all of an augmentation but erasing, which works
    /// on normalised values, and mixing, which works on batches.
    ///
    /// The order is timm's (`transforms_imagenet_train`) and DINO's: crop, flip, RandAugment, colour jitter, greyscale,
    /// blur, solarise.
    ///
    /// # Errors
    /// The error says why the picture cannot be resized.
    pub fn vary(
        &mut self,
        picture: &Picture,
        augmentation: &Augmentation,
        input: &Preprocess,
        random: &mut Random,
    ) -> Result<&[u8], String> {
        self.crop(picture, augmentation.crop, input, random)?;
        let canvas = &mut self.canvas;
        if random.chance(augmentation.flip) {
            canvas.flip();
        }
        if let Some(randaugment) = &augmentation.randaugment {
            randaugment.apply(canvas, random, fill(input));
        }
        if let Some(jitter) = &augmentation.colour_jitter {
            jitter.apply(canvas, random);
        }
        if random.chance(augmentation.greyscale) {
            colour::greyscale(canvas);
        }
        if let Some(blur) = &augmentation.blur {
            blur.apply(canvas, random);
        }
        if random.chance(augmentation.solarise) {
            colour::solarise(canvas, 128);
        }
        Ok(self.canvas.rgb())
    }

    fn crop(&mut self, picture: &Picture, crop: Crop, input: &Preprocess, random: &mut Random) -> Result<(), String> {
        match crop {
            Crop::Centre => self.fit(picture, input)?,
            Crop::Resized { scale, ratio, interpolation } => {
                let part = random_rectangle(random, [picture.height(), picture.width()], scale, ratio);
                let filter = interpolation.choose(random);
                self.cutter.cut(picture, part, filter, input.image, &mut self.canvas);
            }
            Crop::Padded { pixels, padding } => {
                self.fit(picture, input)?;
                let [top, left] = [(); 2].map(|()| random.below(2 * pixels + 1));
                padded(&mut self.canvas, pixels, padding, [top, left]);
            }
        }
        Ok(())
    }

    /// Prepares a picture as evaluation does. A picture that has the input's size already is only copied.
    fn fit(&mut self, picture: &Picture, input: &Preprocess) -> Result<(), String> {
        let size = [picture.height() as usize, picture.width() as usize];
        if size == input.image && input.crop == 1.0 {
            self.canvas.load(size, picture.rgb());
        } else {
            let pixels = input.apply(picture).map_err(|error| error.to_string())?;
            self.canvas.load(input.image, &pixels);
        }
        Ok(())
    }
}

/// Returns the mean colour of the data set, which stands for pixels outside a picture.
fn fill(input: &Preprocess) -> [u8; 3] {
    input.mean.map(|mean| (f64::from(mean) * 255.0).round_ties_even() as u8)
}

impl ColourJitter {
    /// Changes brightness, contrast, saturation and hue in random order: torchvision's `ColorJitter`.
    pub fn apply(&self, canvas: &mut Canvas, random: &mut Random) {
        if !random.chance(self.probability) {
            return;
        }
        let mut order = [0, 1, 2, 3];
        random.shuffle(&mut order);
        let mut factor = |deviation: f32| {
            let deviation = f64::from(deviation);
            random.uniform((1.0 - deviation).max(0.0), 1.0 + deviation)
        };
        let factors = [self.brightness, self.contrast, self.saturation].map(&mut factor);
        let turn = random.uniform(-f64::from(self.hue), f64::from(self.hue));
        for change in order {
            match change {
                0 => colour::brightness(canvas, factors[0]),
                1 => colour::contrast(canvas, factors[1]),
                2 => colour::saturation(canvas, factors[2]),
                // Hue passes through another colour space, which changes values even if it is not turned.
                _ if self.hue > 0.0 => colour::hue(canvas, turn),
                _ => {}
            }
        }
    }
}

impl Blur {
    /// Draws whether the picture is blurred and by what radius, and blurs it.
    pub fn apply(&self, canvas: &mut Canvas, random: &mut Random) {
        if random.chance(self.probability) {
            let radius = random.uniform(self.radius[0].into(), self.radius[1].into());
            let [height, _] = canvas.size();
            blur::gaussian(canvas, radius * height as f64 / BLURRED_HEIGHT);
        }
    }
}
