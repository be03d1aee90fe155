//! AMX's tiles: the products of blocks of rows of a left matrix and a right panel.

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::format::Layout;
use crate::kernels::operands::Product;

pub(super) const COLUMNS: usize = Layout::AMX.columns as usize;
const GROUP: usize = Layout::AMX.group as usize;
/// Rows of a tile.
const TILE: usize = 16;
/// Bytes of a row of a tile: a left one's numbers, or a right one's sixteen columns by four.
const STEP: usize = 64;
/// Bytes of a group of a right panel and of a row of sums: two tiles'.
const WIDTH: usize = COLUMNS * GROUP;

/// Steps of the contraction that are multiplied for `BLOCKS` blocks of rows before the next ones: this much of a right panel stays
/// in the L1 cache, beside a block's left rows.
const CHUNK: usize = 8;
const BLOCKS: usize = 4;

/// Memory for the sums of a block of rows.
#[repr(align(64))]
struct Memory([[MaybeUninit<i32>; COLUMNS]; 2 * TILE]);

/// Sums of a block of rows.
pub(super) struct Sums<'m> {
    memory: &'m Memory,
    /// The first row in memory, and how many there are.
    first: usize,
    count: usize,
    /// The rows that no block before has had: the last block begins early, to be as high as the others.
    pub rows: Range<usize>,
}

impl Sums<'_> {
    /// A row's sums; the block's last row's for those behind it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn of(&self, row: usize) -> [__m512i; COLUMNS / 16] {
        let row = row.saturating_sub(self.first).min(self.count - 1);
        let sums = self.memory.0.as_ptr().wrapping_add(row).cast::<__m512i>();
        // SAFETY: the tiles have filled `count` rows of 128 bytes, at least one and at most all.
        unsafe { [_mm512_load_si512(sums), _mm512_load_si512(sums.add(1))] }
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

/// Tiles that are set up, until this is dropped.
struct Tiles;

