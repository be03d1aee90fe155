//! Device registers.

/// A block of 32-bit registers.
#[derive(Clone, Copy, Debug)]
pub struct Registers(usize);

impl Registers {
    /// The block at `address`.
    ///
    /// # Safety
    /// It is mapped as a device's, and to read and write it endangers no memory.
    pub const unsafe fn new(address: usize) -> Self {
        Self(address)
    }

    /// Reads the register `offset` bytes behind the first.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: as `new` demands.
        unsafe { core::ptr::with_exposed_provenance::<u32>(self.0 + offset).read_volatile() }
    }

    /// Writes the register `offset` bytes behind the first.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: as `new` demands.
        unsafe { core::ptr::with_exposed_provenance_mut::<u32>(self.0 + offset).write_volatile(value) };
    }
}
