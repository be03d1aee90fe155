//! Which instructions this core has: asked of the system, or of the core's own ID registers.
//!
//! Without `std`, on Linux, the C library may be asked (feature `hosted`). Without an operating system (feature `bare-metal`) the
//! registers are read directly, which takes EL1 or higher. Without either, only what the compiler was told counts.

/// Instruction sets beyond plain NEON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    Dotprod,
    I8mm,
    /// Arithmetic with 16-bit floating-point numbers.
    Fp16,
}

#[cfg(feature = "std")]
pub(super) fn has(extension: Extension) -> bool {
    match extension {
        Extension::Dotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
        Extension::I8mm => std::arch::is_aarch64_feature_detected!("i8mm"),
        Extension::Fp16 => std::arch::is_aarch64_feature_detected!("fp16"),
    }
}

#[cfg(all(not(feature = "std"), feature = "hosted", target_os = "linux"))]
pub(super) fn has(extension: Extension) -> bool {
    use core::ffi::c_ulong;
    unsafe extern "C" {
        /// The C library's: what the kernel says of the machine.
        fn getauxval(kind: c_ulong) -> c_ulong;
    }
    // Linux, include/uapi/linux/auxvec.h and arch/arm64/include/uapi/asm/hwcap.h.
    const AT_HWCAP: c_ulong = 16;
    const AT_HWCAP2: c_ulong = 26;
    let (kind, bit) = match extension {
        Extension::Dotprod => (AT_HWCAP, 20),
        Extension::I8mm => (AT_HWCAP2, 13),
        // `asimdhp`
        Extension::Fp16 => (AT_HWCAP, 10),
    };
    // SAFETY: it takes any number, and touches no memory of ours.
    let found = unsafe { getauxval(kind) };
    found >> bit & 1 != 0
}

#[cfg(all(not(feature = "std"), not(all(feature = "hosted", target_os = "linux")), feature = "bare-metal"))]
pub(super) fn has(extension: Extension) -> bool {
    let (isar0, isar1, pfr0): (u64, u64, u64);
    // SAFETY: reads three ID registers, as who turns the feature on allows.
    unsafe {
        core::arch::asm!(
            "mrs {}, ID_AA64ISAR0_EL1",
            "mrs {}, ID_AA64ISAR1_EL1",
            "mrs {}, ID_AA64PFR0_EL1",
            out(reg) isar0,
            out(reg) isar1,
            out(reg) pfr0,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    // Fields of four bits, from the Arm Architecture Reference Manual, D19.2.
    match extension {
        Extension::Dotprod => isar0 >> 44 & 0xf != 0,
        Extension::I8mm => isar1 >> 52 & 0xf != 0,
        // AdvSIMD: 15 where there is none, 0 without such arithmetic.
        Extension::Fp16 => pfr0 >> 20 & 0xf == 1,
    }
}

#[cfg(not(any(feature = "std", all(feature = "hosted", target_os = "linux"), feature = "bare-metal")))]
pub(super) fn has(extension: Extension) -> bool {
    match extension {
        Extension::Dotprod => cfg!(target_feature = "dotprod"),
        Extension::I8mm => cfg!(target_feature = "i8mm"),
        Extension::Fp16 => cfg!(target_feature = "fp16"),
    }
}
