//! The inner loops. `scalar` defines in plain Rust what each of them computes. Every other file does the same with
//! one instruction set.
//!
//! A kernel computes a part of a result. It never allocates memory or starts other work. A [`Kernels`] value is a table
//! of such functions. The folder is divided by architecture, and an architecture's main file lists its tables:
//!
//! * `table` is the type of the tables and the checked way to call them, `operands` what their functions are given;
//! * `scalar` reads every layout on every CPU and is what the tests compare all other tables with;
//! * `aarch64`, `x86_64` and `thumb` (Cortex-M) hold a file for each instruction set, `detect` for what the CPU has,
//!   and what their tables share.
//!
//! A new instruction set is a new file and a line in its architecture's `TABLES`.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[allow(dead_code, reason = "only architectures with vector registers work on several columns at a time")]
mod lanes;
mod operands;
mod scalar;
mod table;
#[cfg(any(test, feature = "kernel-tests"))]
mod tests;
#[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
mod thumb;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub(crate) use operands::{
    FloatColumns, GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, RightFloats, RightHalves, Rows,
    StreamColumns, part_of,
};
pub use table::Kernels;
pub(crate) use table::{Mismatch, TileBytes, TileSizes};
#[cfg(feature = "kernel-tests")]
pub use tests::COMPARISONS;

use crate::format::Dims;

/// The tables of this architecture, best first, followed by the one that every CPU runs.
static ALL: &[&[&Kernels]] = &[
    #[cfg(target_arch = "aarch64")]
    aarch64::TABLES,
    #[cfg(all(target_arch = "arm", target_os = "none", target_abi = "eabihf"))]
    thumb::TABLES,
    #[cfg(target_arch = "x86_64")]
    x86_64::TABLES,
    &[&scalar::KERNELS],
];

impl Kernels {
    /// Returns every table that this CPU can run, best first: those that suit the CPU, then the others.
    pub fn supported() -> impl Iterator<Item = &'static Kernels> {
        let tables = || ALL.iter().copied().flatten().copied();
        let suiting = move |suits| tables().filter(move |k| (k.supported)() && (k.suits)() == suits);
        suiting(true).chain(suiting(false))
    }

    /// Returns the best table that this CPU can run and that reads the weights of such a model as they are.
    pub fn best(dims: &Dims) -> &'static Kernels {
        Self::supported().find(|k| k.reads(dims)).unwrap_or(&scalar::KERNELS)
    }

    /// Returns the best table that this CPU can run, whatever panels it reads. A model can be repacked for it.
    pub fn fastest() -> &'static Kernels {
        Self::supported().next().unwrap_or(&scalar::KERNELS)
    }

    /// Returns the table of this name, if this CPU can run it.
    pub fn named(name: &str) -> Option<&'static Kernels> {
        Self::supported().find(|k| k.name == name)
    }

    /// Returns the plain Rust table, which reads every layout on every CPU and defines what the others compute.
    pub fn scalar() -> &'static Kernels {
        &scalar::KERNELS
    }
}
