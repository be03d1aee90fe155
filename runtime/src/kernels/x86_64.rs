//! Lists the tables for x86-64, and holds the code that they share.
//!
//! * `tile_256` holds everything that the 8-bit tables with 256-bit registers do besides the products themselves;
//!   `int8_pairs` holds the products of the two AVX2 tables.
//! * `tile_512` and `gelu_512` hold what the tables with 512-bit registers share.
//! * `int8_amx`, `int8_avx512_vnni`, `int8_avx_vnni`, `int8_avx2_winograd` and `int8_avx2` are the tables.
//! * `f16_f16c` and `f16_avx512` multiply 16-bit weights; the tables choose one of them.

mod detect;
mod f16_avx512;
mod f16_f16c;
mod gelu_512;
mod int8_amx;
mod int8_avx2;
mod int8_avx2_winograd;
mod int8_avx512_vnni;
mod int8_avx_vnni;
mod int8_pairs;
mod tile_256;
mod tile_512;

use super::table::Kernels;

/// The tables, best first.
pub(super) static TABLES: &[&Kernels] = &[
    &int8_amx::KERNELS,
    &int8_avx512_vnni::KERNELS,
    &int8_avx_vnni::KERNELS,
    &int8_avx2_winograd::KERNELS,
    &int8_avx2::KERNELS,
];

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::TABLES;

    /// The standard library detects instructions independently of this crate, and knows nothing of AMX.
    #[test]
    fn the_tables_that_can_run_are_those_whose_instructions_the_standard_library_finds() {
        let avx2 = std::is_x86_feature_detected!("avx2")
            && std::is_x86_feature_detected!("fma")
            && std::is_x86_feature_detected!("f16c");
        let avx512 = std::is_x86_feature_detected!("avx512bw")
            && std::is_x86_feature_detected!("avx512vnni")
            && std::is_x86_feature_detected!("avx512vbmi");
        let expected = [
            ("x86_64-avx512-vnni", avx2 && avx512),
            ("x86_64-avx-vnni", avx2 && std::is_x86_feature_detected!("avxvnni")),
            ("x86_64-avx2-winograd", avx2),
            ("x86_64-avx2", avx2),
        ];
        let found: Vec<_> = TABLES.iter().skip(1).map(|kernels| (kernels.name(), (kernels.supported)())).collect();
        assert_eq!(found, expected);
        assert_eq!(TABLES.first().map(|kernels| kernels.name()), Some("x86_64-amx"));
    }
}
