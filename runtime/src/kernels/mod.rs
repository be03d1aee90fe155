//! The inner loops, one file an instruction set; `scalar.rs` says what each of them means.
//!
//! A kernel computes a portion of a result: it never allocates and never schedules. The functions here trust no caller: they check
//! every length once and then call the table, whose functions rely on that.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "aarch64")]
mod aarch64_8x12;
#[cfg(target_arch = "aarch64")]
mod aarch64_detect;
#[cfg(target_arch = "aarch64")]
mod aarch64_dotprod;
#[cfg(all(target_arch = "aarch64", feature = "every-core"))]
mod aarch64_dotprod_in_order;
#[cfg(target_arch = "aarch64")]
mod aarch64_f16;
#[cfg(target_arch = "aarch64")]
mod aarch64_fp16;
#[cfg(target_arch = "aarch64")]
mod aarch64_gelu;
#[cfg(all(target_arch = "aarch64", feature = "every-core"))]
mod aarch64_i8mm;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon;
#[cfg(target_arch = "aarch64")]
mod aarch64_neon_in_order;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod eights;
mod erf;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod fours;
mod operands;
mod scalar;
#[cfg(any(test, feature = "kernel-tests"))]
mod tests;
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
mod thumb_dsp;
#[cfg(target_arch = "x86_64")]
mod x86_64_amx;
#[cfg(target_arch = "x86_64")]
mod x86_64_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_64_avx2_winograd;
#[cfg(target_arch = "x86_64")]
mod x86_64_avx512;
#[cfg(target_arch = "x86_64")]
mod x86_64_avx_vnni;
#[cfg(target_arch = "x86_64")]
mod x86_64_detect;
#[cfg(target_arch = "x86_64")]
mod x86_64_f16_avx512;
#[cfg(target_arch = "x86_64")]
mod x86_64_f16c;
#[cfg(target_arch = "x86_64")]
mod x86_64_planes;
#[cfg(target_arch = "x86_64")]
mod x86_64_ymm;

pub(crate) use operands::{
    FloatColumns, GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, RightFloats, RightHalves, Rows,
    StreamColumns, part_of,
};
pub(crate) use scalar::round_clamp;
#[cfg(feature = "kernel-tests")]
pub use tests::COMPARISONS;

use crate::format::{Dims, Layout, Precision};
use crate::parallel::Block;
use operands::float_fits;

/// A table of functions for one instruction set. To hold one proves that this CPU can run it.
pub struct Kernels {
    name: &'static str,
    /// The panels it reads; `None` reads any.
    layout: Option<Layout>,
    supported: fn() -> bool,
    /// Whether it is fast on this CPU, if it is supported: the others come last.
    suits: fn() -> bool,
    int8: Int8,
    f16: F16,
}

/// Best first, among those that suit this CPU and among those that do not.
static ALL: &[&Kernels] = &[
    #[cfg(all(target_arch = "aarch64", feature = "every-core"))]
    &aarch64_i8mm::KERNELS,
    #[cfg(all(target_arch = "aarch64", feature = "every-core"))]
    &aarch64_dotprod_in_order::KERNELS,
    #[cfg(target_arch = "aarch64")]
    &aarch64_dotprod::KERNELS,
    #[cfg(target_arch = "aarch64")]
    &aarch64_neon_in_order::KERNELS,
    #[cfg(target_arch = "aarch64")]
    &aarch64_neon::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64_amx::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64_avx512::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64_avx_vnni::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64_avx2_winograd::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &x86_64_avx2::KERNELS,
    #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
    &thumb_dsp::KERNELS,
    &scalar::KERNELS,
];

