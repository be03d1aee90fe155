//! Measures the most that this CPU can do: multiply-accumulates that touch nothing but registers, in twelve independent
//! chains.
//!
//! On ARM the 8-bit peak is that of `sdot`. Cores without `sdot` have no entry here, and cores with matrix
//! multiplication can exceed the peak.

use std::thread::scope;

/// An instruction, or a shortest sequence of instructions, that multiplies and accumulates.
pub struct Peak {
    /// The type of the factors: `int8` or `f32`.
    pub numbers: &'static str,
    /// The instructions by name.
    pub name: &'static str,
    /// Multiply-accumulates of one step of one chain.
    macs: u64,
    supported: fn() -> bool,
    /// Runs the given number of rounds; a round is one step of every chain.
    run: unsafe fn(u64),
}

const CHAINS: u64 = 12;

/// Rounds of one [`Peak::run`] on each thread. They take tens of milliseconds, so the time to start the threads does
/// not count.
const ROUNDS: u64 = 16_000_000;

impl Peak {
    /// Returns the fastest entry that this CPU supports for `numbers`, which is `int8` or `f32`. Only instructions that
    /// cannot saturate are listed, because the kernels that are compared with the peak are exact.
    pub fn best(numbers: &str) -> Option<&'static Peak> {
        ALL.iter().find(|peak| peak.numbers == numbers && (peak.supported)())
    }

    /// Returns the number of multiply-accumulates of one [`Peak::run`] on `threads` threads.
    pub fn macs(&self, threads: usize) -> u64 {
        CHAINS * ROUNDS * self.macs * threads as u64
    }

    /// Runs `ROUNDS` rounds on each of `threads` threads.
    ///
    /// # Panics
    /// If the CPU lacks the instructions.
    pub fn run(&self, threads: usize) {
        assert!((self.supported)(), "this CPU lacks {}", self.name);
        // SAFETY: the assertion above has checked that the CPU has the instructions.
        let work = || unsafe { (self.run)(ROUNDS) };
        scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
    }
}

#[cfg(target_arch = "x86_64")]
static ALL: &[Peak] = &[
    Peak {
        numbers: "int8",
        name: "vpdpbusd zmm",
        macs: 64,
        supported: || std::arch::is_x86_feature_detected!("avx512vnni"),
        run: x86::vpdpbusd_512,
    },
    Peak {
        numbers: "int8",
        name: "vpdpbusd ymm",
        macs: 32,
        supported: || std::arch::is_x86_feature_detected!("avxvnni"),
        run: x86::vpdpbusd_256,
    },
    Peak {
        numbers: "int8",
        name: "vpmaddwd ymm + vpaddd ymm",
        macs: 16,
        supported: || std::arch::is_x86_feature_detected!("avx2"),
        run: x86::vpmaddwd_256,
    },
    Peak {
        numbers: "f32",
        name: "vfmadd231ps zmm",
        macs: 16,
        supported: || std::arch::is_x86_feature_detected!("avx512f"),
        run: x86::vfmadd_512,
    },
    Peak {
        numbers: "f32",
        name: "vfmadd231ps ymm",
        macs: 8,
        supported: || std::arch::is_x86_feature_detected!("fma"),
        run: x86::vfmadd_256,
    },
];

#[cfg(target_arch = "aarch64")]
static ALL: &[Peak] = &[
    Peak {
        numbers: "int8",
        name: "sdot",
        macs: 16,
        supported: || std::arch::is_aarch64_feature_detected!("dotprod"),
        run: aarch64::sdot,
    },
    Peak { numbers: "f32", name: "fmla", macs: 4, supported: || true, run: aarch64::fmla },
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static ALL: &[Peak] = &[];

#[cfg(target_arch = "x86_64")]
mod x86 {
    macro_rules! x86 {
        ($name:ident, $features:literal, $step:literal) => {
            #[target_feature(enable = $features)]
            pub unsafe fn $name(rounds: u64) {
                // SAFETY: the code touches no memory and changes only registers that `clobber_abi` declares; the caller
                // has checked that the CPU has the instructions.
                unsafe {
                    core::arch::asm!(
                        "vzeroall",
                        "2:",
                        ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
                        $step,
                        ".endr",
                        "dec rax",
                        "jnz 2b",
                        inout("rax") rounds => _,
                        clobber_abi("sysv64"),
                        options(nomem, nostack),
                    );
                }
            }
        };
    }
    x86!(vpdpbusd_512, "avx512vnni", "vpdpbusd zmm\\n, zmm14, zmm15");
    x86!(vpdpbusd_256, "avxvnni", "{{vex}} vpdpbusd ymm\\n, ymm14, ymm15");
    x86!(vpmaddwd_256, "avx2", "vpmaddwd ymm13, ymm14, ymm15\nvpaddd ymm\\n, ymm\\n, ymm13");
    x86!(vfmadd_512, "avx512f", "vfmadd231ps zmm\\n, zmm14, zmm15");
    x86!(vfmadd_256, "fma", "vfmadd231ps ymm\\n, ymm14, ymm15");
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    macro_rules! aarch64 {
        ($name:ident, $features:literal, $step:literal) => {
            #[target_feature(enable = $features)]
            pub unsafe fn $name(rounds: u64) {
                // SAFETY: the code touches no memory and changes only registers that `clobber_abi` declares; the caller
                // has checked that the CPU has the instructions.
                unsafe {
                    core::arch::asm!(
                        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29",
                        "movi v\\n\\().4s, #0",
                        ".endr",
                        "2:",
                        ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27",
                        $step,
                        ".endr",
                        "subs x9, x9, #1",
                        "b.ne 2b",
                        inout("x9") rounds => _,
                        clobber_abi("C"),
                        options(nomem, nostack),
                    );
                }
            }
        };
    }
    aarch64!(sdot, "dotprod", "sdot v\\n\\().4s, v28.16b, v29.16b");
    aarch64!(fmla, "neon", "fmla v\\n\\().4s, v28.4s, v29.4s");
}
