//! AMX's tiles: the products of blocks of rows of a left matrix and a right panel.

use core::arch::asm;
use core::arch::x86_64::*;
use core::ops::Range;

use super::super::Product;
use super::super::x86_64::prefetch;
use crate::format::Layout;

pub(super) const COLUMNS: usize = Layout::AMX.columns as usize;
const GROUP: usize = Layout::AMX.group as usize;
/// Rows of a tile.
const TILE: usize = 16;
/// Bytes of a row of a tile: a left one's numbers, or a right one's sixteen columns by four.
const STEP: usize = 64;
/// Bytes of a group of a right panel and of a row of sums: two tiles'.
const WIDTH: usize = COLUMNS * GROUP;

/// Sums of a block of rows.
#[repr(align(64))]
pub(super) struct Sums([[i32; COLUMNS]; 2 * TILE]);

impl Sums {
    pub const ZERO: Self = Self([[0; COLUMNS]; 2 * TILE]);

    pub fn rows(&self) -> &[[i32; COLUMNS]] {
        &self.0
    }

    /// The sums of a row of the block.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn row(&self, row: usize) -> [__m512i; COLUMNS / 16] {
        let row = self.0[row % self.0.len()].as_ptr();
        // SAFETY: a row is 128 bytes.
        unsafe { [_mm512_loadu_si512(row.cast()), _mm512_loadu_si512(row.add(16).cast())] }
    }
}

/// What the sums of every row begin with.
#[repr(align(64))]
pub(super) struct Start([i32; COLUMNS]);

impl Start {
    pub const ZERO: Self = Self([0; COLUMNS]);

    pub fn of(bias: &[i32]) -> Self {
        Self(bias.first_chunk().copied().unwrap_or([0; COLUMNS]))
    }
}

/// Some rows of the left matrix, which are multiplied at the same time.
pub(super) struct Rows {
    /// The first.
    pub first: usize,
    new: Range<usize>,
}

impl Rows {
    /// Those that no block before has had: the last block begins early, to be as high as the others.
    pub fn rows(&self) -> Range<usize> {
        self.new.clone()
    }
}

/// The tiles' shapes, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Tiles 0 to 3 are sums, of left tiles 4 and 5 and right tiles 6 and 7. Where the contraction leaves `rest` numbers over,
    /// there is one left tile, and tile 5 takes the rest of it, tiles 2 and 3 those of the right ones.
    fn new(rows: usize, rest: usize) -> Self {
        let (rows, wide) = (rows as u8, STEP as u16);
        let mut shapes = Self { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        let tiles = match rest {
            0 => [(rows, wide), (rows, wide), (rows, wide), (rows, wide), (rows, wide), (rows, wide)],
            _ => {
                let right = ((rest / GROUP) as u8, wide);
                [(rows, wide), (rows, wide), right, right, (rows, wide), (rows, rest as u16)]
            }
        };
        let right = (TILE as u8, wide);
        let places = shapes.rows.iter_mut().zip(&mut shapes.row_bytes);
        for ((to_rows, to_bytes), (rows, bytes)) in places.zip(tiles.into_iter().chain([right, right])) {
            (*to_rows, *to_bytes) = (rows, bytes);
        }
        shapes
    }
}

/// A product for which the tiles are set up, until this is dropped.
pub(super) struct Tiles<'p> {
    product: Product<'p>,
    /// Rows of a block.
    block: usize,
    /// Rows of a left tile: half a block's, or all where there is one.
    tile: usize,
    /// Weights that are read next.
    ahead: *const u8,
    share: usize,
}

impl<'p> Tiles<'p> {
    /// The CPU has the instructions, and the product's lengths fit, as the callers of the kernels have checked.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new(product: Product<'p>) -> Self {
        let rest = product.k % STEP;
        let most = if rest == 0 { 2 * TILE } else { TILE };
        let blocks = product.rows.div_ceil(most).max(1);
        let block = product.rows.div_ceil(blocks).max(1);
        let tile = if rest == 0 { block.div_ceil(2) } else { block };
        let shapes = Shapes::new(tile, rest);
        // SAFETY: reads 64 bytes; rows and bytes of all tiles are within what palette 1 has, and not zero.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &shapes, options(readonly, nostack, preserves_flags)) };
        let ahead = product.right.as_ptr_range().end;
        Self { product, block, tile, ahead, share: product.right.len() / blocks }
    }

    /// All rows, in blocks.
    #[inline]
    pub fn blocks(&self) -> impl Iterator<Item = Rows> + use<> {
        let (rows, block) = (self.product.rows, self.block);
        let starts = (0..rows).step_by(block.max(1));
        starts.map(move |start| Rows { first: start.min(rows - block), new: start..(start + block).min(rows) })
    }

    /// The products of the block from row `first` on. Activations are the left matrix, or if `RIGHT`, the right one.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn multiply<const RIGHT: bool>(&mut self, first: usize, start: &Start, sums: &mut Sums) {
        self.ahead = prefetch(self.ahead, self.share);
        let Product { k, left, right, .. } = self.product;
        let left = left.as_ptr().wrapping_add(first * k);
        let operands = Operands {
            left,
            stride: k,
            right: right.as_ptr(),
            steps: k / STEP,
            start: start.0.as_ptr(),
            sums: sums.0.as_mut_ptr().cast(),
        };
        let second = self.block - self.tile;
        // SAFETY: the left matrix has `block` rows from `first` on, the right panel as many groups as a row has; the tiles
        // are set up for both.
        unsafe {
            match (k % STEP, RIGHT) {
                (0, false) => operands.multiply_pair::<false>(second),
                (0, true) => operands.multiply_pair::<true>(second),
                (_, false) => operands.multiply_with_rest::<false>(),
                (_, true) => operands.multiply_with_rest::<true>(),
            }
        }
    }
}

