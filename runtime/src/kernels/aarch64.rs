//! Lists the tables for 64-bit ARM, and holds the code that they share.
//!
//! * `tile` holds everything that an 8-bit table does besides the products themselves, `tile_8x12` the loop of the
//!   tables with tiles of eight rows and twelve columns, and `gelu` what becomes of the sums of hidden units.
//! * Each `int8_…` file is a table. Cores that issue instructions in order have tables of their own.
//! * `f16_widening` and `f16_native` multiply 16-bit weights as `f32` and as 16-bit numbers; the tables choose one of
//!   them.

mod detect;
mod f16_native;
mod f16_widening;
mod gelu;
mod int8_dotprod;
mod int8_dotprod_in_order;
mod int8_i8mm;
mod int8_neon;
mod int8_neon_in_order;
mod tile;
mod tile_8x12;

use super::table::Kernels;

/// The tables, best first. Without the feature `every-core`, a program contains only the tables for the cores of
/// Raspberry Pis.
pub(super) static TABLES: &[&Kernels] = if cfg!(feature = "every-core") {
    &[
        &int8_i8mm::KERNELS,
        &int8_dotprod_in_order::KERNELS,
        &int8_dotprod::KERNELS,
        &int8_neon_in_order::KERNELS,
        &int8_neon::KERNELS,
    ]
} else {
    &[&int8_dotprod::KERNELS, &int8_neon_in_order::KERNELS, &int8_neon::KERNELS]
};

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::TABLES;

    /// The standard library detects instructions independently of this crate.
    #[test]
    fn the_tables_that_can_run_are_those_whose_instructions_the_standard_library_finds() {
        let fp16 = std::arch::is_aarch64_feature_detected!("fp16");
        let dotprod = fp16 && std::arch::is_aarch64_feature_detected!("dotprod");
        let expected = [
            ("aarch64-i8mm", fp16 && std::arch::is_aarch64_feature_detected!("i8mm")),
            ("aarch64-dotprod-in-order", dotprod),
            ("aarch64-dotprod", dotprod),
            ("aarch64-neon-in-order", true),
            ("aarch64-neon", true),
        ];
        let found: Vec<_> = TABLES.iter().map(|kernels| (kernels.name(), (kernels.supported)())).collect();
        // No Raspberry Pi has cores for the first two.
        assert_eq!(found, expected[if cfg!(feature = "every-core") { 0 } else { 2 }..]);
    }
}
