//! Mixup (arXiv 1710.09412), cutmix (arXiv 1905.04899) and label smoothing: timm's `Mixup`.
//!
//! Sample `i` of a batch of `B` is mixed with sample `B - 1 - i`.

use super::Mix;
use super::crop::Rectangle;
use crate::random::Random;

/// Mixture of a sample with its partner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mixture {
    /// The sample stays as it is.
    Alone,
    /// The weight of the sample; its partner has the rest.
    Blend(f32),
    /// The part that shows the partner, and the weight of the sample's label.
    Paste(Rectangle, f32),
}

impl Mixture {
    /// Creates a mixture that shows `part` of the partner. The label's weight is the share of the sample's own area,
    /// also where the border has cut the part off.
    pub fn paste(part: Rectangle, size: [usize; 2]) -> Self {
        let area = f64::from(part.height) * f64::from(part.width);
        Self::Paste(part, (1.0 - area / (size[0] as f64 * size[1] as f64)) as f32)
    }

    /// Returns the weight of the sample's label.
    fn weight(self) -> f32 {
        match self {
            Self::Alone => 1.0,
            Self::Blend(weight) | Self::Paste(_, weight) => weight,
        }
    }
}

impl Mix {
    /// Draws a mixture for pictures of `[height, width]` pixels.
    fn draw(&self, random: &mut Random, size: [usize; 2]) -> Mixture {
        if !random.chance(self.probability) {
            return Mixture::Alone;
        }
        let paste = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (true, true) => random.chance(self.switch),
            (false, false) => return Mixture::Alone,
            (_, cutmix) => cutmix,
        };
        let alpha = if paste { self.cutmix } else { self.mixup };
        let weight = random.beta(f64::from(alpha));
        if !paste {
            return Mixture::Blend(weight as f32);
        }
        Mixture::paste(pasted_part(weight, size.map(|side| random.below(side as u32)), size), size)
    }

    /// Draws mixtures for the images `[batch, 3, height, width]` and the targets `[batch, classes]` of a batch, and
    /// mixes them.
    ///
    /// # Panics
    /// Panics if the two lists have different numbers of samples.
    pub fn apply(
        &self,
        random: &mut Random,
        images: &mut [f32],
        size: [usize; 2],
        targets: &mut [f32],
        classes: usize,
    ) {
        if !self.is_on() {
            return;
        }
        let batch = targets.len() / classes;
        let shared = if self.elementwise { None } else { Some(self.draw(random, size)) };
        let mixtures: Vec<Mixture> = (0..batch).map(|_| shared.unwrap_or_else(|| self.draw(random, size))).collect();
        mix(&mixtures, images, size, targets, classes);
    }
}

/// Mixes the images `[batch, 3, height, width]` and the targets `[batch, classes]` of a batch, each sample as its
/// mixture says. The middle sample of an odd batch would be its own partner and stays as it is.
///
/// # Panics
/// Panics if the lists do not have as many samples as there are mixtures.
pub fn mix(mixtures: &[Mixture], images: &mut [f32], size: [usize; 2], targets: &mut [f32], classes: usize) {
    let (batch, length) = (mixtures.len(), 3 * size[0] * size[1]);
    assert!(images.len() == batch * length && targets.len() == batch * classes, "a mixture for each sample");
    for first in 0..batch / 2 {
        let second = batch - 1 - first;
        let pair = [mixtures[first], mixtures[second]];
        let (a, b) = two(images, length, first, second);
        mix_images(a, b, pair, size);
        let (a, b) = two(targets, classes, first, second);
        blend(a, b, pair.map(Mixture::weight));
    }
}

/// Returns the part of a picture that cutmix pastes around a centre: timm's `rand_bbox`. Its area is a share of
/// `1 - weight`, less what the border cuts off.
pub fn pasted_part(weight: f64, centre: [u32; 2], size: [usize; 2]) -> Rectangle {
    let ratio = (1.0 - weight).sqrt();
    let span = |centre: u32, side: usize| {
        let length = (side as f64 * ratio) as u32;
        let first = centre.saturating_sub(length / 2);
        (first, (centre + length.div_ceil(2)).min(side as u32) - first)
    };
    let ((top, height), (left, width)) = (span(centre[0], size[0]), span(centre[1], size[1]));
    Rectangle { top, left, height, width }
}

/// Returns items `first` and `second` > `first` of a list of items of `length` values.
fn two(values: &mut [f32], length: usize, first: usize, second: usize) -> (&mut [f32], &mut [f32]) {
    let (head, tail) = values.split_at_mut(second * length);
    (&mut head[first * length..(first + 1) * length], &mut tail[..length])
}

/// Mixes two images `[3, height, width]` with each other.
fn mix_images(a: &mut [f32], b: &mut [f32], pair: [Mixture; 2], [height, width]: [usize; 2]) {
    if !pair.iter().any(|mixture| matches!(mixture, Mixture::Paste(..))) {
        return blend(a, b, pair.map(Mixture::weight));
    }
    let rows = a.chunks_exact_mut(width).zip(b.chunks_exact_mut(width));
    for (row, (a, b)) in rows.enumerate() {
        let y = row % height;
        for (x, (a, b)) in a.iter_mut().zip(b).enumerate() {
            (*a, *b) = (mixed(pair[0], *a, *b, y, x), mixed(pair[1], *b, *a, y, x));
        }
    }
}

/// Returns the value at row `y` and column `x` of a sample whose own value and whose partner's are given.
fn mixed(mixture: Mixture, own: f32, partner: f32, y: usize, x: usize) -> f32 {
    match mixture {
        Mixture::Alone => own,
        Mixture::Blend(weight) => own * weight + partner * (1.0 - weight),
        Mixture::Paste(part, _) if part.contains(y, x) => partner,
        Mixture::Paste(..) => own,
    }
}

/// Replaces `a` and `b` by sums of both, in which each has its own weight and the other one the rest.
fn blend(a: &mut [f32], b: &mut [f32], [of_a, of_b]: [f32; 2]) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (*a * of_a + *b * (1.0 - of_a), *b * of_b + *a * (1.0 - of_b));
    }
}

/// Writes the target of a label, `[classes]`: the label's class has the probability `1 - smoothing`, and `smoothing` is
/// spread evenly over all classes.
///
/// # Panics
/// Panics if there is no such class.
pub fn write_target(target: &mut [f32], label: u32, smoothing: f32) {
    let off = smoothing / target.len() as f32;
    target.fill(off);
    target[label as usize] = 1.0 - smoothing + off;
}
