//! Ends an emulator by semihosting.

/// Ends the emulator with this exit code. It may be called only if the command line says that this is an emulator: a
/// board would take an exception.
pub fn exit(code: u32) -> ! {
    // The block for SYS_EXIT: the reason ADP_Stopped_ApplicationExit, and the exit code.
    let block: [u64; 2] = [0x2_0026, u64::from(code)];
    loop {
        // SAFETY: the emulator reads the block, which lives until the call, and ends.
        unsafe {
            core::arch::asm!("hlt #0xf000", in("x0") 0x18u64, in("x1") block.as_ptr(), options(nostack));
        }
    }
}
