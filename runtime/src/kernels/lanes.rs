//! Cuts columns into groups of four and eight, for tables whose registers hold that many.

use core::array::from_fn;

use super::operands::{MixColumns, MixRows};
use crate::numerics::{self, mixed};
use crate::parallel::Block;

/// Returns the first `N` groups of four in `values`. The checked calls of [`Kernels`](super::Kernels) make sure that
/// there are as many.
pub(super) fn fours<T: Copy + Default, const N: usize>(values: &[T]) -> [[T; 4]; N] {
    values.as_chunks().0.first_chunk().copied().unwrap_or([[T::default(); 4]; N])
}

/// Adds the patch-mixing sums of up to eight rows, from `first` on, to eight columns of the stream. The weights have 16
/// bits.
#[inline]
pub(super) fn add_mixed(first: usize, sums: [[f32; 8]; 8], rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let gains = [columns.scale, columns.sum_gain, columns.bias_gain].map(|gains| gains.first_chunk::<8>());
    let [Some(scale), Some(sum_gain), Some(bias_gain)] = gains else { return };
    for (row, sums) in (first..stream.rows()).zip(sums) {
        let of_row = rows.of(row);
        let Some(y) = stream.row_mut(row).first_chunk_mut::<8>() else { return };
        *y = from_fn(|i| y[i] + mixed(sums[i], of_row, [scale[i], sum_gain[i], bias_gain[i]]));
    }
}

/// Applies the tanh approximation of GELU to eight numbers. The function is not inlined: its code is long, and firmware
/// holds it once for all layers that call it.
#[inline(never)]
pub(super) fn gelu_tanh(x: [f32; 8]) -> [f32; 8] {
    x.map(numerics::gelu_tanh)
}
