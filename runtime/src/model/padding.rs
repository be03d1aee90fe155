//! Checks that all padding is zero, so that no result can depend on it. Padding fills tensors up to whole panels, and
//! the space between tensors up to the next aligned position.

use super::Model;
use crate::format::{ALIGNMENT, Shape, Slot};

impl Model<'_> {
    /// Returns whether all padding inside this tensor, and all bytes between it and the next tensor, are zero.
    pub(super) fn padding_is_zero(&self, slot: Slot, block: usize) -> bool {
        let range = self.map.range(slot, block);
        let zero = |from: usize, len: usize| {
            self.bytes.get(from..).and_then(|b| b.get(..len)).is_some_and(|b| b.iter().all(|&b| b == 0))
        };
        if !zero(range.end, range.end.next_multiple_of(ALIGNMENT) - range.end) {
            return false;
        }
        if range.is_empty() {
            return true;
        }
        let (dims, layout) = (&self.dims, self.dims.layout);
        let (panel, rows, k) = match slot.shape() {
            Shape::Left(rows, k) => (layout.rows, rows, k),
            Shape::Right(rows, k) => (layout.columns, rows, k),
            Shape::Vector(element, extent) => {
                let [exact, padded] = [dims.exact(extent), dims.padded(extent)].map(|n| n * element.size());
                return zero(range.start + exact, padded - exact);
            }
            Shape::Gelu => return true,
        };
        let panels = self.tensor(slot, block);
        let (rows, all_rows, k, all_k) = (dims.exact(rows), dims.padded(rows), dims.exact(k), dims.padded(k));
        let element = |row, k| dims.weights.is_zero(panels, layout.index(panel as usize, all_k, row, k));
        (rows..all_rows).all(|row| (0..all_k).all(|k| element(row, k)))
            && (0..rows).all(|row| (k..all_k).all(|k| element(row, k)))
    }
}
