//! Defines the operands of the kernels: matrices in panels, and numbers for their rows and columns.

use core::ops::Range;

use crate::format::{GELU_ENTRIES, Layout};
use crate::parallel::Block;

/// The product of a left and a right matrix of 8-bit numbers in panels. One matrix holds weights, the other
/// activations.
///
/// Activations are stored with [`Layout::offset`] added. The bias or the row correction removes the effect of the
/// offset.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    pub layout: Layout,
    /// Padded length of the contraction.
    pub k: usize,
    /// Rows of the result. The left matrix may have more rows, which fill up its last panel.
    pub rows: usize,
    /// Whole left panels of `k` columns.
    pub left: &'a [u8],
    /// Whole right panels of `k` columns.
    pub right: &'a [u8],
}

impl<'a> Product<'a> {
    /// Returns the product of `rows`, which begin at a left panel, and `columns`, which begin at a right panel.
    pub fn part(self, rows: Range<usize>, columns: &Range<usize>) -> Self {
        let Self { layout, k, .. } = self;
        let end = rows.end.next_multiple_of((layout.rows as usize).max(1));
        Self {
            rows: rows.len(),
            left: part_of(self.left, &(rows.start * k..end * k)),
            right: part_of(self.right, &(columns.start * k..columns.end * k)),
            ..self
        }
    }

    /// Returns products with `count` right panels each, and the columns of each product. The last product has the
    /// remaining panels.
    pub(super) fn right_panels(self, count: usize) -> impl Iterator<Item = (Range<usize>, Product<'a>)> {
        let columns = count.max(1) * self.layout.columns as usize;
        self.right.chunks((columns * self.k).max(1)).enumerate().map(move |(i, right)| {
            let first = i * columns;
            (first..first + right.len() / self.k.max(1), Product { right, ..self })
        })
    }

    /// Returns the rows of all left panels.
    pub(super) fn padded_rows(&self) -> usize {
        self.rows.next_multiple_of((self.layout.rows as usize).max(1))
    }

    /// Returns whether the right matrix has this many columns and all lengths fit.
    pub(super) fn fits(&self, columns: usize) -> bool {
        self.layout.is_valid()
            && columns.is_multiple_of(self.layout.columns as usize)
            && self.k > 0
            && self.k.is_multiple_of(self.layout.group as usize)
            && self.left.len() == self.padded_rows() * self.k
            && self.right.len() == columns * self.k
    }
}

/// Numbers for each column: how 8-bit sums are added to the residual stream.
#[derive(Clone, Copy)]
pub(crate) struct StreamColumns<'a> {
    pub bias: &'a [i32],
    pub scale: &'a [f32],
}

impl StreamColumns<'_> {
    pub fn part(&self, columns: &Range<usize>) -> Self {
        Self { bias: part_of(self.bias, columns), scale: part_of(self.scale, columns) }
    }
}

/// Numbers for each row of the weights of patch mixing.
#[derive(Clone, Copy)]
pub(crate) struct MixRows<'a> {
    pub correction: &'a [i32],
    pub scale: &'a [f32],
    pub sum: &'a [f32],
    pub bias: &'a [f32],
}

impl MixRows<'_> {
    pub fn part(&self, rows: &Range<usize>) -> Self {
        let [scale, sum, bias] = [self.scale, self.sum, self.bias].map(|values| part_of(values, rows));
        Self { correction: part_of(self.correction, rows), scale, sum, bias }
    }

    /// Returns a row's scale, sum and bias.
    pub fn of(&self, row: usize) -> [f32; 3] {
        [self.scale, self.sum, self.bias].map(|values| values.get(row).copied().unwrap_or(0.0))
    }
}

/// Numbers for each column: the gains of patch mixing.
#[derive(Clone, Copy)]
pub(crate) struct MixColumns<'a> {
    pub scale: &'a [f32],
    pub sum_gain: &'a [f32],
    pub bias_gain: &'a [f32],
}

impl MixColumns<'_> {
    pub fn part(&self, columns: &Range<usize>) -> Self {
        let [scale, sum_gain, bias_gain] =
            [self.scale, self.sum_gain, self.bias_gain].map(|values| part_of(values, columns));
        Self { scale, sum_gain, bias_gain }
    }
}

/// Numbers for each column: how 8-bit sums become 8-bit hidden activations.
#[derive(Clone, Copy)]
pub(crate) struct GeluColumns<'a> {
    pub bias: &'a [i32],
    /// Fractions of 2^31, below 2^30.
    pub scale: &'a [i32],
    pub requantise: &'a [i16],
    pub zero: &'a [i8],
    pub table: &'a [u8; GELU_ENTRIES],
    /// Shift that makes a table index of `|x|`, at most 7.
    pub shift: u32,
}

