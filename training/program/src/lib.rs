//! Trains a ResMLP on a desktop's CPU, from a folder of labelled pictures to a checked, packed model.
//!
//! ```text
//! data set ─ Loader ─► batches ─ Course (Trainer, Optimiser, Mean) ─► checkpoint ─ finish ─► packed model, findings
//! ```
//!
//! A [`Course`](course::Course) trains and owns the [`State`](state::State), which is all that has to be saved so that
//! training can go on after an interruption as if there had been none. The verbs of the program put these parts
//! together.

pub mod checkpoint;
pub mod course;
pub mod error;
pub mod finish;
pub mod recipe;
pub mod report;
pub mod state;

pub use error::{Error, Result};