impl Kernels {
    /// Every table that this CPU can run, best first.
    pub fn supported() -> impl Iterator<Item = &'static Kernels> {
        let suiting = |suits| ALL.iter().copied().filter(move |k| (k.supported)() && (k.suits)() == suits);
        suiting(true).chain(suiting(false))
    }

    /// The best table that this CPU can run and that reads such a model's weights as they are.
    pub fn best(dims: &Dims) -> &'static Kernels {
        Self::supported().find(|k| k.reads(dims)).unwrap_or(&scalar::KERNELS)
    }

    /// The best table that this CPU can run, whatever panels it reads: what a model may be repacked for.
    pub fn fastest() -> &'static Kernels {
        Self::supported().next().unwrap_or(&scalar::KERNELS)
    }

    /// The table of this name, if this CPU can run it.
    pub fn named(name: &str) -> Option<&'static Kernels> {
        Self::supported().find(|k| k.name == name)
    }

    /// The plain Rust table, which reads every layout on every CPU and defines what the others compute.
    pub fn scalar() -> &'static Kernels {
        &scalar::KERNELS
    }

    /// Its name, such as `scalar`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The panels it reads; `None` reads any.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Whether 16-bit models' sums are rounded to 16 bits on the way, which costs some accuracy (NUMERICS.md, f16).
    pub fn rounds_sums_of_16_bit_models(&self) -> bool {
        self.f16.rounds_sums
    }

    /// Whether it reads such a model's weights as they are. All tables read 16-bit ones.
    pub fn reads(&self, dims: &Dims) -> bool {
        dims.precision == Precision::F16 || self.reads_layout(dims.layout)
    }

    fn reads_layout(&self, layout: Layout) -> bool {
        self.layout.is_none_or(|own| own == layout)
    }
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernels").field("name", &self.name).field("layout", &self.layout).finish()
    }
}

/// Kernels for 8-bit models. Each is called with lengths that fit, on a CPU that has its instructions.
struct Int8 {
    /// Right panels that `add`, `mix` and `gelu` are given at a time, at most; `sums` is given one.
    right_panels: usize,
    /// Rows of the stream to left panels.
    quantise_rows: unsafe fn(Layout, &Block, Quantiser, &mut Block<u8>),
    /// Columns of the stream to one right panel; the `k` behind the last row stay as they are.
    quantise_columns: unsafe fn(Layout, &Block, Quantiser, &mut [u8]),
    /// `stream += scale · (product + bias)`.
    add: unsafe fn(Product, StreamColumns, &mut Block),
    /// `stream += scale · (product + correction) + sum_gain · sum + bias_gain · bias`.
    mix: unsafe fn(Product, MixRows, MixColumns, &mut Block),
    /// `hidden = requantise(gelu(scale · (product + bias)))`.
    gelu: unsafe fn(Product, GeluColumns, Hidden),
    /// The sums alone, `[row][column]`.
    sums: unsafe fn(Product, &mut [i32]),
}

/// Kernels for models with 16-bit weights. Right panels are `[k][column]`, left panels `[k][row]`.
struct F16 {
    /// `stream += scale · (left · right) + bias`.
    add: unsafe fn(Rows, RightHalves, FloatColumns, &mut Block),
    /// `hidden = gelu(scale · (left · right) + bias)`.
    gelu: unsafe fn(Rows, RightHalves, FloatColumns, &mut Block),
    /// As [`Int8::mix`]; the weights are the left matrix, in panels of so many rows.
    mix: unsafe fn(usize, &[u16], RightFloats, MixRows, MixColumns, &mut Block),
    /// Whether sums are 16-bit numbers for a while.
    rounds_sums: bool,
    /// What the activations of a tile may take, bytes.
    tile_bytes: usize,
    /// Right panels that `mix` is given at a time, at most.
    mix_panels: usize,
}

/// Lengths that do not fit together: a mistake in the engine, not in a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch;

fn check(fits: bool) -> Result<(), Mismatch> {
    debug_assert!(fits, "lengths do not fit");
    if fits { Ok(()) } else { Err(Mismatch) }
}

