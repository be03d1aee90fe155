//! Defines the table of functions that an instruction set's file fills in, and the checked calls of these functions.
//!
//! The functions in a table rely on lengths that fit. The methods of [`Kernels`] trust no caller: they check every
//! length once and then call the table.

use super::operands::{
    FloatColumns, GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, RightFloats, RightHalves, Rows,
    StreamColumns, float_fits,
};
use crate::format::{Activation, Arithmetic, Dims, Layout};
use crate::parallel::Block;

/// A table of functions for one instruction set. Holding one proves that this CPU can run it.
pub struct Kernels {
    pub(super) name: &'static str,
    /// The panels that the table reads. `None` stands for panels of any shape.
    pub(super) layout: Option<Layout>,
    /// Whether this CPU has the table's instructions.
    pub(super) supported: fn() -> bool,
    /// Whether the table is fast on this CPU, given that it is supported. Tables that do not suit a CPU come after
    /// those that do.
    pub(super) suits: fn() -> bool,
    pub(super) int8: Int8,
    pub(super) f16: F16,
}

/// Kernels for 8-bit arithmetic. They may be called only with lengths that fit, on a CPU that has their instructions.
pub(super) struct Int8 {
    /// Quantises rows of the stream into left panels.
    pub quantise_rows: unsafe fn(Layout, &Block, Quantiser, &mut Block<u8>),
    /// Quantises columns of the stream into one right panel. Elements of the contraction after the last row stay
    /// unchanged.
    pub quantise_columns: unsafe fn(Layout, &Block, Quantiser, &mut [u8]),
    /// Computes `stream += scale · (product + bias)`.
    pub add: unsafe fn(Product, StreamColumns, &mut Block),
    /// Computes `stream += scale · (product + correction) + sum_gain · sum + bias_gain · bias`.
    pub mix: unsafe fn(Product, MixRows, MixColumns, &mut Block),
    /// Computes `hidden = requantise(gelu(scale · (product + bias)))`.
    pub gelu: unsafe fn(Product, GeluColumns, Hidden),
    /// Computes the sums alone, `[row][column]`, of one right panel.
    pub sums: unsafe fn(Product, &mut [i32]),
    pub tiles: Int8Tiles,
}

/// How much an 8-bit table works on at a time.
#[derive(Clone, Copy)]
pub(super) struct Int8Tiles {
    /// Largest number of right panels that `add`, `mix` and `gelu` are given in one call.
    pub right_panels: usize,
    /// Memory of a tile of tokens.
    pub bytes: TileBytes,
}

/// Memory that a tile of tokens may take, in bytes.
///
/// The network runs tile after tile through a layer, and every tile reads all weights of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileBytes {
    /// Memory of a tile if the weights of a block stay in a cache from one tile to the next.
    pub cached: usize,
    /// Memory of a tile if the weights are read from a larger cache or from memory for every tile, so that fewer and
    /// larger tiles are faster.
    pub streamed: usize,
}

impl TileBytes {
    /// For cores with L2 caches of up to 512 KB. Half of ResMLP-S12's tokens fit into `cached`.
    pub const SMALL_CACHE: Self = Self { cached: 210 << 10, streamed: 420 << 10 };
    /// For cores with L2 caches of 1 or 2 MB.
    #[allow(dead_code, reason = "no table for ARM is for such cores alone")]
    pub const LARGE_CACHE: Self = Self { streamed: 840 << 10, ..Self::SMALL_CACHE };
}

/// Kernels for models with 16-bit floating-point weights. Right panels are `[k][column]`, left panels `[k][row]`.
pub(super) struct F16 {
    /// Computes `stream += scale · (left · right) + bias`.
    pub add: unsafe fn(Rows, RightHalves, FloatColumns, &mut Block),
    /// Computes `hidden = gelu(scale · (left · right) + bias)`.
    pub gelu: unsafe fn(Rows, RightHalves, FloatColumns, &mut Block),
    /// Computes `hidden = gelu_tanh(scale · (left · right) + bias)`.
    pub gelu_tanh: unsafe fn(Rows, RightHalves, FloatColumns, &mut Block),
    /// Computes `hidden = relu(scale · (left · right) + bias)`.
    pub relu: unsafe fn(Rows, RightHalves, FloatColumns, &mut Block),
    /// Does what [`Int8::mix`] does. The weights are the left matrix, in panels of as many rows as the first argument
    /// says.
    pub mix: unsafe fn(usize, &[u16], RightFloats, MixRows, MixColumns, &mut Block),
    /// Whether the kernels keep sums as 16-bit numbers for a while.
    pub rounds_sums: bool,
    pub tiles: F16Tiles,
}

