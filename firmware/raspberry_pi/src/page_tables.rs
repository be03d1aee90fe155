//! Which memory is what: addresses stay as they are.
//!
//! The first 2 MiB are mapped in pages: the image's code is read-only and executable, its constants are read-only, and below each
//! stack one page is missing. The rest of the first gibibyte is mapped in blocks of 2 MiB: memory that is there, and on a
//! Raspberry Pi 3 the devices. Other boards' devices are in a gibibyte of their own, of which nothing else is used.

use crate::board::Board;
use crate::boards;

const PAGE: usize = 1 << 12;
const BLOCK: usize = 1 << 21;
const GIBIBYTE: usize = 1 << 30;

/// Entries of a table.
const ENTRIES: usize = 512;

/// Kinds of descriptors.
const TABLE: u64 = 0b11;
const PAGE_ENTRY: u64 = 0b11;
const BLOCK_ENTRY: u64 = 0b01;

/// Bits of descriptors: accessed, inner shareable, read-only, executable by nobody, attribute 1 of MAIR_EL1 (see boot.s).
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

/// Writes the tables, before there is an MMU or a cache. Called once, by boot.s.
#[unsafe(no_mangle)]
extern "C" fn build_page_tables() {
    let Some(board) = boards::current() else { return };
    // Symbols of the linker script are addresses.
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
    // SAFETY: inside the three pages that the linker script keeps for the tables. Volatile, so that it stays a loop of aligned
    // stores: there is no MMU yet.
    unsafe { place.write_volatile(descriptor) };
}

struct Layout {
    image: usize,
    text_end: usize,
    rodata_end: usize,
    stacks: usize,
    /// A stack with the page below it.
    stack: usize,
}

impl Layout {
    /// The descriptor of a page of the first 2 MiB.
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

/// The descriptor of 2 MiB of the first gibibyte. Which memory is there is known only later, so all is mapped.
fn block(board: &Board, address: usize) -> u64 {
    address as u64 | BLOCK_ENTRY | if address < board.devices { MEMORY | NOT_EXECUTABLE } else { DEVICE }
}

/// The descriptor of a gibibyte: devices, or nothing.
fn gibibyte(board: &Board, address: usize) -> u64 {
    if address == board.devices / GIBIBYTE * GIBIBYTE { address as u64 | BLOCK_ENTRY | DEVICE } else { 0 }
}
