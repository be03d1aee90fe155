//! Views by fours of columns, for tables that work on four at a time.

use crate::parallel::Block;

/// Elements `4 * index..` of `values`, which the checks of the tables' callers make sure of.
pub(super) fn four<T: Copy + Default>(values: &[T], index: usize) -> [T; 4] {
    values.as_chunks().0.get(index).copied().unwrap_or_default()
}

/// Row `row`; where rows are missing, the last one takes their place.
pub(super) fn row<'s>(stream: &'s Block, row: usize) -> &'s [[f32; 4]] {
    stream.row(row.min(stream.rows().saturating_sub(1))).as_chunks().0
}

/// Row `row`, empty where there is none.
pub(super) fn row_mut<'s>(stream: &'s mut Block, row: usize) -> &'s mut [[f32; 4]] {
    stream.row_mut(row).as_chunks_mut().0
}
