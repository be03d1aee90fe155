//! Finds out which instructions this CPU has, and which registers the operating system saves. The CPU itself tells
//! both.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// Returns a mask of the bits with these numbers.
const fn bits<const N: usize>(numbers: [u32; N]) -> u32 {
    let (mut all, mut i) = (0, 0);
    while i < N {
        all |= 1 << numbers[i];
        i += 1;
    }
    all
}

// Bits of CPUID (Intel's Software Developer's Manual, volume 2) and of the register that says which states are saved
// (volume 1, 13.3).
const FMA_OSXSAVE_AVX_F16C: u32 = bits([12, 27, 28, 29]);
const AVX2: u32 = bits([5]);
const AVX512F_BW: u32 = bits([16, 30]);
const VBMI_VNNI: u32 = bits([1, 11]);
const AVX_VNNI: u32 = bits([4]);
const AMX_TILE_INT8: u32 = bits([24, 25]);
const SSE_AVX_STATE: u32 = bits([1, 2]);
const AVX512_STATE: u32 = bits([5, 6, 7]);
const TILE_STATE: u32 = bits([17, 18]);

/// Returns whether all `wanted` bits of a register are set.
fn all(register: u32, wanted: u32) -> bool {
    register & wanted == wanted
}

/// Returns whether the operating system saves these registers when it switches between programs.
fn system_saves(states: u32) -> bool {
    #[target_feature(enable = "xsave")]
    fn enabled() -> u32 {
        // SAFETY: every CPU with the instruction has register 0.
        (unsafe { _xgetbv(0) }) as u32
    }
    // SAFETY: the callers have found the bit OSXSAVE, which says that the CPU has the instruction and that programs may
    // use it.
    all(unsafe { enabled() }, states)
}

/// Returns whether the CPU has AVX2, FMA and F16C.
pub(super) fn avx2() -> bool {
    // Miri has none of these instructions and does not support asking for them.
    !cfg!(miri)
        && __cpuid(0).eax >= 7
        && all(__cpuid(1).ecx, FMA_OSXSAVE_AVX_F16C)
        && system_saves(SSE_AVX_STATE)
        && all(__cpuid_count(7, 0).ebx, AVX2)
}

/// Returns whether this is one of AMD's Zen, Zen+ and Zen 2 (family 17h), or one of Hygon's CPUs derived from them
/// (18h).
///
/// They have one pipe for integer multiplications and three for additions (AMD's Software Optimization Guide for Family
/// 17h, 2.11).
pub(super) fn multiplies_once_a_cycle() -> bool {
    let leaf = __cpuid(0);
    let vendor = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    matches!((vendor.as_flattened(), family(__cpuid(1).eax)), (b"AuthenticAMD", 0x17) | (b"HygonGenuine", 0x18))
}

/// Returns the family in a CPU's signature: the sum of bits 8 to 11 and bits 20 to 27. The latter are 0 unless the
/// former are all set.
fn family(signature: u32) -> u32 {
    (signature >> 8 & 0xf) + (signature >> 20 & 0xff)
}

/// Returns whether the CPU has AVX-VNNI, and what [`avx2`] asks for.
pub(super) fn avx_vnni() -> bool {
    avx2() && __cpuid_count(7, 0).eax >= 1 && all(__cpuid_count(7, 1).eax, AVX_VNNI)
}

/// Returns whether the CPU has the parts of AVX-512 that the kernels use, and what [`avx2`] asks for.
pub(super) fn avx512() -> bool {
    let found = || __cpuid_count(7, 0);
    avx2() && system_saves(AVX512_STATE) && all(found().ebx, AVX512F_BW) && all(found().ecx, VBMI_VNNI)
}

/// Returns whether the CPU has AMX for 8-bit integers, and what [`avx512`] asks for. On Linux a program has to ask for
/// the tiles.
pub(super) fn amx() -> bool {
    avx512() && all(__cpuid_count(7, 0).edx, AMX_TILE_INT8) && system_saves(TILE_STATE) && permitted()
}

/// Asks Linux to let this process use the tiles (its Documentation/arch/x86/xstate.rst).
///
/// Without an operating system, no permission is needed. This function does not know how to ask other systems, so
/// programs there do without the tiles.
fn permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XTILEDATA: usize = 18;
    if !cfg!(target_os = "linux") {
        return cfg!(target_os = "none");
    }
    let result: isize;
    // SAFETY: the call takes only numbers, and changes nothing except which registers the process may use.
    unsafe {
        core::arch::asm!(
            "syscall",
            inout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(test)]
mod tests {
    macro_rules! has_all {
        ($($feature:tt)*) => { $(std::is_x86_feature_detected!($feature))&&* };
    }

    #[test]
    fn the_cpu_says_what_the_standard_library_says() {
        assert_eq!(super::avx2(), has_all!("avx" "avx2" "fma" "f16c"));
        let found = has_all!("avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vnni" "avx512vbmi");
        assert_eq!(super::avx512(), found);
        assert_eq!(super::avx_vnni(), has_all!("avx2" "fma" "f16c" "avxvnni"));
    }

    #[test]
    fn families_are_read_from_signatures() {
        // These are the signatures of Ryzen 7 1700, Ryzen 9 3950X, EPYC 7702, Ryzen 9 5950X, Core i7-6700K and Xeon
        // Platinum 8480.
        let signatures = [0x0080_0f11, 0x0087_0f10, 0x0083_0f10, 0x00a2_0f10, 0x0005_06e3, 0x0008_06f8];
        assert_eq!(signatures.map(super::family), [0x17, 0x17, 0x17, 0x19, 6, 6]);
    }
}
