//! Views by fours of columns, for tables that work on four at a time.

/// The first `N` fours of `values`, which the checks of the tables' callers make sure of.
pub(super) fn fours<T: Copy + Default, const N: usize>(values: &[T]) -> [[T; 4]; N] {
    values.as_chunks().0.first_chunk().copied().unwrap_or([[T::default(); 4]; N])
}
