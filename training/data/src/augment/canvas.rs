//! A picture that operations change in place.

/// An RGB picture of 8 bits and memory for the result of the next operation, so that a chain of operations allocates
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Canvas {
    height: usize,
    width: usize,
    /// `[height, width, 3]`.
    rgb: Vec<u8>,
    /// Memory for another picture of this size.
    spare: Vec<u8>,
}

impl Canvas {
    /// Returns the height and width in pixels.
    pub fn size(&self) -> [usize; 2] {
        [self.height, self.width]
    }

    /// Returns the pixels, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Returns the pixels for change, `[height, width, 3]`.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// Returns the pixels for change as a list of `[red, green, blue]`.
    pub fn pixels_mut(&mut self) -> &mut [[u8; 3]] {
        self.rgb.as_chunks_mut().0
    }

    /// Changes the size and returns the pixels, whose values are then unspecified.
    pub fn resize(&mut self, [height, width]: [usize; 2]) -> &mut [u8] {
        (self.height, self.width) = (height, width);
        self.rgb.resize(3 * height * width, 0);
        &mut self.rgb
    }

    /// Puts a picture `[height, width, 3]` onto the canvas.
    ///
    /// # Panics
    /// Panics if `rgb` has another length.
    pub fn load(&mut self, size: [usize; 2], rgb: &[u8]) {
        self.resize(size).copy_from_slice(rgb);
    }

    /// Calls an operation with the old pixels and the memory for the new ones, both `[height, width]` of
    /// `[red, green, blue]`. The memory has unspecified values, and the operation must write all of them.
    pub fn replace(&mut self, operation: impl FnOnce(&[[u8; 3]], &mut [[u8; 3]])) {
        self.spare.resize(self.rgb.len(), 0);
        operation(self.rgb.as_chunks().0, self.spare.as_chunks_mut().0);
        std::mem::swap(&mut self.rgb, &mut self.spare);
    }

    /// Mirrors the picture from left to right.
    pub fn flip(&mut self) {
        let width = self.width;
        if width > 0 {
            self.pixels_mut().chunks_exact_mut(width).for_each(<[_]>::reverse);
        }
    }
}
