//! Finds out which instructions a Cortex-M core has.

/// Returns whether the core has the DSP extension.
///
/// The answer comes from the core's identification registers, which only privileged code may read. Without the feature
/// `bare-metal`, the answer is no.
pub(super) fn has_dsp() -> bool {
    const CPUID: usize = 0xe000_ed00;
    const ID_ISAR3: usize = 0xe000_ed6c;
    if !cfg!(feature = "bare-metal") {
        return false;
    }
    let [cpuid, isar3] = [CPUID, ID_ISAR3].map(|register| {
        // SAFETY: every ARMv7-M and ARMv8-M core has these registers, and whoever turns on the feature `bare-metal`
        // guarantees that the code is privileged. Reading them changes nothing.
        unsafe { core::ptr::with_exposed_provenance::<u32>(register).read_volatile() }
    });
    // Every Cortex-M4 and M7 has the extension; QEMU's M4 does not say so in ID_ISAR3.
    let is_m4_or_m7 = cpuid >> 24 == 0x41 && matches!((cpuid >> 4) & 0xfff, 0xc24 | 0xc27);
    // Field SIMD: 1 stands for saturation alone, 3 for the instructions that the kernels use.
    is_m4_or_m7 || (isar3 >> 4) & 0xf >= 3
}
