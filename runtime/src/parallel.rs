//! Spreads work over cores: the caller lends the cores, and the engine cuts the residual stream into blocks that do not
//! overlap.

use core::marker::PhantomData;
use core::ops::Range;

#[cfg(feature = "std")]
mod threads;
#[cfg(feature = "std")]
pub use threads::Threads;

/// Cores that the caller lends to the engine.
///
/// # Safety
/// `for_each` must call `task` at most once for each index below `count` and for no other index, and every call must
/// have ended when `for_each` returns or unwinds. The engine relies on this: it gives each index a part of memory of
/// its own, which lives only as long as the call to `for_each`.
pub unsafe trait ParallelFor {
    /// Returns how many calls can run at the same time, at least 1.
    fn workers(&self) -> usize;

    /// Calls `task(0)` … `task(count - 1)`, in any order and on any cores.
    ///
    /// Every core must support the same instructions and use the floating-point mode that programs start with: rounding
    /// to nearest, subnormal numbers kept. If a call is left out, the results are wrong.
    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling core alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

// SAFETY: `for_each` is a plain loop over `0..count`: it calls each index once, one after the other.
unsafe impl ParallelFor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }
}

// SAFETY: every call is forwarded to `P`, whose own implementation keeps the contract.
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
    /// Borrows a whole matrix of `columns` columns. An incomplete last row is left out.
    pub fn new(data: &'a mut [T], columns: usize) -> Self {
        let rows = data.len().checked_div(columns).unwrap_or(0);
        Self { start: data.as_mut_ptr(), stride: columns, rows, columns, matrix: PhantomData }
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the distance from the start of one row to the start of the next, in elements.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Returns a pointer to the first element. Row `r` starts `r * stride` elements after it.
    pub fn as_ptr(&self) -> *const T {
        self.start
    }

    /// Returns a writable pointer to the first element. Row `r` starts `r * stride` elements after it.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.as_ptr().cast_mut()
    }

    /// Returns all elements if the rows follow each other without a gap, and an empty slice otherwise.
    pub fn as_slice(&self) -> &[T] {
        if self.columns != self.stride {
            return &[];
        }
        // SAFETY: stride and columns are equal, so the `rows * columns` elements from `start` on are whole, consecutive
        // rows of the matrix, which the block borrows exclusively.
        unsafe { core::slice::from_raw_parts(self.start, self.rows * self.columns) }
    }

    /// Returns all elements for writing if the rows follow each other without a gap, and an empty slice otherwise.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        if self.columns != self.stride {
            return &mut [];
        }
        // SAFETY: the elements are consecutive rows, as in `as_slice`, and `&mut self` rules out any other access
        // through this block.
        unsafe { core::slice::from_raw_parts_mut(self.start, self.rows * self.columns) }
    }

    /// Borrows the whole block again for a shorter lifetime.
    pub fn whole(&mut self) -> Block<'_, T> {
        self.part(0..self.rows, 0..self.columns)
    }

    /// Returns row `row`, or an empty slice if there is no such row.
    pub fn row(&self, row: usize) -> &[T] {
        if row >= self.rows {
            return &[];
        }
        // SAFETY: `row` is below `rows`, so its `columns` elements lie inside the block, and the block lies inside a
        // matrix that it borrows exclusively.
        unsafe { core::slice::from_raw_parts(self.start.add(row * self.stride), self.columns) }
    }

    /// Returns row `row` for writing, or an empty slice if there is no such row.
    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        if row >= self.rows {
            return &mut [];
        }
        // SAFETY: the row lies inside the block, as in `row`, and `&mut self` rules out any other access through this
        // block.
        unsafe { core::slice::from_raw_parts_mut(self.as_mut_ptr().add(row * self.stride), self.columns) }
    }

    /// Borrows the part of this block in `rows` and `columns`, clipped to the block.
    pub fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> Block<'_, T> {
        // SAFETY: the result borrows `self` exclusively, so no second part can exist while it lives, and it cannot
        // outlive the matrix.
        unsafe { self.part_unchecked(rows, columns) }
    }

    /// Makes a block of the part in `rows` and `columns`, clipped to this block, without borrowing `self`.
    ///
    /// # Safety
    /// No two parts that are alive at the same time may overlap, and no part may outlive the matrix.
    unsafe fn part_unchecked<'b>(&self, rows: Range<usize>, columns: Range<usize>) -> Block<'b, T> {
        let (row, column) = (rows.start.min(self.rows), columns.start.min(self.columns));
        Block {
            // `wrapping_add`, because an empty part may start after the last element. Its pointer is never read.
            start: self.start.wrapping_add(row * self.stride + column),
            stride: self.stride,
            rows: rows.end.min(self.rows).saturating_sub(row),
            columns: columns.end.min(self.columns).saturating_sub(column),
            matrix: PhantomData,
        }
    }
}

