//! Runs packed ResMLP models: `no_std`, no allocation, bit-identical on every CPU.
//!
//! ```text
//! file bytes ── Model::parse ──► Model ── Engine::new(model, kernels, parallel) ──► Engine
//!                                                                                    │
//!                        u8 picture, scratch memory ── Engine::run ──► f32 logits ◄──┘
//! ```
//!
//! * [`format`] knows the byte offsets of a `.rmlp` file; `FORMAT.md` describes them.
//! * [`Model`] is a validated view of such a file. It copies nothing.
//! * [`Kernels`] is a table of functions for one instruction set. Holding one proves that this CPU supports the
//!   instructions.
//! * [`ParallelFor`] is how the caller lends its cores: [`Serial`], [`Threads`], or the firmware's own.
//! * [`Engine`] is the forward pass. `NUMERICS.md` states its arithmetic exactly, and [`numerics`] is that document in
//!   code.
//! * `measure` (with the feature `std`) times forward passes.
//!
//! Each core needs at most 256 KiB of stack. The kernels for x86-64 need the most.
#![no_std]

#[cfg(any(feature = "kernel-tests", test))]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

#[cfg(target_endian = "big")]
compile_error!("packed models are little-endian and are read in place");

mod activation;
mod engine;
pub mod format;
pub mod kernels;
#[cfg(feature = "std")]
pub mod measure;
mod model;
pub mod numerics;
mod parallel;
mod plan;
mod preprocessing;
#[cfg(feature = "std")]
mod repack;
mod storage;
mod top;

pub use activation::Activation;
pub use engine::{Engine, RunError, Stage};
pub use format::{Dims, Fit, Layout, Preprocessing, Resize};
pub use kernels::Kernels;
pub use model::{Model, ModelError, checksum};
#[cfg(feature = "std")]
pub use parallel::Threads;
pub use parallel::{ParallelFor, Serial};
#[cfg(feature = "std")]
pub use repack::{AlignedBytes, repack, repack_for, repack_in_place};
pub use storage::{Arithmetic, WeightStorage};
pub use top::{descending, most_probable, top};
