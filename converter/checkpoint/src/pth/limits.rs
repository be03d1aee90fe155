//! Limits that are far beyond what `torch.save` writes.

/// Length in bytes of the longest name of a class, a module or a storage.
pub(super) const NAME_LIMIT: usize = 1000;

/// Largest number of dimensions of a tensor; a weight has at most four.
pub(super) const MOST_DIMENSIONS: usize = 16;