/// How much a 16-bit table works on at a time.
#[derive(Clone, Copy)]
pub(crate) struct F16Tiles {
    /// Memory that the activations of a tile of tokens may take, in bytes.
    pub bytes: usize,
    /// Largest number of right panels that `mix` is given in one call.
    pub mix_panels: usize,
}

/// The limits that a table sets for the tiles of a layer.
#[derive(Clone, Copy)]
pub(crate) struct TileSizes {
    pub int8: TileBytes,
    pub f16: F16Tiles,
}

/// An error that says that lengths do not fit together. The engine causes it, never a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

/// Turns a comparison of lengths into a result.
fn check(fits: bool) -> Result<(), Mismatch> {
    debug_assert!(fits, "lengths do not fit");
    if fits { Ok(()) } else { Err(Mismatch) }
}

impl Kernels {
    /// Returns the table's name, such as `scalar`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the panels that the table reads. `None` stands for panels of any shape.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Returns whether sums of 16-bit models are rounded to 16 bits on the way, which costs some accuracy (NUMERICS.md,
    /// f16).
    pub fn rounds_sums_of_16_bit_models(&self) -> bool {
        self.f16.rounds_sums
    }

    /// Returns whether the table reads the weights of such a model as they are. Every table reads 16-bit weights.
    pub fn reads(&self, dims: &Dims) -> bool {
        dims.arithmetic() == Arithmetic::Float || self.reads_layout(dims.layout)
    }

    fn reads_layout(&self, layout: Layout) -> bool {
        self.layout.is_none_or(|own| own == layout)
    }

    /// Returns how much memory the engine gives the tiles of a layer.
    pub(crate) fn tile_sizes(&self) -> TileSizes {
        TileSizes { int8: self.int8.tiles.bytes, f16: self.f16.tiles }
    }
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernels").field("name", &self.name).field("layout", &self.layout).finish()
    }
}

impl Kernels {
    /// Quantises all rows of `stream` into left panels, or a part of them. A row of `out` is a panel. Rows that only
    /// fill a panel up hold arbitrary numbers afterwards.
    pub(crate) fn quantise_rows(
        &self,
        layout: Layout,
        stream: &Block,
        quantiser: Quantiser,
        out: &mut Block<u8>,
    ) -> Result<(), Mismatch> {
        let rows = (layout.rows as usize).max(1);
        let columns = stream.columns();
        check(
            self.reads_layout(layout)
                && layout.is_valid()
                && columns.is_multiple_of(layout.group as usize)
                && [quantiser.scale.len(), quantiser.offset.len()] == [columns; 2]
                && [out.rows(), out.columns()] == [stream.rows().div_ceil(rows), rows * columns],
        )?;
        // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
        unsafe { (self.int8.quantise_rows)(layout, stream, quantiser, out) };
        Ok(())
    }

    /// Quantises the columns of `stream` into one right panel; `out` holds `columns` × the padded number of rows.
    pub(crate) fn quantise_columns(
        &self,
        layout: Layout,
        stream: &Block,
        quantiser: Quantiser,
        out: &mut [u8],
    ) -> Result<(), Mismatch> {
        let columns = layout.columns as usize;
        check(
            self.reads_layout(layout)
                && layout.is_valid()
                && [stream.columns(), quantiser.scale.len(), quantiser.offset.len()] == [columns; 3]
                && out.len() == columns * stream.rows().next_multiple_of((layout.group as usize).max(1)),
        )?;
        // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
        unsafe { (self.int8.quantise_columns)(layout, stream, quantiser, out) };
        Ok(())
    }

    /// Computes `stream += scale · (product + bias)`.
    pub(crate) fn add(&self, product: Product, columns: StreamColumns, stream: &mut Block) -> Result<(), Mismatch> {
        let (rows, width) = (stream.rows(), stream.columns());
        check(
            self.reads_layout(product.layout)
                && product.fits(width)
                && [columns.bias.len(), columns.scale.len()] == [width; 2]
                && rows == product.rows,
        )?;
        for (part, product) in product.right_panels(self.int8.tiles.right_panels) {
            let columns = columns.part(&part);
            // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
            unsafe { (self.int8.add)(product, columns, &mut stream.part(0..rows, part)) };
        }
        Ok(())
    }

