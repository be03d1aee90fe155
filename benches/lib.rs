//! Times forward passes; see `benches/forward.rs`.
