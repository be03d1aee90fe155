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
/// `for_each` calls `task` at most once with each index below `count` and with no other, and all calls have ended when it returns
/// (or unwinds). The engine hands out memory by index and relies on it.
pub unsafe trait ParallelFor {
    /// How many calls can run at the same time, at least 1.
    fn workers(&self) -> usize;

    /// Calls `task(0)` … `task(count - 1)`, in any order and on any cores. All of them have to have the same instructions, and the
    /// floating-point mode that programs start with. Where a call is missing, results are wrong.
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
    pub fn as_ptr(&self) -> *const T {
        self.start
    }

    /// As [`Block::as_ptr`].
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.as_ptr().cast_mut()
    }

    /// All elements, where the rows follow each other without a gap; empty otherwise.
    pub fn as_slice(&self) -> &[T] {
        if self.columns != self.stride {
            return &[];
        }
        // SAFETY: whole rows of a matrix that the block borrows exclusively.
        unsafe { core::slice::from_raw_parts(self.start, self.rows * self.columns) }
    }

    /// The same, to write to.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        if self.columns != self.stride {
            return &mut [];
        }
        // SAFETY: as in `as_slice`, and `self` is borrowed exclusively.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.rows * self.columns) }
    }

    /// All of it, borrowed for a while.
    pub fn whole(&mut self) -> Block<'_, T> {
        self.part(0..self.rows, 0..self.columns)
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

/// How a matrix is cut. It is divided into shares, one a worker at most, and a share into blocks of no more than `most` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Rows and columns of a unit: shares and blocks begin at multiples of them. [`WHOLE`] is never cut.
    pub unit: [usize; 2],
    /// The most units that a block may have, down and across.
    pub most: [usize; 2],
}

/// More rows or columns, or units of them, than there are.
pub const WHOLE: usize = usize::MAX;

impl Cut {
    /// One block a share.
    pub fn shares(unit: [usize; 2]) -> Self {
        Self { unit, most: [WHOLE; 2] }
    }

    /// How many shares lie below each other and how many side by side: as many as makes the largest one smallest. Where there is a
    /// choice they lie side by side: as a rule, weights belong to columns, and no two workers read the same then.
    fn grid(&self, units: [usize; 2], workers: usize) -> [usize; 2] {
        let mut best = ([1, 1], usize::MAX);
        for down in 1..=workers.min(units[0]).max(1) {
            let across = (workers / down).min(units[1]).max(1);
            let largest = units[0].div_ceil(down).saturating_mul(units[1].div_ceil(across));
            if largest < best.1 {
                best = ([down, across], largest);
            }
        }
        best.0
    }

    /// Worker `worker`'s share of a matrix of `extent` rows and columns, of `workers`; `None` if none is left for it.
    fn share(&self, extent: [usize; 2], worker: usize, workers: usize) -> Option<[Range<usize>; 2]> {
        let units = [0, 1].map(|i| extent[i].div_ceil(self.unit[i].max(1)));
        let [down, across] = self.grid(units, workers).map(|shares| shares.max(1));
        let at = |i: usize, index: usize, shares: usize| {
            (units[i] * index / shares.max(1)).saturating_mul(self.unit[i]).min(extent[i])
        };
        let part = |i, index, shares| at(i, index, shares)..at(i, index + 1, shares);
        (worker < down * across).then(|| [part(0, worker / across, down), part(1, worker % across, across)])
    }

    /// Calls `each` with the rows and columns of worker `worker`'s blocks.
    fn for_each_block(
        &self,
        extent: [usize; 2],
        worker: usize,
        workers: usize,
        each: &mut dyn FnMut(Range<usize>, Range<usize>),
    ) {
        let Some([rows, columns]) = self.share(extent, worker, workers) else { return };
        for rows in self.blocks(0, rows) {
            for columns in self.blocks(1, columns.clone()) {
                each(rows.clone(), columns);
            }
        }
    }

    /// Rows or columns `share` in blocks of about the same number of units.
    pub fn blocks(&self, axis: usize, share: Range<usize>) -> impl Iterator<Item = Range<usize>> + Clone + use<> {
        let unit = self.unit[axis].max(1);
        let units = share.len().div_ceil(unit);
        let blocks = units.div_ceil(self.most[axis].max(1));
        let at = move |block: usize| {
            share.start + (units * block / blocks.max(1)).saturating_mul(unit).min(share.end - share.start)
        };
        (0..blocks).map(move |block| at(block)..at(block + 1))
    }
}