impl Tiles {
    /// The CPU has the instructions, as the callers of the kernels prove.
    fn set_up(shapes: &Shapes) -> Self {
        // SAFETY: reads 64 bytes; rows and bytes of all tiles are within what palette 1 has, and not zero.
        unsafe { asm!("ldtilecfg [{}]", in(reg) shapes, options(readonly, nostack, preserves_flags)) };
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: gives the tiles back; none of them is in use.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Multiplies block after block of rows and gives `each` their sums. Activations are the left matrix, or if `RIGHT`, the right one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn for_each_block<const RIGHT: bool>(p: Product, start: &Start, mut each: impl FnMut(Sums)) {
    let rest = p.k % STEP;
    let most = if rest == 0 { 2 * TILE } else { TILE };
    let blocks = p.rows.div_ceil(most);
    let count = p.rows.div_ceil(blocks.max(1)).max(1);
    let tile = if rest == 0 { count.div_ceil(2) } else { count };
    let _tiles = Tiles::set_up(&Shapes::new(tile, rest));
    let mut memory = [const { Memory([[MaybeUninit::uninit(); COLUMNS]; 2 * TILE]) }; BLOCKS];
    let steps = p.k / STEP;
    // What is left over is multiplied with all of the steps, for one block at a time.
    let (at_once, part) = if rest == 0 { (BLOCKS, CHUNK) } else { (1, steps) };
    let mut ahead = Ahead { from: p.right.as_ptr_range().end, step: (16 * WIDTH).div_ceil(blocks.max(1)) };
    let (mut block, mut done) = (0, 0);
    while block < blocks {
        let now = part.min(steps - done);
        let last = done + now == steps;
        for (block, memory) in (block..blocks).zip(memory.iter_mut().take(at_once)) {
            let row = block * count;
            let first = row.min(p.rows.saturating_sub(count));
            let sums: *mut i32 = memory.0.as_mut_ptr().cast();
            let operands = Operands {
                left: p.left.as_ptr().wrapping_add(first * p.k + done * STEP),
                stride: p.k,
                right: p.right.as_ptr().wrapping_add(done * 16 * WIDTH),
                steps: now,
                start: if done == 0 { (start.0.as_ptr(), 0) } else { (sums.cast_const(), WIDTH) },
                sums,
                ahead,
            };
            // SAFETY: the left matrix has `count` rows from `first` on, the right panel as many groups as a row has, as the
            // callers of the kernels have checked; the tiles are set up for both; the sums of the steps before are in memory.
            unsafe {
                match rest {
                    0 => operands.multiply_pair::<RIGHT>(count - tile),
                    _ => operands.multiply_with_rest::<RIGHT>(),
                }
            }
            ahead.from = ahead.from.wrapping_add(now * ahead.step);
            if last {
                each(Sums { memory, first, count, rows: row..(row + count).min(p.rows) });
            }
        }
        (block, done) = if last { (block + at_once, 0) } else { (block, done + now) };
    }
}

/// What is brought into the L2 cache during a multiplication: from here on, so many bytes a step.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const u8,
    step: usize,
}

/// Where a multiplication reads and writes.
struct Operands {
    left: *const u8,
    /// Bytes of a row of the left matrix.
    stride: usize,
    right: *const u8,
    /// Whole steps of the contraction.
    steps: usize,
    /// What a left tile's sums begin with, and the bytes between two rows of it.
    start: (*const i32, usize),
    sums: *mut i32,
    ahead: Ahead,
}

/// A left tile, the two right ones and their products.
macro_rules! products {
    ($multiply:literal, $left:literal, $right:literal, $next:literal) => {
        concat!(
            "tileloadd ",
            $left,
            ", [{left} + {stride}]\n",
            "tileloadd ",
            $right,
            ", [{right} + {width}]\n",
            "tileloadd ",
            $next,
            ", [{right} + {width} + 64]\n",
            $multiply,
            " tmm0, ",
            $left,
            ", ",
            $right,
            "\n",
            $multiply,
            " tmm1, ",
            $left,
            ", ",
            $next,
            "\n",
        )
    };
}

/// The sums of the first left tile, in tiles 0 and 1, with what is done beside in `$lines`.
macro_rules! multiply {
    ($operands:ident, [$($lines:expr),* $(,)?], $($more:tt)*) => {
        asm!(
            "tileloadd tmm0, [{start} + {start_stride}]",
            "tileloadd tmm1, [{start} + {start_stride} + 64]",
            $($lines,)*
            "tilestored [{sums} + {width}], tmm0",
            "tilestored [{sums} + {width} + 64], tmm1",
            start = in(reg) $operands.start.0,
            start_stride = in(reg) $operands.start.1,
            left = inout(reg) $operands.left => _,
            stride = in(reg) $operands.stride,
            right = inout(reg) $operands.right => _,
            width = in(reg) WIDTH,
            steps = inout(reg) $operands.steps => _,
            sums = in(reg) $operands.sums,
            ahead = inout(reg) $operands.ahead.from => _,
            ahead_step = in(reg) $operands.ahead.step,
            $($more)*
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// On to the next step, while there is one.
macro_rules! next_step {
    () => {
        "add {left}, 64\nadd {right}, 2048\ndec {steps}\njnz 2b"
    };
}

/// Both left tiles. Between its loads, which take a line a row, each step asks for eight lines of the next right panel: all of it if
/// this one is used for four blocks, and a part of it if for fewer. In a heap they would hold up the loads behind them.
macro_rules! pair {
    ($multiply:literal, $operands:ident, $second:ident) => {
        multiply!(
            $operands,
            [
                "tileloadd tmm2, [{second_start} + {start_stride}]",
                "tileloadd tmm3, [{second_start} + {start_stride} + 64]",
                ".p2align 5",
                "2:",
                "tileloadd tmm4, [{left} + {stride}]",
                "prefetcht1 [{ahead}]",
                "prefetcht1 [{ahead} + 64]",
                "tileloadd tmm6, [{right} + {width}]",
                "prefetcht1 [{ahead} + 128]",
                "prefetcht1 [{ahead} + 192]",
                concat!($multiply, " tmm0, tmm4, tmm6"),
                "tileloadd tmm7, [{right} + {width} + 64]",
                "prefetcht1 [{ahead} + 256]",
                "prefetcht1 [{ahead} + 320]",
                concat!($multiply, " tmm1, tmm4, tmm7"),
                "prefetcht1 [{ahead} + 384]",
                "prefetcht1 [{ahead} + 448]",
                "add {ahead}, {ahead_step}",
                "tileloadd tmm5, [{second} + {stride}]",
                concat!($multiply, " tmm2, tmm5, tmm6"),
                concat!($multiply, " tmm3, tmm5, tmm7"),
                "add {second}, 64",
                next_step!(),
                "tilestored [{second_sums} + {width}], tmm2",
                "tilestored [{second_sums} + {width} + 64], tmm3",
            ],
            second_start = in(reg) $operands.start.0.wrapping_byte_add($second * $operands.start.1),
            second = inout(reg) $operands.left.wrapping_add($second * $operands.stride) => _,
            second_sums = in(reg) $operands.sums.wrapping_add($second * COLUMNS),
        )
    };
}

/// One left tile, and what is left over in another. Each step asks for five lines: all of the next panel if there are seven blocks.
macro_rules! with_rest {
    ($multiply:literal, $operands:ident) => {
        multiply!(
            $operands,
            [
                "test {steps}, {steps}",
                "jz 3f",
                "2:",
                "prefetcht1 [{ahead}]",
                "prefetcht1 [{ahead} + 64]",
                products!($multiply, "tmm4", "tmm6", "tmm7"),
                "prefetcht1 [{ahead} + 128]",
                "prefetcht1 [{ahead} + 192]",
                "prefetcht1 [{ahead} + 256]",
                "add {ahead}, {ahead_step}",
                next_step!(),
                "3:",
                products!($multiply, "tmm5", "tmm2", "tmm3"),
            ],
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
