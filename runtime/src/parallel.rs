//! How work is spread over cores: the caller lends them, the engine cuts the residual stream into blocks that do not overlap.

use core::marker::PhantomData;
use core::ops::Range;

#[cfg(feature = "std")]
mod threads;
#[cfg(feature = "std")]
pub use threads::Threads;

/// Cores that the caller lends to the engine.
///
/// # Safety
/// `for_each` calls `task` exactly once with each index of `0..count`, and all calls have ended when it returns
/// (or unwinds). The engine hands out memory by index and relies on it.
pub unsafe trait ParallelFor {
    /// How many calls can run at the same time, at least 1.
    fn workers(&self) -> usize;

    /// Calls `task(0)` … `task(count - 1)`, in any order and on any cores.
    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling core alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: a plain loop over `0..count`.
unsafe impl ParallelFor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }
}

// SAFETY: forwards to an implementation that keeps the promise.
unsafe impl<P: ParallelFor + ?Sized> ParallelFor for &P {
    fn workers(&self) -> usize {
        (**self).workers()
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (**self).for_each(count, task);
    }
}

/// A rectangle of a row-major matrix, borrowed exclusively.
pub struct Block<'a, T = f32> {
    start: *mut T,
    stride: usize,
    rows: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [T]>,
}

impl<'a, T> Block<'a, T> {
    /// A whole matrix; an incomplete last row is left out.
    pub fn new(data: &'a mut [T], columns: usize) -> Self {
        let rows = data.len().checked_div(columns).unwrap_or(0);
        Self { start: data.as_mut_ptr(), stride: columns, rows, columns, matrix: PhantomData }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Distance between two rows, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// The first element; row `r` starts `r * stride` elements behind it.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.start
    }

    /// All elements, where the rows follow each other without a gap; empty otherwise.
    pub fn as_slice(&self) -> &[T] {
        if self.columns != self.stride {
            return &[];
        }
        // SAFETY: whole rows of a matrix that the block borrows exclusively.
        unsafe { core::slice::from_raw_parts(self.start, self.rows * self.columns) }
    }

    /// Row `row`, empty where there is none.
    pub fn row(&self, row: usize) -> &[T] {
        if row >= self.rows {
            return &[];
        }
        // SAFETY: the block lies inside a matrix that it borrows exclusively, and the row is in the block.
        unsafe { core::slice::from_raw_parts(self.start.add(row * self.stride), self.columns) }
    }

    /// Row `row`, empty where there is none.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        if row >= self.rows {
            return &mut [];
        }
        // SAFETY: as in `row`, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.as_mut_ptr().add(row * self.stride), self.columns) }
    }

    /// The part of this block in `rows` and `columns`, cut where it would reach outside.
    pub fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> Block<'_, T> {
        // SAFETY: the part borrows from `self`, exclusively.
        unsafe { self.part_unchecked(rows, columns) }
    }

    /// # Safety
    /// No two parts that are alive at the same time overlap, and none outlives the matrix.
    unsafe fn part_unchecked<'b>(&self, rows: Range<usize>, columns: Range<usize>) -> Block<'b, T> {
        let (row, column) = (rows.start.min(self.rows), columns.start.min(self.columns));
        Block {
            // In bounds or one past the end of the last row: never read then, as the part is empty.
            start: self.start.wrapping_add(row * self.stride + column),
            stride: self.stride,
            rows: rows.end.min(self.rows).saturating_sub(row),
            columns: columns.end.min(self.columns).saturating_sub(column),
            matrix: PhantomData,
        }
    }
}

// SAFETY: a block is an exclusive borrow of its elements.
unsafe impl<T: Send> Send for Block<'_, T> {}
// SAFETY: shared access only reads.
unsafe impl<T: Sync> Sync for Block<'_, T> {}

/// How a matrix is cut: units of it go to the workers as evenly as can be, and each worker's share is cut into blocks of about the
/// same number of panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which way.
    pub along: Along,
    /// Workers' shares begin at multiples of this many rows or columns.
    pub unit: usize,
    /// Rows or columns of a panel; blocks of a share begin at multiples of it from where the share does.
    pub panel: usize,
    /// The most panels that a block may have.
    pub most: usize,
}

/// What a block has a part of; it has all of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Along {
    /// The rows.
    Rows,
    /// The columns.
    Columns,
}

impl Cut {
    /// Worker `worker`'s blocks of `extent` rows or columns, of `workers`.
    fn blocks(self, extent: usize, worker: usize, workers: usize) -> impl Iterator<Item = Range<usize>> {
        let (unit, panel) = (self.unit.max(1), self.panel.max(1));
        let units = extent.div_ceil(unit);
        let [start, end] = [worker, worker + 1].map(|w| (units * w / workers.max(1) * unit).min(extent));
        let panels = (end - start).div_ceil(panel);
        let blocks = panels.div_ceil(self.most.max(1));
        let at = move |block: usize| (start + panels * block / blocks.max(1) * panel).min(end);
        (0..blocks).map(move |block| at(block)..at(block + 1))
    }
}

/// What one worker needs: memory of its own.
pub struct Workers<'a> {
    /// Memory for all workers, cut evenly.
    pub scratch: &'a mut [u8],
    /// How many there are.
    pub count: usize,
}

