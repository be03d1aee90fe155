//! Limits that are far beyond what `torch.save` writes.

/// Length in bytes of the longest name of a class, a module or a storage.
pub(super) const NAME_LIMIT: usize = 1000;

/// Largest number of dimensions of a tensor; a weight has at most four.
pub(super) const MOST_DIMENSIONS: usize = 16;

/// Bytes charged for any allocation, besides its contents.
pub(super) const ALLOCATION: usize = 32;

/// Bytes charged for a boxed value, besides its lists.
pub(super) const BOX_COST: usize = 96;

/// Bytes charged for an entry of the dictionary that is read, besides its name and its shape: a place in a map, and
/// three allocations.
pub(super) const ENTRY_COST: usize = 192;
