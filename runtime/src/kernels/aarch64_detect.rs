//! Which instructions this core has, and whether it is one that wants them in another order: asked of the system, or of the core's
//! own ID registers.
//!
//! `std` asks the system. Without it, on Linux, the C library may be asked (feature `hosted`), and without an operating system (feature
//! `bare-metal`) the registers are read directly, which takes EL1 or higher. With none of them only what the compiler was told counts.

#[cfg(all(any(feature = "std", feature = "hosted"), target_os = "linux"))]
use core::ffi::c_ulong;

/// An ID register. It can be read where Linux answers for it, and at EL1 and higher, as who turns `bare-metal` on vouches for.
#[cfg(any(all(any(feature = "std", feature = "hosted"), target_os = "linux"), feature = "bare-metal"))]
macro_rules! id_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reads a register that can be read here.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Instruction sets beyond plain NEON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    Dotprod,
    #[cfg(feature = "every-core")]
    I8mm,
    /// Arithmetic with 16-bit floating-point numbers.
    Fp16,
}

#[cfg(feature = "std")]
pub(super) fn has(extension: Extension) -> bool {
    match extension {
        Extension::Dotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
        #[cfg(feature = "every-core")]
        Extension::I8mm => std::arch::is_aarch64_feature_detected!("i8mm"),
        Extension::Fp16 => std::arch::is_aarch64_feature_detected!("fp16"),
    }
}

#[cfg(all(not(feature = "std"), feature = "hosted", target_os = "linux"))]
pub(super) fn has(extension: Extension) -> bool {
    let (kind, bit) = match extension {
        Extension::Dotprod => (AT_HWCAP, 20),
        #[cfg(feature = "every-core")]
        Extension::I8mm => (AT_HWCAP2, 13),
        // `asimdhp`
        Extension::Fp16 => (AT_HWCAP, 10),
    };
    auxiliary_value(kind) >> bit & 1 != 0
}

// Linux, include/uapi/linux/auxvec.h; bits in arch/arm64/include/uapi/asm/hwcap.h.
#[cfg(all(any(feature = "std", feature = "hosted"), target_os = "linux"))]
const AT_HWCAP: c_ulong = 16;
#[cfg(all(not(feature = "std"), feature = "hosted", target_os = "linux"))]
const AT_HWCAP2: c_ulong = 26;

#[cfg(all(any(feature = "std", feature = "hosted"), target_os = "linux"))]
fn auxiliary_value(kind: c_ulong) -> c_ulong {
    unsafe extern "C" {
        /// The C library's: what the kernel says of the machine.
        fn getauxval(kind: c_ulong) -> c_ulong;
    }
    // SAFETY: it takes any number, and touches no memory of ours.
    unsafe { getauxval(kind) }
}

#[cfg(all(not(feature = "std"), not(all(feature = "hosted", target_os = "linux")), feature = "bare-metal"))]
pub(super) fn has(extension: Extension) -> bool {
    // Fields of four bits, from the Arm Architecture Reference Manual, D19.2.
    match extension {
        Extension::Dotprod => id_register!("ID_AA64ISAR0_EL1") >> 44 & 0xf != 0,
        #[cfg(feature = "every-core")]
        Extension::I8mm => id_register!("ID_AA64ISAR1_EL1") >> 52 & 0xf != 0,
        // AdvSIMD: 15 where there is none, 0 without such arithmetic.
        Extension::Fp16 => id_register!("ID_AA64PFR0_EL1") >> 20 & 0xf == 1,
    }
}

#[cfg(not(any(feature = "std", all(feature = "hosted", target_os = "linux"), feature = "bare-metal")))]
pub(super) fn has(extension: Extension) -> bool {
    match extension {
        Extension::Dotprod => cfg!(target_feature = "dotprod"),
        #[cfg(feature = "every-core")]
        Extension::I8mm => cfg!(target_feature = "i8mm"),
        Extension::Fp16 => cfg!(target_feature = "fp16"),
    }
}

/// Whether the core that runs this is a Cortex-A53 or A55, which issue instructions in their order, under whatever name; false where
/// that cannot be known. A machine can have other cores beside it.
pub(super) fn issues_in_order() -> bool {
    main_id().is_some_and(is_a53_or_a55)
}

/// By the main ID register: bits 31 to 24 are the implementer, and bits 15 to 4 the part. Arm's own, and Qualcomm's Kryo 2xx, 3xx and 4xx
/// Silver (Linux, arch/arm64/include/asm/cputype.h), which are an A53 and two A55.
fn is_a53_or_a55(main_id: u64) -> bool {
    matches!((main_id >> 24 & 0xff, main_id >> 4 & 0xfff), (0x41, 0xd03 | 0xd05) | (0x51, 0x801 | 0x803 | 0x805))
}

/// The main ID register, which Linux answers for where it says so.
#[cfg(all(any(feature = "std", feature = "hosted"), target_os = "linux"))]
fn main_id() -> Option<u64> {
    let is_answered = auxiliary_value(AT_HWCAP) >> 11 & 1 != 0;
    is_answered.then(|| id_register!("MIDR_EL1"))
}

#[cfg(all(not(feature = "std"), not(all(feature = "hosted", target_os = "linux")), feature = "bare-metal"))]
fn main_id() -> Option<u64> {
    Some(id_register!("MIDR_EL1"))
}

#[cfg(not(any(
    all(any(feature = "std", feature = "hosted"), target_os = "linux"),
    all(not(feature = "std"), feature = "bare-metal")
)))]
fn main_id() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::is_a53_or_a55;

    #[test]
    fn cores_that_issue_in_order_are_told_from_others() {
        // Cortex-A53 r0p4, A55 r1p0 and r2p0, Kryo 4xx Silver; A72, A76, Kryo 4xx Gold, and parts of these numbers by others.
        assert!([0x410f_d034, 0x411f_d050, 0x412f_d050, 0x51df_805e].into_iter().all(is_a53_or_a55));
        assert!(![0x410f_d083, 0x414f_d0b1, 0x51df_804d, 0x511f_d050, 0x410f_8050, 0].into_iter().any(is_a53_or_a55));
    }
}