impl Kernels {
    /// Quantises all rows of `stream` into left panels, or a part of them, a panel a row. Rows that only fill a panel up hold anything
    /// afterwards.
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
        // SAFETY: to hold `self` proves the instructions; the lengths were checked.
        unsafe { (self.int8.quantise_rows)(layout, stream, quantiser, out) };
        Ok(())
    }

    /// Quantises one right panel's columns of `stream`; `out` holds `columns` × the padded number of rows.
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
        // SAFETY: to hold `self` proves the instructions; the lengths were checked.
        unsafe { (self.int8.quantise_columns)(layout, stream, quantiser, out) };
        Ok(())
    }

    /// `stream += scale · (product + bias)`.
    pub(crate) fn add(&self, product: Product, columns: StreamColumns, stream: &mut Block) -> Result<(), Mismatch> {
        let (rows, width) = (stream.rows(), stream.columns());
        check(
            self.reads_layout(product.layout)
                && product.fits(width)
                && [columns.bias.len(), columns.scale.len()] == [width; 2]
                && rows == product.rows,
        )?;
        for (part, product) in product.right_panels(self.int8.right_panels) {
            let columns = columns.part(&part);
            // SAFETY: to hold `self` proves the instructions; the lengths were checked.
            unsafe { (self.int8.add)(product, columns, &mut stream.part(0..rows, part)) };
        }
        Ok(())
    }

    /// `stream += scale · (product + correction) + sum_gain · sum + bias_gain · bias`.
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
        for (part, product) in product.right_panels(self.int8.right_panels) {
            let columns = columns.part(&part);
            // SAFETY: to hold `self` proves the instructions; the lengths were checked.
            unsafe { (self.int8.mix)(product, of_rows, columns, &mut stream.part(0..rows, part)) };
        }
        Ok(())
    }

    /// Hidden activations, into left panels of the next product. Rows that only fill a panel up hold anything afterwards.
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
        for (part, product) in product.right_panels(self.int8.right_panels) {
            let first = first + part.start;
            let columns = columns.part(&part);
            // SAFETY: to hold `self` proves the instructions; the lengths were checked.
            unsafe { (self.int8.gelu)(product, columns, Hidden { panels: &mut *panels, first }) };
        }
        Ok(())
    }

    /// The sums alone, `[row][column]`.
    pub(crate) fn sums(&self, product: Product, out: &mut [i32]) -> Result<(), Mismatch> {
        let width = product.layout.columns as usize;
        check(self.reads_layout(product.layout) && product.fits(width) && out.len() == product.rows * width)?;
        // SAFETY: to hold `self` proves the instructions; the lengths were checked.
        unsafe { (self.int8.sums)(product, out) };
        Ok(())
    }

    /// `stream += scale · (left · right) + bias` with 16-bit weights.
    pub(crate) fn add_f16(
        &self,
        left: Rows,
        right: RightHalves,
        columns: FloatColumns,
        stream: &mut Block,
    ) -> Result<(), Mismatch> {
        check(float_fits(&left, &right, &columns, stream))?;
        // SAFETY: to hold `self` proves the instructions; the lengths were checked.
        unsafe { (self.f16.add)(left, right, columns, stream) };
        Ok(())
    }

    /// `hidden = gelu(scale · (left · right) + bias)` with 16-bit weights.
    pub(crate) fn gelu_f16(
        &self,
        left: Rows,
        right: RightHalves,
        columns: FloatColumns,
        hidden: &mut Block,
    ) -> Result<(), Mismatch> {
        check(float_fits(&left, &right, &columns, hidden))?;
        // SAFETY: to hold `self` proves the instructions; the lengths were checked.
        unsafe { (self.f16.gelu)(left, right, columns, hidden) };
        Ok(())
    }

    /// What the activations of a tile may take in models with 16-bit weights, bytes.
    pub(crate) fn tile_bytes_f16(&self) -> usize {
        self.f16.tile_bytes
    }

    /// Right panels that [`Self::mix_f16`] reads the weights for once.
    pub(crate) fn mix_panels_f16(&self) -> usize {
        self.f16.mix_panels
    }

    /// Patch mixing with 16-bit weights: `left` in panels of `panel` rows over the tokens in `right`.
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
        let most = self.f16.mix_panels * right.width;
        for start in (0..width).step_by(most.max(1)) {
            let part = start..width.min(start + most);
            let (right, columns) = (right.part(&part, width), columns.part(&part));
            let stream = &mut stream.part(0..count, part);
            // SAFETY: to hold `self` proves the instructions; the lengths were checked.
            unsafe { (self.f16.mix)(panel, left, right, rows, columns, stream) };
        }
        Ok(())
    }
}
