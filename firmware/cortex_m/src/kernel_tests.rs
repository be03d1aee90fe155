//! Compares this core's tables of kernels with the scalar one in an emulator, as `cargo test` does on other machines.
#![no_std]
#![no_main]

mod board;

use core::fmt::Write;
use core::panic::PanicInfo;

use board::Board;
use cortex_m_rt::entry;
use embedded_alloc::LlffHeap;
use resmlp_runtime::Kernels;
use resmlp_runtime::kernels::COMPARISONS;

/// Address of RAM that the emulated boards have and the real parts lack.
#[cfg(feature = "mps2-an386")]
const HEAP: usize = 0x2100_0000;
#[cfg(feature = "mps2-an500")]
const HEAP: usize = 0x6000_0000;
#[cfg(feature = "mps2-an505")]
const HEAP: usize = 0x8000_0000;
const HEAP_LEN: usize = 8 << 20;

#[global_allocator]
static ALLOCATOR: LlffHeap = LlffHeap::empty();

#[entry]
fn main() -> ! {
    // SAFETY: this runs once, before anything is allocated, and nothing else uses this RAM.
    unsafe { ALLOCATOR.init(HEAP, HEAP_LEN) };
    let mut board = Board::start();
    let _ = write!(board, "{}: kernels", board::NAME);
    Kernels::supported().for_each(|kernels| {
        let _ = write!(board, " {}", kernels.name());
    });
    let _ = writeln!(board);
    for (name, compare) in COMPARISONS {
        compare();
        let _ = writeln!(board, "test {name} ... ok");
    }
    let count = board.count();
    let _ = writeln!(board, "{} million {}", count / 1_000_000, board::COUNTED);
    board.end(true)
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut board = Board::start();
    let _ = writeln!(board, "{info}");
    board.end(false)
}
