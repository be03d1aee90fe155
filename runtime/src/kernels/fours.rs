//! Views by fours of columns, for tables that work on four at a time.

use crate::parallel::Block;

/// Elements `4 * index..` of `values`, which the checks of the tables' callers make sure of.
pub(super) fn four<T: Copy + Default>(values: &[T], index: usize) -> [T; 4] {
    values.as_chunks().0.get(index).copied().unwrap_or_default()
}

/// Rows `first..first + 4` of a stream that has rows; where rows are missing, the last one takes their place.
pub(super) fn rows<'s>(stream: &'s Block, first: usize) -> [&'s [f32]; 4] {
    [0, 1, 2, 3].map(|i| stream.row((first + i).min(stream.rows().saturating_sub(1))))
}
