//! Builds the page tables. Virtual addresses equal physical ones.
//!
//! The first 2 MiB are mapped in pages: the image's code is read-only and executable, its constants are read-only, and
//! the page below each stack is not mapped. The rest of the first gibibyte is mapped in blocks of 2 MiB, as memory or,
//! on a Raspberry Pi 3, as devices. The devices of the other boards lie in another gibibyte, which is mapped as a
//! whole.

use crate::board::Board;
use crate::boards;

const PAGE: usize = 1 << 12;
const BLOCK: usize = 1 << 21;
const GIBIBYTE: usize = 1 << 30;

/// Number of entries of a table.
const ENTRIES: usize = 512;

/// Low bits of a descriptor, which state its kind.
const TABLE: u64 = 0b11;
const PAGE_ENTRY: u64 = 0b11;
const BLOCK_ENTRY: u64 = 0b01;

/// Bits of descriptors. `MEMORY` selects attribute 1 of MAIR_EL1, and `DEVICE` attribute 0 (see boot.s).
const ACCESSED: u64 = 1 << 10;
const SHAREABLE: u64 = 3 << 8;
const READ_ONLY: u64 = 1 << 7;
const NOT_EXECUTABLE: u64 = 0b11 << 53;
const MEMORY: u64 = 1 << 2 | ACCESSED | SHAREABLE;
const DEVICE: u64 = ACCESSED | NOT_EXECUTABLE;

unsafe extern "C" {
    static __tables: u8;
    static __image_start: u8;
    static __text_end: u8;
    static __rodata_end: u8;
    static __stacks: u8;
    static __stack_size: u8;
    static __guard_size: u8;
}

/// Writes the tables. boot.s calls it once, before it turns MMU and caches on.
#[unsafe(no_mangle)]
extern "C" fn build_page_tables() {
    let Some(board) = boards::current() else { return };
    // The values of the linker script's symbols are their addresses.
    let tables = (&raw const __tables).expose_provenance();
    let [first, second, third] = [0, 1, 2].map(|table| tables + table * PAGE);
    let layout = Layout {
        image: (&raw const __image_start).addr(),
        text_end: (&raw const __text_end).addr(),
        rodata_end: (&raw const __rodata_end).addr(),
        stacks: (&raw const __stacks).addr(),
        stack: (&raw const __stack_size).addr() + (&raw const __guard_size).addr(),
    };
    for entry in 0..ENTRIES {
        put(third, entry, layout.page(entry * PAGE));
        put(second, entry, if entry == 0 { third as u64 | TABLE } else { block(board, entry * BLOCK) });
        put(first, entry, if entry == 0 { second as u64 | TABLE } else { gibibyte(board, entry * GIBIBYTE) });
    }
}

fn put(table: usize, entry: usize, descriptor: u64) {
    let place = core::ptr::with_exposed_provenance_mut::<u64>(table + entry * 8);
    // SAFETY: `table` is one of the three pages that the linker script reserves for the tables, and `entry` is below
    // 512. The write is volatile so that the compiler keeps aligned stores of 8 bytes: without the MMU, others would
    // fault.
    unsafe { place.write_volatile(descriptor) };
}

struct Layout {
    image: usize,
    text_end: usize,
    rodata_end: usize,
    stacks: usize,
    /// Size of a stack and the page below it.
    stack: usize,
}

impl Layout {
    /// Returns the descriptor of a page of the first 2 MiB.
    fn page(&self, address: usize) -> u64 {
        let stacks = self.stacks..self.stacks + 4 * self.stack;
        let kind = if stacks.contains(&address) && (address - self.stacks).checked_rem(self.stack) == Some(0) {
            return 0;
        } else if (self.image..self.text_end).contains(&address) {
            MEMORY | READ_ONLY
        } else if (self.text_end..self.rodata_end).contains(&address) {
            MEMORY | READ_ONLY | NOT_EXECUTABLE
        } else {
            MEMORY | NOT_EXECUTABLE
        };
        address as u64 | PAGE_ENTRY | kind
    }
}

/// Returns the descriptor of a block of 2 MiB of the first gibibyte. All of it is mapped, because the size of the
/// memory is known only later.
fn block(board: &Board, address: usize) -> u64 {
    address as u64 | BLOCK_ENTRY | if address < board.devices { MEMORY | NOT_EXECUTABLE } else { DEVICE }
}

/// Returns the descriptor of a gibibyte, which maps devices or nothing.
fn gibibyte(board: &Board, address: usize) -> u64 {
    if address == board.devices / GIBIBYTE * GIBIBYTE { address as u64 | BLOCK_ENTRY | DEVICE } else { 0 }
}
