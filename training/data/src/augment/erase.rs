//! Random erasing (arXiv 1708.04896): timm's `RandomErasing`.

use super::crop::Rectangle;
use super::{Erasing, ErasingMode};
use crate::random::Random;

/// Smallest ratio of an erased rectangle's sides; the largest is its reciprocal.
const LEAST_RATIO: f64 = 0.3;

impl Erasing {
    /// Draws whether a rectangle is erased, and which one. If ten rectangles do not fit, none is.
    pub fn draw(&self, random: &mut Random, [height, width]: [usize; 2]) -> Option<Rectangle> {
        if !random.chance(self.probability) {
            return None;
        }
        let (height, width) = (height as u32, width as u32);
        let area = f64::from(height) * f64::from(width);
        let log_ratio = libm::log(LEAST_RATIO);
        for _ in 0..10 {
            let target = random.uniform(self.area[0].into(), self.area[1].into()) * area;
            let aspect = libm::exp(random.uniform(log_ratio, -log_ratio));
            let [h, w] = [target * aspect, target / aspect].map(|square| square.sqrt().round_ties_even() as u32);
            if h < height && w < width {
                let (top, left) = (random.below(height - h + 1), random.below(width - w + 1));
                return Some(Rectangle { top, left, height: h, width: w });
            }
        }
        None
    }

    /// Replaces a rectangle of a normalised picture `[3, height, width]`.
    pub fn erase(&self, image: &mut [f32], [height, width]: [usize; 2], part: Rectangle, random: &mut Random) {
        let [top, left, rows, columns] = [part.top, part.left, part.height, part.width].map(|side| side as usize);
        let mut second = None;
        let mut normal = || match second.take() {
            Some(value) => value,
            None => {
                let [first, next] = random.normals();
                second = Some(next);
                first
            }
        };
        for plane in image.chunks_exact_mut(height * width) {
            for row in plane.chunks_exact_mut(width).skip(top).take(rows) {
                for value in &mut row[left..left + columns] {
                    *value = match self.mode {
                        ErasingMode::Constant => 0.0,
                        ErasingMode::Pixel => normal() as f32,
                    };
                }
            }
        }
    }
}
