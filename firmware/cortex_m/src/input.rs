//! The model and the picture that `build.rs` compiles in.

/// Bytes with the alignment that a model needs.
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

include!(concat!(env!("OUT_DIR"), "/input.rs"));