impl GeluColumns<'_> {
    pub fn part(&self, columns: &Range<usize>) -> Self {
        let [bias, scale] = [self.bias, self.scale].map(|values| part_of(values, columns));
        let (requantise, zero) = (part_of(self.requantise, columns), part_of(self.zero, columns));
        Self { bias, scale, requantise, zero, ..*self }
    }
}

/// The place of hidden activations: left panels of the next product, or a part of them. A row of the block is a panel.
pub(crate) struct Hidden<'a, 'b> {
    pub panels: &'a mut Block<'b, u8>,
    /// Column of the left panels that the first activation goes to.
    pub first: usize,
}

/// Numbers for each channel: how the stream is quantised to 8 bits.
#[derive(Clone, Copy)]
pub(crate) struct Quantiser<'a> {
    pub scale: &'a [f32],
    pub offset: &'a [f32],
}

impl Quantiser<'_> {
    pub fn part(&self, channels: &Range<usize>) -> Self {
        Self { scale: part_of(self.scale, channels), offset: part_of(self.offset, channels) }
    }
}

/// Rows of `f32` numbers, for models with 16-bit weights.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub data: &'a [f32],
    /// Numbers from the start of a row to the start of the next.
    pub stride: usize,
    /// Number of rows.
    pub rows: usize,
}

impl Rows<'_> {
    pub fn part(&self, rows: &Range<usize>) -> Self {
        let data = part_of(self.data, &(rows.start * self.stride..rows.end * self.stride));
        Self { data, stride: self.stride, rows: rows.len() }
    }
}

/// Right panels, each of which is `[k][column]`.
#[derive(Clone, Copy)]
pub(crate) struct RightPanels<'a, T> {
    pub data: &'a [T],
    /// Columns of a panel.
    pub width: usize,
}

/// Right panels of 16-bit weights.
pub(crate) type RightHalves<'a> = RightPanels<'a, u16>;
/// Right panels of activations, in patch mixing with 16-bit weights.
pub(crate) type RightFloats<'a> = RightPanels<'a, f32>;

impl<T: Copy> RightPanels<'_, T> {
    /// Returns the panels of `columns`, which begin at a panel, out of `all` columns.
    pub fn part(self, columns: &Range<usize>, all: usize) -> Self {
        let k = self.data.len().checked_div(all).unwrap_or(0);
        Self { data: part_of(self.data, &(columns.start * k..columns.end * k)), ..self }
    }

    /// Calls `each` with every panel, its columns, and its part of `out`.
    pub(super) fn for_each_panel(self, out: &mut Block, mut each: impl FnMut(&[T], Range<usize>, &mut Block)) {
        let (rows, columns) = (out.rows(), out.columns());
        let k = self.data.len().checked_div(columns).unwrap_or(0);
        let starts = (0..columns).step_by(self.width.max(1));
        for (panel, start) in self.data.chunks_exact((self.width * k).max(1)).zip(starts) {
            let part = start..start + self.width;
            each(panel, part.clone(), &mut out.part(0..rows, part));
        }
    }
}

/// Numbers for each column: what is done to sums with 16-bit weights.
#[derive(Clone, Copy)]
pub(crate) struct FloatColumns<'a> {
    pub bias: &'a [f32],
    pub scale: &'a [f32],
}

impl FloatColumns<'_> {
    pub fn part(&self, columns: &Range<usize>) -> Self {
        Self { bias: part_of(self.bias, columns), scale: part_of(self.scale, columns) }
    }
}

/// Returns a part of `values`, or nothing if the part would reach outside. The checked calls of the kernels then
/// find the wrong length.
pub(crate) fn part_of<'a, T>(values: &'a [T], part: &Range<usize>) -> &'a [T] {
    values.get(part.clone()).unwrap_or(&[])
}

/// Returns whether all lengths fit.
pub(super) fn float_fits(left: &Rows, right: &RightHalves, columns: &FloatColumns, out: &Block) -> bool {
    let width = out.columns();
    let k = right.data.len().checked_div(width).unwrap_or(0);
    k * width == right.data.len()
        && width.checked_rem(right.width) == Some(0)
        && k <= left.stride
        && left.rows == out.rows()
        && left.rows * left.stride <= left.data.len()
        && [columns.bias.len(), columns.scale.len()] == [width; 2]
}
