//! Reads trained ResMLP checkpoints, folds, quantises and packs them, and checks the result against tract.

pub mod board_link;
pub mod card;
pub mod check;
pub mod classify;
pub mod convert;
pub mod dataset;
pub mod error;
pub mod export;
pub mod fold;
pub mod forward;
pub mod gemm;
pub mod labels;
pub mod names;
pub mod network;
pub mod output;
pub mod pack;
pub mod packed;
pub mod quantise;
pub mod sensitivity;
pub mod source;
pub mod tract;

pub use resmlp_picture as picture;
