//! Turns pixels into the numbers that a network was trained on.

use crate::Preprocess;

impl Preprocess {
    /// Returns `(x / 255 - mean) / std` for a picture `[height, width, 3]`, as `[3, height, width]`.
    pub fn normalise(&self, picture: &[u8]) -> Vec<f32> {
        let (pixels, _) = picture.as_chunks::<3>();
        let channel = |c: usize| {
            let (mean, std) = (self.mean[c], self.std[c]);
            pixels.iter().map(move |pixel| (f32::from(pixel[c]) / 255.0 - mean) / std)
        };
        (0..3).flat_map(channel).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_planes() {
        let preprocess = Preprocess { mean: [0.0, 0.5, 1.0], std: [1.0, 0.5, 0.25], ..Preprocess::imagenet([1, 2]) };
        let planes = preprocess.normalise(&[0, 0, 0, 255, 255, 255]);
        assert_eq!(planes, [0.0, 1.0, -1.0, 1.0, -4.0, 0.0]);
    }
}