/// Calls `task` once for each block of `matrix`, with the index of its first row or column, the block, and the memory of
/// the worker that runs it. Each worker takes a contiguous share of the blocks.
pub fn for_each_block<P: ParallelFor + ?Sized>(
    parallel: &P,
    matrix: Block<'_>,
    cut: Cut,
    workers: Workers<'_>,
    task: &(dyn Fn(usize, Block<'_>, &mut [u8]) + Sync),
) {
    let count = workers.count.max(1);
    let share = workers.scratch.len() / count;
    let scratch = Scratch(workers.scratch.as_mut_ptr());
    let extent = match cut.along {
        Along::Rows => matrix.rows,
        Along::Columns => matrix.columns,
    };
    parallel.for_each(count, &|worker| {
        if worker >= count {
            return;
        }
        // SAFETY: `share * count` bytes were lent, each index is called once, so no two shares overlap.
        let scratch = unsafe { core::slice::from_raw_parts_mut(scratch.at(worker * share), share) };
        for block in cut.blocks(extent, worker, count) {
            let first = block.start;
            let (rows, columns) = match cut.along {
                Along::Rows => (block, 0..matrix.columns),
                Along::Columns => (0..matrix.rows, block),
            };
            // SAFETY: no two blocks overlap, every block belongs to one worker, and all calls end before
            // `matrix` does.
            task(first, unsafe { matrix.part_unchecked(rows, columns) }, scratch);
        }
    });
}

/// Calls `task` once for each worker's share of the tokens, which are the rows of `stream`, and the same share of the columns of
/// `panels`: so many to each `unit` tokens. Shares begin at multiples of `unit`.
pub fn for_each_share<P: ParallelFor + ?Sized>(
    parallel: &P,
    workers: usize,
    stream: Block<'_>,
    panels: Block<'_, u8>,
    unit: usize,
    task: &(dyn Fn(Block<'_>, Block<'_, u8>) + Sync),
) {
    let cut = Cut { along: Along::Rows, unit, panel: unit, most: usize::MAX };
    let units = stream.rows.div_ceil(unit.max(1)).max(1);
    let width = panels.columns / units;
    parallel.for_each(workers, &|worker| {
        for rows in cut.blocks(stream.rows, worker, workers) {
            let columns = rows.start / unit.max(1) * width..rows.end.div_ceil(unit.max(1)) * width;
            // SAFETY: each index below `workers` is called once, no two shares overlap, in the stream or in the panels, and all
            // calls end before the two do.
            let (stream, panels) = unsafe {
                (stream.part_unchecked(rows, 0..stream.columns), panels.part_unchecked(0..panels.rows, columns))
            };
            task(stream, panels);
        }
    });
}

struct Scratch(*mut u8);

impl Scratch {
    fn at(&self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }
}

// SAFETY: only an address; who makes a slice of it says why that is sound.
unsafe impl Sync for Scratch {}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::{Along, Block, Cut, Serial, for_each_share};

    #[test]
    fn blocks_cover_all_once_and_are_spread_evenly() {
        let cuts = [1, 2, 4].into_iter().flat_map(|unit| (1..=5).map(move |most| (unit, most)));
        for (extent, workers, (unit, most)) in
            (0..=70).flat_map(|e| (1..=9).flat_map(|w| cuts.clone().map(move |cut| (e, w, cut))).collect::<Vec<_>>())
        {
            let cut = Cut { along: Along::Rows, unit, panel: 4, most };
            let shares: Vec<Vec<_>> =
                (0..workers).map(|worker| cut.blocks(extent, worker, workers).collect()).collect();
            let mut next = 0;
            for share in &shares {
                assert!(share.first().is_none_or(|first| first.start.is_multiple_of(unit)));
                for (index, block) in share.iter().enumerate() {
                    assert!(
                        block.start == next && block.end > next && block.len() <= 4 * most,
                        "{extent} {workers} {unit} {most}"
                    );
                    assert!(block.len().is_multiple_of(4) || index + 1 == share.len());
                    next = block.end;
                }
            }
            assert_eq!(next, extent);
            let len = |share: &Vec<core::ops::Range<usize>>| share.iter().map(|block| block.len()).sum::<usize>();
            assert!(shares.iter().all(|share| len(share).div_ceil(unit) <= extent.div_ceil(unit).div_ceil(workers)));
            assert!(shares.iter().all(|share| len(share).div_ceil(4) <= extent.div_ceil(4).div_ceil(workers)));
        }
    }

    #[test]
    fn shares_of_tokens_and_of_panels_belong_together() {
        for (tokens, unit, workers) in
            (0..=40usize).flat_map(|t| [1, 4, 8, 16].into_iter().flat_map(move |u| (1..=9).map(move |w| (t, u, w))))
        {
            let padded = tokens.next_multiple_of(unit).max(unit);
            let (mut stream, mut panels) = (vec![0.0; 2 * tokens], vec![0; 3 * 5 * padded]);
            for_each_share(
                &Serial,
                workers,
                Block::new(&mut stream, 2),
                Block::new(&mut panels, 5 * padded),
                unit,
                &|mut stream, mut panels| {
                    assert_eq!(panels.columns(), 5 * stream.rows().next_multiple_of(unit));
                    (0..stream.rows()).for_each(|row| stream.row_mut(row).iter_mut().for_each(|y| *y += 1.0));
                    (0..3).for_each(|row| panels.row_mut(row).iter_mut().for_each(|byte| *byte += 1));
                },
            );
            assert!(stream.iter().all(|&y| y == 1.0), "{tokens} {unit} {workers}");
            assert!(panels.iter().all(|&byte| byte == u8::from(tokens > 0)), "{tokens} {unit} {workers}");
        }
    }
}