/// Calls `task` once for each block of `matrix`, with its rows and columns, the block, and the memory of the worker that runs it:
/// `scratch` is cut evenly.
pub fn for_each_block<T: Send + Sync, P: ParallelFor + ?Sized>(
    parallel: &P,
    workers: usize,
    matrix: Block<'_, T>,
    cut: Cut,
    scratch: &mut [u8],
    task: impl Fn([Range<usize>; 2], Block<'_, T>, &mut [u8]) + Sync,
) {
    let count = workers.max(1);
    let len = scratch.len() / count;
    let scratch = Block::new(scratch, len);
    let matrix = &matrix;
    parallel.for_each(count, &|worker| {
        // SAFETY: each index below `count` is called once, and all calls end before `scratch` does.
        let mut scratch = unsafe { scratch.part_unchecked(worker..worker + 1, 0..len) };
        cut.for_each_block([matrix.rows, matrix.columns], worker, count, &mut |rows, columns| {
            // SAFETY: no two blocks overlap, every block belongs to one worker, and all calls end before `matrix` does.
            let block = unsafe { matrix.part_unchecked(rows.clone(), columns.clone()) };
            task([rows, columns], block, scratch.row_mut(0));
        });
    });
}

/// Which operand of a product panels are, made of the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Their rows are where the stream has them.
    Left,
    /// Their rows are where the stream has columns.
    Right,
}

