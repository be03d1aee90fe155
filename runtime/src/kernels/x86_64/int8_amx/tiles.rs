//! Multiplies blocks of rows of a left matrix by a right panel, with the tiles of AMX.

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;
use core::ops::Range;

use crate::format::Layout;
use crate::kernels::operands::Product;

/// Columns of a right panel.
pub(super) const COLUMNS: usize = Layout::AMX.columns as usize;
/// Elements of the contraction that lie together.
const GROUP: usize = Layout::AMX.group as usize;
/// Rows of a tile.
const TILE: usize = 16;
/// Bytes of a row of a tile: 64 numbers of a left tile's row, or four numbers of sixteen columns in a right tile.
const STEP: usize = 64;
/// Bytes of a group of a right panel, and of a row of sums. Both belong to two tiles.
const WIDTH: usize = COLUMNS * GROUP;

/// Steps of the contraction that are multiplied for [`BLOCKS`] blocks of rows before the next steps. This much of a
/// right panel stays in the L1 cache, beside the left rows of a block.
const CHUNK: usize = 8;
/// Blocks of rows whose sums are held at a time.
const BLOCKS: usize = 4;

/// Memory for the sums of a block of rows.
#[repr(align(64))]
struct Memory([[MaybeUninit<i32>; COLUMNS]; 2 * TILE]);

/// Sums of a block of rows.
pub(super) struct Sums<'m> {
    memory: &'m Memory,
    /// First row in memory.
    first: usize,
    /// Rows in memory.
    count: usize,
    /// The rows that are not in an earlier block. The last block begins early, so that it is as high as the others.
    pub rows: Range<usize>,
}

impl Sums<'_> {
    /// Returns a row's sums, or those of the block's last row for the rows after it.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn of(&self, row: usize) -> [__m512i; COLUMNS / 16] {
        let row = row.saturating_sub(self.first).min(self.count - 1);
        let sums = self.memory.0.as_ptr().wrapping_add(row).cast::<__m512i>();
        // SAFETY: the tiles have filled `count` rows of 128 bytes, which is at least one row, and `row` is one of them.
        unsafe { [_mm512_load_si512(sums), _mm512_load_si512(sums.add(1))] }
    }
}

/// The numbers that the sums of every row begin with.
#[repr(align(64))]
pub(super) struct Start([i32; COLUMNS]);

impl Start {
    /// Zeros.
    pub const ZERO: Self = Self([0; COLUMNS]);

    /// Returns a start with these biases.
    pub fn of(bias: &[i32]) -> Self {
        Self(bias.first_chunk().copied().unwrap_or([0; COLUMNS]))
    }
}

/// The shapes of all tiles, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

impl Shapes {
    /// Returns the shapes for left tiles of so many rows.
    ///
    /// Tiles 0 to 3 hold the sums of left tiles 4 and 5 and right tiles 6 and 7. If the contraction leaves `rest`
    /// numbers over, there is one left tile: tile 5 holds the rest of its rows, and tiles 2 and 3 hold the rest of the
    /// right tiles.
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

/// The tiles, set up until this value is dropped.
struct Tiles;

impl Tiles {
    /// Sets the tiles up. Callers of the kernels prove that the CPU has the instructions.
    fn set_up(shapes: &Shapes) -> Self {
        // SAFETY: the instruction reads the 64 bytes of `shapes`. Rows and bytes of all tiles are within the limits of
        // palette 1, and not zero.
        unsafe { asm!("ldtilecfg [{}]", in(reg) shapes, options(readonly, nostack, preserves_flags)) };
        Self
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the value is dropped, so no tile is in use any more, and the instruction changes no memory.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

/// Multiplies block after block of rows, and calls `each` with their sums. Activations are the left matrix, or if
/// `RIGHT`, the right matrix.
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
    // If the contraction leaves numbers over, a block is multiplied by all steps and the rest at once.
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
            // SAFETY: the callers of the kernels have checked that the left matrix has `count` rows from `first` on and
            // that the right panel has as many groups as a row. The tiles are set up for both, and memory holds the
            // sums of the steps before.
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

/// The memory that is brought into the L2 cache during a multiplication: the address where it starts, and the number of
/// bytes for each step.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const u8,
    step: usize,
}

/// The places where a multiplication reads and writes.
struct Operands {
    left: *const u8,
    /// Bytes of a row of the left matrix.
    stride: usize,
    right: *const u8,
    /// Whole steps of the contraction.
    steps: usize,
    /// Address of the numbers that a left tile's sums begin with, and the distance in bytes from one row of them to the
    /// next.
    start: (*const i32, usize),
    sums: *mut i32,
    ahead: Ahead,
}

/// Loads a left tile and two right tiles, and multiplies them.
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

/// Loads and stores the sums of the first left tile, in tiles 0 and 1, around the instructions `$lines`.
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

/// Goes on to the next step, while there is one.
macro_rules! next_step {
    () => {
        "add {left}, 64\nadd {right}, 2048\ndec {steps}\njnz 2b"
    };
}

/// Multiplies both left tiles.
///
/// Each step asks for eight lines of the next right panel, between loads that take a line for each row. That is the
/// whole panel if the present one is used for four blocks, and a part of it if for fewer. Requests that come all at
/// once would delay the loads after them.
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

/// Multiplies one left tile, and the rest of its rows in another. Each step asks for five lines of the next right
/// panel, which is the whole panel if there are seven blocks.
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
    /// Multiplies two left tiles, the second of which begins at row `second`.
    ///
    /// # Safety
    /// The tiles must be set up for this, and `steps` must not be zero. The left matrix must have the rows of both
    /// tiles and `steps` steps of 64 numbers, and the right panel sixteen groups for each step.
    unsafe fn multiply_pair<const RIGHT: bool>(self, second: usize) {
        // SAFETY: the caller promises the operands, and the memory of the sums has 32 rows.
        unsafe {
            match RIGHT {
                false => pair!("tdpbusd", self, second),
                true => pair!("tdpbsud", self, second),
            }
        }
    }

    /// Multiplies one left tile, and the rest of its rows after the steps.
    ///
    /// # Safety
    /// The tiles must be set up for this. The left matrix must have the rows of a tile, with `steps` steps of 64
    /// numbers and the rest, and the right panel must have the groups for all of them.
    unsafe fn multiply_with_rest<const RIGHT: bool>(self) {
        // SAFETY: the caller promises the operands, and the memory of the sums has 32 rows.
        unsafe {
            match RIGHT {
                false => with_rest!("tdpbusd", self),
                true => with_rest!("tdpbsud", self),
            }
        }
    }
}
