//! Compares every table that this CPU has with the scalar one.
//!
//! With the feature `kernel-tests` the same comparisons are functions that a program on a bare machine calls.

mod f16;
mod int8;
mod random;

use super::scalar;
use super::table::{F16, Int8, Kernels};
use crate::format::Layout;
use random::Random;

/// Lists the comparisons of each function in a table, and makes tests of them.
///
/// The list must name all fields of a table, so that a new function without a comparison does not compile.
macro_rules! comparisons {
    ($($module:ident of $table:ident, besides $($size:ident),+ {
        $($function:ident: $($comparison:ident),+;)+
    })+) => {
        $(const _: fn(&$table) = |$table { $($function: _,)+ $($size: _),+ }| ();)+

        $($($(
            #[cfg(test)]
            #[test]
            #[cfg_attr(miri, ignore = "Miri runs the scalar table alone")]
            fn $comparison() {
                match others().next() {
                    Some(_) => $module::$comparison(),
                    None => std::println!("skipped: {} (needs a CPU with vector instructions)", stringify!($comparison)),
                }
            }
        )+)+)+

        /// All comparisons with their names, for programs on machines without a test harness. They panic if tables
        /// differ.
        #[cfg(feature = "kernel-tests")]
        pub const COMPARISONS: &[(&str, fn())] =
            &[$($($((stringify!($comparison), $module::$comparison as fn())),+),+),+];
    };
}

comparisons! {
    int8 of Int8, besides tiles {
        quantise_rows: quantised_rows_are_identical;
        quantise_columns: quantised_columns_are_identical;
        add: sums_added_to_the_stream_are_identical;
        mix: patch_mixing_is_identical;
        gelu: hidden_activations_are_identical, every_gelu_index_is_looked_up;
        sums: sums_alone_are_identical;
    }
    f16 of F16, besides rounds_sums, tiles {
        add: sixteen_bit_layers_are_close;
        gelu: sixteen_bit_gelu_is_close;
        gelu_tanh: sixteen_bit_gelu_tanh_is_close;
        relu: sixteen_bit_relu_is_close;
        mix: sixteen_bit_patch_mixing_is_close;
    }
}

/// Number of random cases for each comparison and table. It is smaller for bare machines, because they are emulated
/// slowly.
const CASES: u64 = if cfg!(test) { 300 } else { 40 };

/// Returns every table that this CPU can run but the scalar one. The tests beside an architecture's tables say which
/// ones a CPU has.
fn others() -> impl Iterator<Item = &'static Kernels> {
    Kernels::supported().filter(|&kernels| !core::ptr::eq(kernels, &scalar::KERNELS))
}

/// Runs `compare` for every table but the scalar one, with many seeds.
///
/// # Panics
/// Panics if the CPU supports no table but the scalar one, so that nothing would be compared.
fn for_every_table(compare: impl Fn(&'static Kernels, Layout, &mut Random)) {
    assert!(others().next().is_some(), "this CPU has the scalar table alone, so there is nothing to compare it with");
    for kernels in others() {
        for seed in 0..CASES {
            let layout = kernels.layout.unwrap_or(Layout { rows: 3, columns: 5, group: 4, offset: 128 });
            compare(kernels, layout, &mut Random(seed));
        }
    }
}
