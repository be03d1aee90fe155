//! Fetches the right panels that are multiplied next into the cache.

use crate::kernels::operands::Product;
use crate::kernels::x86_64::tile_256::{COLUMNS, GROUP, prefetch};

/// The part of the right panels that is multiplied next and fetched in the meantime: their next chunk, or the first
/// chunk of the panels after them.
pub(super) struct Ahead {
    /// Start of that part in the first panel.
    from: *const u8,
    /// Distance from one panel to the next, in bytes.
    stride: usize,
    /// Number of panels.
    panels: usize,
    /// Bytes of each panel that one step asks for.
    share: usize,
}

impl Ahead {
    /// Describes what follows chunk `chunk` of `groups` groups, to be fetched in `steps` steps.
    #[inline]
    pub(super) fn new(p: &Product, groups: usize, chunk: usize, steps: usize) -> Self {
        let (stride, len) = (COLUMNS * p.k, groups * COLUMNS * GROUP);
        let next = (chunk + 1) * len;
        let from = if next < stride { next } else { p.right.len() };
        let panels = p.right.len() / stride.max(1);
        Self {
            from: p.right.as_ptr().wrapping_add(from),
            stride,
            panels,
            share: len.min(stride).div_ceil(steps.max(1)),
        }
    }

    /// Asks for the next step's share of each panel.
    #[inline]
    pub(super) fn prefetch(&mut self) {
        for panel in 0..self.panels {
            prefetch(self.from.wrapping_add(panel * self.stride), self.share);
        }
        self.from = self.from.wrapping_add(self.share);
    }
}
