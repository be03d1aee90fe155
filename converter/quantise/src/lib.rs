//! Turns a folded network and calibration pictures into the bytes of a packed model.
//!
//! ```text
//! FoldedNetwork ── quantise ──► QuantisedNetwork ── pack ──► .rmlp bytes
//!       pictures ──┘
//! ```
//!
//! [`convert()`] goes the whole way from a trained network to the bytes. A [`Request`] may also ask for what quantising
//! each layer alone costs.

mod convert;
mod error;
mod gelu;
mod layers;
mod network;
pub mod pack;
mod quantise;
mod ranges;
mod sensitivity;
mod weights;

pub use convert::{Converted, Request, calibration_pictures, convert, doubts, steps};
pub use error::ConvertError;
pub use gelu::GeluTable;
pub use network::{
    QuantisedBlock, QuantisedHead, QuantisedLinear, QuantisedMix, QuantisedMlp, QuantisedNetwork, Quantiser,
};
pub use pack::{Extras, PackError};
pub use quantise::StageLoss;
pub use sensitivity::LayerCost;
