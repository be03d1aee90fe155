//! Arm's M profile (Cortex-M): the tables.

mod detect;
mod int8_dsp;

use super::table::Kernels;

/// Best first.
pub(super) static TABLES: &[&Kernels] = &[&int8_dsp::KERNELS];