// SAFETY: a block is an exclusive borrow of its elements, like `&mut [T]`, which may be sent if `T` may be sent.
unsafe impl<T: Send> Send for Block<'_, T> {}
// SAFETY: a shared reference to a block only allows elements to be read, like `&[T]`, which threads may share if
// they may share `T`.
unsafe impl<T: Sync> Sync for Block<'_, T> {}

/// How a matrix is cut: into shares, at most one for each worker, and each share into blocks of at most `most` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Rows and columns of a unit. Shares and blocks begin at multiples of a unit, and an axis whose unit is [`WHOLE`]
    /// is never cut.
    pub unit: [usize; 2],
    /// Largest number of units in a block, down and across.
    pub most: [usize; 2],
}

/// A number of rows, columns or units that no matrix exceeds.
pub const WHOLE: usize = usize::MAX;

impl Cut {
    /// Cuts a matrix into shares in units of `unit`, with one block in each share.
    pub fn shares(unit: [usize; 2]) -> Self {
        Self { unit, most: [WHOLE; 2] }
    }

    /// Returns how many shares lie one below the other and how many side by side.
    ///
    /// The grid is the one whose largest share is smallest. If several grids are equally good, the one with more shares
    /// side by side is taken: weights usually belong to columns, so side-by-side workers read different weights.
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

    /// Returns the rows and columns that worker `worker` of `workers` gets of a matrix of `extent` rows and columns, or
    /// `None` if there are fewer shares than workers and it gets none.
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

    /// Cuts the rows (`axis` 0) or columns (`axis` 1) in `share` into blocks of about the same number of units.
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

/// Calls `task` once for each block of `matrix`, with the block's rows and columns, the block itself, and the scratch
/// memory of the worker that runs it. Each worker gets an equal part of `scratch`.
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
        // SAFETY: `ParallelFor` calls each index at most once, so no two parts of `scratch` overlap, and every call
        // ends before `scratch` goes out of scope.
        let mut scratch = unsafe { scratch.part_unchecked(worker..worker + 1, 0..len) };
        cut.for_each_block([matrix.rows, matrix.columns], worker, count, &mut |rows, columns| {
            // SAFETY: shares do not overlap, nor do the blocks of a share, each share belongs to one worker, and every
            // call ends before `matrix` goes out of scope.
            let block = unsafe { matrix.part_unchecked(rows.clone(), columns.clone()) };
            task([rows, columns], block, scratch.row_mut(0));
        });
    });
}

/// The operand of a product that is made from the residual stream and stored as panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The left operand: rows of panels correspond to rows of the stream.
    Left,
    /// The right operand, stored transposed: rows of panels correspond to columns of the stream.
    Right,
}

/// Calls `task` once for each share of `stream`, with the share's rows and columns, the share itself, and the matching
/// share of `panels`. Every unit of the stream has the same number of elements in the panels.
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
        // SAFETY: `ParallelFor` calls each index at most once, no two shares overlap in the stream or in the panels,
        // and every call ends before `stream` and `panels` go out of scope.
        let (stream, panels) = unsafe { (stream.part_unchecked(rows, columns), panels.part_unchecked(down, across)) };
        task(share, stream, panels);
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::vec;

    use super::{Block, Cut, Serial, Side, WHOLE, for_each_block, for_each_share};

    /// Calls `each` with many combinations of a matrix's shape, a unit and a number of workers.
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
    fn blocks_cover_every_element_once() {
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
    fn no_share_is_larger_than_when_only_rows_or_only_columns_are_cut() {
        for_every_cut(|extent, unit, workers| {
            let units = [0, 1].map(|i| extent[i].div_ceil(unit[i]));
            let largest = (0..workers).filter_map(|worker| Cut::shares(unit).share(extent, worker, workers));
            let largest = largest.map(|share| [0, 1].map(|i| share[i].len().div_ceil(unit[i]))).map(|[r, c]| r * c);
            let bound = (units[0].div_ceil(workers) * units[1]).min(units[0] * units[1].div_ceil(workers));
            assert!(largest.max() <= Some(bound), "{extent:?} {unit:?} {workers}");
        });
    }

    #[test]
    fn columns_are_shared_first_and_rows_when_columns_are_too_few() {
        let cut = Cut::shares([8, 12]);
        assert_eq!(
            [1, 2, 3, 4, 8].map(|workers| cut.grid([13, 32], workers)),
            [[1, 1], [1, 2], [1, 3], [1, 4], [1, 8]]
        );
        assert_eq!(cut.grid([13, 8], 16), [2, 8]);
        assert_eq!(cut.grid([13, 3], 4), [4, 1]);
        assert_eq!(cut.grid([1, 1], 4), [1, 1]);
    }

    /// Checks that every element of the panels reaches the task that gets its unit of the stream, for either
    /// orientation of the panels.
    #[test]
    fn shares_of_the_stream_and_of_panels_belong_together() {
        for_every_cut(|[rows, columns], unit, workers| {
            let units = [rows.div_ceil(unit[0]), columns.div_ceil(unit[1])];
            for side in [Side::Left, Side::Right] {
                // Each unit has two rows and five columns in the panels.
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
