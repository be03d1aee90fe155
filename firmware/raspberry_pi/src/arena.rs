//! Hands out pieces of memory whose sizes depend on the model. A piece is never given back.

use core::ops::Range;

use bytemuck::{AnyBitPattern, NoUninit};

/// Alignment of every piece: the cache line of every board, and the alignment that a model's bytes need.
const ALIGNMENT: usize = 64;

/// A region of memory that is handed out piece by piece.
#[derive(Debug)]
pub struct Arena<'a>(&'a mut [u8]);

impl<'a> Arena<'a> {
    /// Creates an arena over `memory`.
    pub fn new(memory: &'a mut [u8]) -> Self {
        Self(memory)
    }

    /// Returns how many bytes are left.
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// Returns `count` zeros, or `None` if that many do not fit.
    pub fn zeros<T: AnyBitPattern + NoUninit>(&mut self, count: usize) -> Option<&'a mut [T]> {
        let bytes = count.checked_mul(size_of::<T>())?;
        let skip = self.0.as_ptr().align_offset(ALIGNMENT);
        if skip.checked_add(bytes)? > self.0.len() {
            return None;
        }
        let (_, rest) = core::mem::take(&mut self.0).split_at_mut_checked(skip)?;
        let (piece, rest) = rest.split_at_mut_checked(bytes)?;
        self.0 = rest;
        piece.fill(0);
        bytemuck::try_cast_slice_mut(piece).ok()
    }

    /// Returns a copy of `bytes` at a multiple of 64, or `None` if it does not fit.
    pub fn copy(&mut self, bytes: &[u8]) -> Option<&'a [u8]> {
        let copy: &mut [u8] = self.zeros(bytes.len())?;
        copy.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        Some(copy)
    }
}

/// Returns the largest part of `memory` that overlaps none of the `used` parts.
pub fn largest_gap(memory: Range<usize>, used: &[Range<usize>]) -> Range<usize> {
    // A gap begins at the start of the memory or at the end of a used part, and reaches to the next used part.
    let starts = core::iter::once(memory.start).chain(used.iter().map(|part| part.end));
    let gap = |start: usize| {
        let inside = used.iter().any(|part| part.start <= start && start < part.end);
        let ends = used.iter().filter(|part| part.end > start).map(|part| part.start);
        let end = ends.chain(core::iter::once(memory.end)).min().unwrap_or(start);
        if inside || start < memory.start { start..start } else { start..end.max(start) }
    };
    starts.map(gap).max_by_key(Range::len).unwrap_or(memory.start..memory.start)
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn pieces_are_aligned_and_do_not_overlap() {
        let mut memory = vec![0xffu8; 1000];
        let range = memory.as_ptr_range();
        let mut arena = Arena::new(&mut memory[1..]);
        let first: &mut [u64] = arena.zeros(10).unwrap();
        let second = arena.copy(b"model").unwrap();
        assert!(first.iter().all(|&value| value == 0));
        assert_eq!(second, b"model");
        assert_eq!([first.as_ptr().align_offset(64), second.as_ptr().align_offset(64)], [0, 0]);
        assert!(first.as_ptr_range().end.cast() <= second.as_ptr() && range.contains(&second.as_ptr()));
    }

    #[test]
    fn a_request_that_is_too_large_is_refused_and_takes_nothing() {
        let mut memory = [0u8; 256];
        let mut arena = Arena::new(&mut memory);
        assert!(arena.zeros::<u32>(65).is_none());
        assert!(arena.zeros::<u64>(usize::MAX).is_none());
        assert!(arena.zeros::<u32>(16).is_some());
        assert!(arena.left() >= 64);
    }

    #[test]
    fn the_largest_gap_is_found_whatever_the_order() {
        assert_eq!(largest_gap(0..100, &[]), 0..100);
        assert_eq!(largest_gap(0..100, &[40..50, 0..10, 90..200]), 50..90);
        assert_eq!(largest_gap(10..100, &[0..60, 20..30]), 60..100);
        assert_eq!(largest_gap(0..100, &[50..60, 55..58]), 0..50);
        assert!(largest_gap(10..100, &[0..200, 0..5]).is_empty());
    }
}