impl Drop for Tiles<'_> {
    fn drop(&mut self) {
        // SAFETY: gives the tiles back; none of them is in use.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Where a multiplication reads and writes.
struct Operands {
    left: *const u8,
    /// Bytes of a row of the left matrix.
    stride: usize,
    right: *const u8,
    /// Whole steps of the contraction.
    steps: usize,
    start: *const i32,
    sums: *mut i32,
}

macro_rules! pair {
    ($multiply:literal, $operands:ident, $second:ident) => {
        asm!(
            "tileloadd tmm0, [{start} + {zero}]",
            "tileloadd tmm1, [{start} + {zero} + 64]",
            "tileloadd tmm2, [{start} + {zero}]",
            "tileloadd tmm3, [{start} + {zero} + 64]",
            ".p2align 5",
            "2:",
            "tileloadd tmm4, [{left} + {stride}]",
            "tileloadd tmm6, [{right} + {width}]",
            "tileloadd tmm7, [{right} + {width} + 64]",
            concat!($multiply, " tmm0, tmm4, tmm6"),
            concat!($multiply, " tmm1, tmm4, tmm7"),
            "tileloadd tmm5, [{second} + {stride}]",
            concat!($multiply, " tmm2, tmm5, tmm6"),
            concat!($multiply, " tmm3, tmm5, tmm7"),
            "add {left}, 64",
            "add {second}, 64",
            "add {right}, 2048",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {width}], tmm0",
            "tilestored [{sums} + {width} + 64], tmm1",
            "tilestored [{second_sums} + {width}], tmm2",
            "tilestored [{second_sums} + {width} + 64], tmm3",
            start = in(reg) $operands.start,
            zero = in(reg) 0usize,
            left = inout(reg) $operands.left => _,
            second = inout(reg) $operands.left.wrapping_add($second * $operands.stride) => _,
            stride = in(reg) $operands.stride,
            right = inout(reg) $operands.right => _,
            width = in(reg) WIDTH,
            steps = inout(reg) $operands.steps => _,
            sums = in(reg) $operands.sums,
            second_sums = in(reg) $operands.sums.wrapping_add($second * COLUMNS),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

macro_rules! with_rest {
    ($multiply:literal, $operands:ident) => {
        asm!(
            "tileloadd tmm0, [{start} + {zero}]",
            "tileloadd tmm1, [{start} + {zero} + 64]",
            "test {steps}, {steps}",
            "jz 3f",
            "2:",
            "tileloadd tmm4, [{left} + {stride}]",
            "tileloadd tmm6, [{right} + {width}]",
            "tileloadd tmm7, [{right} + {width} + 64]",
            concat!($multiply, " tmm0, tmm4, tmm6"),
            concat!($multiply, " tmm1, tmm4, tmm7"),
            "add {left}, 64",
            "add {right}, 2048",
            "dec {steps}",
            "jnz 2b",
            "3:",
            "tileloadd tmm5, [{left} + {stride}]",
            "tileloadd tmm2, [{right} + {width}]",
            "tileloadd tmm3, [{right} + {width} + 64]",
            concat!($multiply, " tmm0, tmm5, tmm2"),
            concat!($multiply, " tmm1, tmm5, tmm3"),
            "tilestored [{sums} + {width}], tmm0",
            "tilestored [{sums} + {width} + 64], tmm1",
            start = in(reg) $operands.start,
            zero = in(reg) 0usize,
            left = inout(reg) $operands.left => _,
            stride = in(reg) $operands.stride,
            right = inout(reg) $operands.right => _,
            width = in(reg) WIDTH,
            steps = inout(reg) $operands.steps => _,
            sums = in(reg) $operands.sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

impl Operands {
    /// Two left tiles, the second from row `second` on.
    ///
    /// # Safety
    /// The tiles are set up for it; `steps` is not zero; the left matrix has the rows of both tiles and as many steps, the right
    /// panel sixteen groups a step.
    unsafe fn multiply_pair<const RIGHT: bool>(self, second: usize) {
        // SAFETY: the caller's promise; sums have 32 rows.
        unsafe {
            match RIGHT {
                false => pair!("tdpbusd", self, second),
                true => pair!("tdpbsud", self, second),
            }
        }
    }

    /// One left tile, and what is left over behind the steps.
    ///
    /// # Safety
    /// The tiles are set up for it; the left matrix has the rows of a tile and so many steps and the rest, the right panel the
    /// groups for them.
    unsafe fn multiply_with_rest<const RIGHT: bool>(self) {
        // SAFETY: the caller's promise; sums have 32 rows.
        unsafe {
            match RIGHT {
                false => with_rest!("tdpbusd", self),
                true => with_rest!("tdpbsud", self),
            }
        }
    }
}