    /// Computes `stream += scale · (product + correction) + sum_gain · sum + bias_gain · bias`.
    pub(crate) fn mix(
        &self,
        product: Product,
        of_rows: MixRows,
        columns: MixColumns,
        stream: &mut Block,
    ) -> Result<(), Mismatch> {
        let (rows, width) = (stream.rows(), stream.columns());
        check(
            self.reads_layout(product.layout)
                && product.fits(width)
                && of_rows.correction.len() == product.padded_rows()
                && [of_rows.scale.len(), of_rows.sum.len(), of_rows.bias.len()] == [product.padded_rows(); 3]
                && [columns.scale.len(), columns.sum_gain.len(), columns.bias_gain.len()] == [width; 3]
                && rows == product.rows,
        )?;
        for (part, product) in product.right_panels(self.int8.tiles.right_panels) {
            let columns = columns.part(&part);
            // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
            unsafe { (self.int8.mix)(product, of_rows, columns, &mut stream.part(0..rows, part)) };
        }
        Ok(())
    }

    /// Computes hidden activations, into left panels of the next product. Rows that only fill a panel up hold arbitrary
    /// numbers afterwards.
    pub(crate) fn gelu(&self, product: Product, columns: GeluColumns, hidden: Hidden) -> Result<(), Mismatch> {
        let Hidden { panels, first } = hidden;
        let rows = (product.layout.rows as usize).max(1);
        let (width, k) = (columns.bias.len(), panels.columns() / rows);
        check(
            self.reads_layout(product.layout)
                && product.fits(width)
                && [columns.scale.len(), columns.requantise.len(), columns.zero.len()] == [width; 3]
                && columns.shift <= 7
                && panels.columns().is_multiple_of(rows * product.layout.group as usize)
                && first.is_multiple_of(product.layout.columns as usize)
                && first + width <= k
                && rows * panels.rows() == product.padded_rows(),
        )?;
        for (part, product) in product.right_panels(self.int8.tiles.right_panels) {
            let first = first + part.start;
            let columns = columns.part(&part);
            // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
            unsafe { (self.int8.gelu)(product, columns, Hidden { panels: &mut *panels, first }) };
        }
        Ok(())
    }

    /// Computes the sums alone, `[row][column]`.
    pub(crate) fn sums(&self, product: Product, out: &mut [i32]) -> Result<(), Mismatch> {
        let width = product.layout.columns as usize;
        check(self.reads_layout(product.layout) && product.fits(width) && out.len() == product.rows * width)?;
        // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
        unsafe { (self.int8.sums)(product, out) };
        Ok(())
    }

    /// Computes `stream += scale · (left · right) + bias` with 16-bit weights.
    pub(crate) fn add_f16(
        &self,
        left: Rows,
        right: RightHalves,
        columns: FloatColumns,
        stream: &mut Block,
    ) -> Result<(), Mismatch> {
        check(float_fits(&left, &right, &columns, stream))?;
        // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
        unsafe { (self.f16.add)(left, right, columns, stream) };
        Ok(())
    }

    /// Computes `hidden = activation(scale · (left · right) + bias)` with 16-bit weights.
    pub(crate) fn hidden_f16(
        &self,
        activation: Activation,
        left: Rows,
        right: RightHalves,
        columns: FloatColumns,
        hidden: &mut Block,
    ) -> Result<(), Mismatch> {
        check(float_fits(&left, &right, &columns, hidden))?;
        let layer = match activation {
            Activation::Gelu => self.f16.gelu,
            Activation::GeluTanh => self.f16.gelu_tanh,
            Activation::Relu => self.f16.relu,
        };
        // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
        unsafe { layer(left, right, columns, hidden) };
        Ok(())
    }

    /// Mixes patches with 16-bit weights: `left` in panels of `panel` rows, over the tokens in `right`.
    pub(crate) fn mix_f16(
        &self,
        panel: usize,
        left: &[u16],
        right: RightFloats,
        rows: MixRows,
        columns: MixColumns,
        stream: &mut Block,
    ) -> Result<(), Mismatch> {
        let width = stream.columns();
        let k = right.data.len().checked_div(width).unwrap_or(0);
        let count = rows.scale.len();
        check(
            k * width == right.data.len()
                && width.checked_rem(right.width) == Some(0)
                && panel > 0
                && count.is_multiple_of(panel)
                && left.len() == count * k
                && [rows.sum.len(), rows.bias.len()] == [count; 2]
                && [columns.scale.len(), columns.sum_gain.len(), columns.bias_gain.len()] == [width; 3]
                && stream.rows() <= count,
        )?;
        let most = self.f16.tiles.mix_panels * right.width;
        for start in (0..width).step_by(most.max(1)) {
            let part = start..width.min(start + most);
            let (right, columns) = (right.part(&part, width), columns.part(&part));
            let stream = &mut stream.part(0..count, part);
            // SAFETY: holding `self` proves that the CPU has the instructions, and the lengths have been checked above.
            unsafe { (self.f16.mix)(panel, left, right, rows, columns, stream) };
        }
        Ok(())
    }
}
