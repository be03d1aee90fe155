//! A trained ResMLP in `f32`: the network as trained, its folded form, the folded forward pass, and measures of
//! agreement.
//!
//! ```text
//! Network (as trained) ── fold ──► FoldedNetwork (linear layers, activations, additions) ── forward ──► logits
//! ```
//!
//! * [`Network`] holds every layer as its authors wrote it. Readers of checkpoints make it.
//! * [`fold()`] moves every Aff, LayerScale and the input normalisation into the linear layers beside them.
//! * [`FoldedNetwork`] has a forward pass in `f32`, one stage at a time over many pictures.
//! * [`metrics`] compares logits and residual streams.

pub mod activation;
mod fold;
pub mod forward;
pub mod gemm;
pub mod metrics;
mod network;
mod stages;

pub use activation::Activation;
pub use fold::{FoldedBlock, FoldedNetwork, Head, fold, to_branch};
pub use network::{Affine, AffinePlacement, Block, Dialect, LengthError, Linear, Matrix, Network};
pub use stages::{mix_stage, mlp_stage, stage_names};
