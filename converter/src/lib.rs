//! Reads trained ResMLP checkpoints, folds, quantises and packs them, and checks the result against tract.

pub mod error;
pub mod fold;
pub mod forward;
pub mod gemm;
pub mod network;