/// Calls `task` once for each share of `stream`, with its rows and columns and the same share of `panels`: so many elements of these to
/// each unit of the stream.
pub fn for_each_share<T: Send + Sync, P: ParallelFor + ?Sized>(
    parallel: &P,
    workers: usize,
    stream: Block<'_>,
    (side, panels): (Side, Block<'_, T>),
    unit: [usize; 2],
    task: impl Fn([Range<usize>; 2], Block<'_>, Block<'_, T>) + Sync,
) {
    let cut = Cut::shares(unit);
    let extent = [stream.rows, stream.columns];
    let per_unit = [0, 1].map(|i| {
        let found = if (i == 0) == (side == Side::Right) { panels.columns } else { panels.rows };
        found / extent[i].div_ceil(unit[i].max(1)).max(1)
    });
    let (stream, panels) = (&stream, &panels);
    parallel.for_each(workers, &|worker| {
        let Some([rows, columns]) = cut.share(extent, worker, workers) else { return };
        let of_panels = |i: usize, share: &Range<usize>| {
            let unit = unit[i].max(1);
            share.start / unit * per_unit[i]..share.end.div_ceil(unit) * per_unit[i]
        };
        let [mut down, mut across] = [of_panels(0, &rows), of_panels(1, &columns)];
        if side == Side::Right {
            core::mem::swap(&mut down, &mut across);
        }
        let share = [rows.clone(), columns.clone()];
        // SAFETY: each index below `workers` is called once, no two shares overlap, in the stream or in the panels, and all calls end
        // before the two do.
        let (stream, panels) = unsafe { (stream.part_unchecked(rows, columns), panels.part_unchecked(down, across)) };
        task(share, stream, panels);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::vec;

    use super::{Block, Cut, Serial, Side, WHOLE, for_each_block, for_each_share};

    /// Calls `each` with shapes of matrices, units of them and numbers of workers.
    fn for_every_cut(mut each: impl FnMut([usize; 2], [usize; 2], usize)) {
        let units = [[1, 1], [4, 1], [1, 3], [4, 6], [WHOLE, 2], [3, WHOLE]];
        for (extent, unit) in (0..=13)
            .flat_map(|rows| [0, 1, 5, 12, 13].map(|columns| [rows, columns]))
            .flat_map(|extent| units.map(|unit| (extent, unit)))
        {
            (1..=9).for_each(|workers| each(extent, unit, workers));
        }
    }

    #[test]
    fn blocks_cover_all_once() {
        for_every_cut(|[rows, columns], unit, workers| {
            for most in [[1, 1], [2, WHOLE], [WHOLE, 3], [WHOLE; 2]] {
                let mut matrix = vec![0; rows * columns];
                let cut = Cut { unit, most };
                let mut scratch = vec![0; 3 * workers];
                let scratches = Mutex::new(vec![]);
                let block = Block::new(&mut matrix, columns);
                for_each_block(&Serial, workers, block, cut, &mut scratch, |part, mut block, scratch| {
                    assert_eq!([block.rows(), block.columns()], part.clone().map(|part| part.len()));
                    for ((part, unit), most) in part.iter().zip(unit).zip(most) {
                        assert!(part.start.is_multiple_of(unit) && part.len() <= most.saturating_mul(unit), "{part:?}");
                        assert!(!part.is_empty());
                    }
                    (0..block.rows()).for_each(|row| block.row_mut(row).iter_mut().for_each(|count| *count += 1));
                    assert_eq!(scratch.len(), 3);
                    scratches.lock().unwrap().push(scratch.as_ptr() as usize);
                });
                assert!(matrix.iter().all(|&count| count == 1), "{rows} {columns} {unit:?} {workers} {most:?}");
                let mut scratches = scratches.into_inner().unwrap();
                scratches.dedup();
                assert!(scratches.is_sorted() && scratches.len() <= workers, "one worker after the other");
            }
        });
    }

    #[test]
    fn no_share_is_larger_than_where_one_way_alone_is_cut() {
        for_every_cut(|extent, unit, workers| {
            let units = [0, 1].map(|i| extent[i].div_ceil(unit[i]));
            let largest = (0..workers).filter_map(|worker| Cut::shares(unit).share(extent, worker, workers));
            let largest = largest.map(|share| [0, 1].map(|i| share[i].len().div_ceil(unit[i]))).map(|[r, c]| r * c);
            let bound = (units[0].div_ceil(workers) * units[1]).min(units[0] * units[1].div_ceil(workers));
            assert!(largest.max() <= Some(bound), "{extent:?} {unit:?} {workers}");
        });
    }

    #[test]
    fn columns_are_shared_out_first_and_rows_where_there_are_too_few() {
        let cut = Cut::shares([8, 12]);
        assert_eq!(
            [1, 2, 3, 4, 8].map(|workers| cut.grid([13, 32], workers)),
            [[1, 1], [1, 2], [1, 3], [1, 4], [1, 8]]
        );
        assert_eq!(cut.grid([13, 8], 16), [2, 8]);
        assert_eq!(cut.grid([13, 3], 4), [4, 1]);
        assert_eq!(cut.grid([1, 1], 4), [1, 1]);
    }

    /// Every element of the panels comes with the unit of the stream that it belongs to, whichever way the panels lie.
    #[test]
    fn shares_of_the_stream_and_of_panels_belong_together() {
        for_every_cut(|[rows, columns], unit, workers| {
            let units = [rows.div_ceil(unit[0]), columns.div_ceil(unit[1])];
            for side in [Side::Left, Side::Right] {
                // Two rows and five columns of panels for a unit.
                let [down, across] = if side == Side::Right { [units[1], units[0]] } else { units };
                let (mut stream, mut panels) = (vec![0.0; rows * columns], vec![None; 2 * down * 5 * across]);
                let of_stream = Block::new(&mut stream, columns);
                let of_panels = (side, Block::new(&mut panels, 5 * across));
                for_each_share(&Serial, workers, of_stream, of_panels, unit, |part, mut stream, mut panels| {
                    assert_eq!([stream.rows(), stream.columns()], part.clone().map(|part| part.len()));
                    (0..stream.rows()).for_each(|row| stream.row_mut(row).iter_mut().for_each(|y| *y += 1.0));
                    let units = [0, 1].map(|i| part[i].start / unit[i]..part[i].end.div_ceil(unit[i]));
                    for row in 0..panels.rows() {
                        assert!(panels.row(row).iter().all(|units| units.is_none()), "once");
                        panels.row_mut(row).fill(Some(units.clone()));
                    }
                });
                assert!(stream.iter().all(|&y| y == 1.0), "{rows} {columns} {unit:?} {workers}");
                for (at, of) in panels.into_iter().enumerate() {
                    let [down, across] = [at / (5 * across) / 2, at % (5 * across) / 5];
                    let [row, column] = if side == Side::Right { [across, down] } else { [down, across] };
                    let [rows, columns] = of.unwrap();
                    assert!(rows.contains(&row) && columns.contains(&column), "{row} {column}, {rows:?} {columns:?}");
                }
            }
        });
    }
}
