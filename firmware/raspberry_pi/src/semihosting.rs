//! Ends an emulator.

/// Ends the emulator with this exit code. Only where the command line says that there is one: a board would fault.
pub fn exit(code: u32) -> ! {
    // SYS_EXIT, because of ADP_Stopped_ApplicationExit.
    let block: [u64; 2] = [0x2_0026, u64::from(code)];
    loop {
        // SAFETY: the emulator reads the block, and ends.
        unsafe {
            core::arch::asm!("hlt #0xf000", in("x0") 0x18u64, in("x1") block.as_ptr(), options(nostack));
        }
    }
}
