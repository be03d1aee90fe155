//! Lists the tables for Arm's M profile (Cortex-M).

mod detect;
mod int8_dsp;

use super::table::Kernels;

/// The tables, best first.
pub(super) static TABLES: &[&Kernels] = &[&int8_dsp::KERNELS];
