//! The parts from which the verbs of `resmlp` are made: the check against tract, packed models on this machine, card
//! images, and the serial line to a board. The stages of a conversion are crates of their own.

pub mod board_link;
pub mod card;
pub mod check;
pub mod classifier;
pub mod error;
pub mod locate;
pub mod output;
pub mod packed;
pub mod provenance;
pub mod reference;
pub mod target;
pub mod terminal;
pub mod tract;
