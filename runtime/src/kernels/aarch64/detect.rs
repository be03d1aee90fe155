//! Finds out which instructions this core has, and whether it issues them in order.

use core::ffi::c_ulong;

/// The source of the answers.
enum Source {
    /// The kernel, through the C library.
    Linux,
    /// The core's own ID registers, which can be read at EL1 and higher. Whoever turns on the feature `bare-metal`
    /// guarantees that the code runs there.
    Registers,
    /// The standard library, which knows how to ask other systems. Without it, the features that the compiler may use
    /// count.
    Compiler,
}

const SOURCE: Source = if cfg!(all(target_os = "linux", any(feature = "std", feature = "hosted"))) {
    Source::Linux
} else if cfg!(all(feature = "bare-metal", not(feature = "std"))) {
    Source::Registers
} else {
    Source::Compiler
};

/// Instruction sets beyond plain NEON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// Dot products of 8-bit numbers.
    Dotprod,
    /// Matrix products of 8-bit numbers.
    I8mm,
    /// Arithmetic with 16-bit floating-point numbers.
    Fp16,
}

/// Reads an ID register, if the source of answers allows it.
macro_rules! id_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading the register changes nothing. The callers read it only at EL1 and higher, or on a Linux that
        // says that it emulates the read.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }};
}

#[cfg(feature = "std")]
macro_rules! is_detected {
    ($feature:tt) => {
        std::arch::is_aarch64_feature_detected!($feature)
    };
}

#[cfg(not(feature = "std"))]
macro_rules! is_detected {
    ($feature:tt) => {
        cfg!(target_feature = $feature)
    };
}

/// Returns whether this core has an extension.
pub(super) fn has(extension: Extension) -> bool {
    match SOURCE {
        // Linux, arch/arm64/include/uapi/asm/hwcap.h: ASIMDDP, I8MM and ASIMDHP.
        Source::Linux => match extension {
            Extension::Dotprod => auxiliary_value(AT_HWCAP) >> 20 & 1 != 0,
            Extension::I8mm => auxiliary_value(AT_HWCAP2) >> 13 & 1 != 0,
            Extension::Fp16 => auxiliary_value(AT_HWCAP) >> 10 & 1 != 0,
        },
        // Arm Architecture Reference Manual, D19.2: fields of four bits.
        Source::Registers => match extension {
            Extension::Dotprod => id_register!("ID_AA64ISAR0_EL1") >> 44 & 0xf != 0,
            Extension::I8mm => id_register!("ID_AA64ISAR1_EL1") >> 52 & 0xf != 0,
            // The field AdvSIMD is 0 without 16-bit arithmetic, and 15 on a core without NEON.
            Extension::Fp16 => id_register!("ID_AA64PFR0_EL1") >> 20 & 0xf == 1,
        },
        Source::Compiler => match extension {
            Extension::Dotprod => is_detected!("dotprod"),
            Extension::I8mm => is_detected!("i8mm"),
            Extension::Fp16 => is_detected!("fp16"),
        },
    }
}

/// Returns whether the current core is a Cortex-A53 or A55, under any name. These cores issue instructions in order.
///
/// The answer is no if the core cannot be identified. Other cores of the same machine may be of another kind.
pub(super) fn issues_in_order() -> bool {
    main_id().is_some_and(is_a53_or_a55)
}

/// Reads the main ID register. A program on Linux can read it if the kernel says that it emulates the read.
fn main_id() -> Option<u64> {
    match SOURCE {
        // HWCAP_CPUID
        Source::Linux if auxiliary_value(AT_HWCAP) >> 11 & 1 == 0 => None,
        Source::Linux | Source::Registers => Some(id_register!("MIDR_EL1")),
        Source::Compiler => None,
    }
}

/// Returns whether a main ID register is that of a Cortex-A53 or A55.
///
/// Bits 31 to 24 are the implementer and bits 15 to 4 the part. Arm has one number for each core; Qualcomm's Kryo 2xx
/// Silver is an A53, and Kryo 3xx and 4xx Silver are A55 (Linux, arch/arm64/include/asm/cputype.h).
fn is_a53_or_a55(main_id: u64) -> bool {
    matches!((main_id >> 24 & 0xff, main_id >> 4 & 0xfff), (0x41, 0xd03 | 0xd05) | (0x51, 0x801 | 0x803 | 0x805))
}

// Linux, include/uapi/linux/auxvec.h.
const AT_HWCAP: c_ulong = 16;
const AT_HWCAP2: c_ulong = 26;

/// Returns a word of the auxiliary vector, in which the Linux kernel describes the machine to every program.
fn auxiliary_value(kind: c_ulong) -> c_ulong {
    unsafe extern "C" {
        fn getauxval(kind: c_ulong) -> c_ulong;
    }
    // SAFETY: the C library's function accepts any number, and returns a value without writing memory of this program.
    unsafe { getauxval(kind) }
}

#[cfg(test)]
mod tests {
    use super::is_a53_or_a55;

    #[test]
    fn cores_that_issue_in_order_are_told_from_others() {
        // The first four are Cortex-A53 r0p4, A55 r1p0 and r2p0, and Kryo 4xx Silver. The others are Cortex-A72, A76,
        // Kryo 4xx Gold, and parts of the same numbers by other implementers.
        assert!([0x410f_d034, 0x411f_d050, 0x412f_d050, 0x51df_805e].into_iter().all(is_a53_or_a55));
        assert!(![0x410f_d083, 0x414f_d0b1, 0x51df_804d, 0x511f_d050, 0x410f_8050, 0].into_iter().any(is_a53_or_a55));
    }
}
