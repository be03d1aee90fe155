//! What the tables for x86-64 share.

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

/// Asks for `len` bytes to be brought into the L2 cache, and says where they end: weights are read once a tile, one right panel
/// after the other, and the next one comes while this one is in use.
#[inline]
pub(super) fn prefetch(from: *const u8, len: usize) -> *const u8 {
    for at in (0..len).step_by(64) {
        // SAFETY: a hint, which does nothing where there is no memory.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.wrapping_add(at).cast()) };
    }
    from.wrapping_add(len)
}
