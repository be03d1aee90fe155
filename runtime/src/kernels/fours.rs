//! Views by fours of columns, for tables that work on four at a time.

/// Elements `4 * index..` of `values`, which the checks of the tables' callers make sure of.
pub(super) fn four<T: Copy + Default>(values: &[T], index: usize) -> [T; 4] {
    values.as_chunks().0.get(index).copied().unwrap_or_default()
}
