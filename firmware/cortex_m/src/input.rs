//! What `build.rs` has taken in.

/// Bytes that start where a model must.
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized>(pub T);

include!(concat!(env!("OUT_DIR"), "/input.rs"));
