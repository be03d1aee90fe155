//! Trains a ResMLP on a desktop's CPU: the forward pass, the backward pass and the optimisers.
//!
//! ```text
//! pictures ─ forward ─► logits ─ loss ─► gradient of the logits ─ backward ─► gradient ─ optimiser ─► parameters
//! ```
//!
//! A network's parameters are one vector of `f32`; a [`Layout`] says where in it each tensor is and what its name is in
//! timm. Gradients, moments and averages are vectors of the same layout.
//!
//! A batch is cut into chunks of [`CHUNK`] pictures. Each chunk belongs to a *lane*, which adds up the gradients of its
//! chunks one after the other, and the lanes are added up in their order. Which thread works on a lane changes nothing,
//! so the same seed gives the same network, bit for bit, with any number of threads. Another instruction set may add
//! the products of a matrix multiplication in another order, so its results differ in the last bits.

mod activation;
mod backward;
mod columns;
mod forward;
mod gradient;
mod initial;
mod layout;
mod loss;
mod matrix;
mod mean;
pub mod optimiser;
mod regrid;
mod schedule;
mod workspace;

pub use gradient::{Batch, CHUNK, Gradient, NotFinite, Trainer};
pub use initial::{initial, layer_scale};
pub use layout::{AffineAt, BlockAt, Kind, Layout, LinearAt, Shape, ShapeError, TensorAt};
pub use loss::cross_entropy;
pub use mean::Mean;
pub use regrid::regrid;
pub use schedule::Schedule;
