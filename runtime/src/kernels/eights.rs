//! Sums of eight rows and columns, which the kernels for 16-bit weights have on aarch64 and x86-64.

use core::array::from_fn;

use super::scalar::mixed;
use super::{MixColumns, MixRows};
use crate::parallel::Block;

/// Adds the sums of 16-bit weights of up to eight rows, from `first` on, to eight columns of the stream.
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
