//! Reads and writes device registers.

/// A block of 32-bit registers.
#[derive(Clone, Copy, Debug)]
pub struct Registers(usize);

impl Registers {
    /// Creates the block at `address`.
    ///
    /// # Safety
    /// The block is mapped as a device, and no read or write of its registers makes the device access the program's
    /// memory.
    pub const unsafe fn new(address: usize) -> Self {
        Self(address)
    }

    /// Reads the register at `offset` bytes from the first one.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: the caller of `new` guarantees that the block is mapped as a device and that this access endangers no
        // memory.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0 + offset).read_volatile() }
    }

    /// Writes the register at `offset` bytes from the first one.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: the caller of `new` guarantees that the block is mapped as a device and that this access endangers no
        // memory.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0 + offset).write_volatile(value) };
    }
}
