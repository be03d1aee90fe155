//! Cuts a picture into patches.

use crate::format::Dims;

/// Returns the bytes of patch `token`, one pixel row of the patch after the other, each of `3 · patch` bytes.
pub(super) fn rows<'i>(dims: &Dims, image: &'i [u8], token: usize) -> impl Iterator<Item = &'i [u8]> + use<'i> {
    let [width, patch] = [dims.image[1], dims.patch];
    let per_line = (width / patch.max(1)).max(1);
    let (top, left) = (token / per_line * patch, token % per_line * patch);
    (top..top + patch).map(move |y| image.get((y * width + left) * 3..).and_then(|r| r.get(..patch * 3)).unwrap_or(&[]))
}

/// Returns the values of patch `token`, flattened as (row, column, colour).
pub(super) fn values(dims: &Dims, image: &[u8], token: usize) -> impl Iterator<Item = u8> {
    rows(dims, image, token).flatten().copied()
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::values;
    use crate::format::{Dims, Layout, WeightStorage};

    #[test]
    fn patches_lie_row_by_row() {
        let dims = Dims {
            weights: WeightStorage::Int8,
            image: [4, 6],
            patch: 2,
            dim: 1,
            hidden: 1,
            depth: 1,
            outputs: 1,
            has_head: true,
            has_gains: false,
            layout: Layout::DEFAULT,
        };
        let image: Vec<u8> = (0..4 * 6 * 3).collect();
        let patch: Vec<u8> = values(&dims, &image, 4).collect();
        assert_eq!(patch, [42, 43, 44, 45, 46, 47, 60, 61, 62, 63, 64, 65]);
    }
}
