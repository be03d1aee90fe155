//! Every kernel in plain Rust. This is `NUMERICS.md` in executable form, and all other tables are compared with it.
//!
//! The kernels read panels of any shape, and their results do not depend on the shape.

use half::f16;

use super::operands::{
    FloatColumns, GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, RightFloats, RightHalves, Rows,
    StreamColumns,
};
use super::table::{F16, F16Tiles, Int8, Int8Tiles, Kernels, TileBytes};
use crate::format::Layout;
use crate::numerics::{self, gelu_by_table, gelu_units, mixed, quantise, requantise, scaled};
use crate::parallel::Block;

pub(super) static KERNELS: Kernels = Kernels {
    name: "scalar",
    layout: None,
    supported: || true,
    suits: || false,
    int8: Int8 {
        quantise_rows,
        quantise_columns,
        add,
        mix,
        gelu,
        sums,
        tiles: Int8Tiles { right_panels: 1, bytes: TileBytes::SMALL_CACHE },
    },
    f16: PLAIN,
};

/// Shared with tables for CPUs that have nothing faster for 16-bit weights.
pub(super) const PLAIN: F16 = F16 {
    add: add_f16,
    gelu: gelu_f16,
    gelu_tanh: gelu_tanh_f16,
    relu: relu_f16,
    mix: mix_f16,
    rounds_sums: false,
    tiles: F16Tiles { bytes: 210 << 10, mix_panels: 1 },
};

/// Returns the stored form of an 8-bit activation.
fn stored(activation: i32, layout: Layout) -> u8 {
    (activation as u8).wrapping_add(layout.offset as u8)
}

/// Sums the products of row `row` of the left matrix and column `column` of the right panel. `value` multiplies two
/// stored bytes.
fn sum(p: &Product, row: usize, column: usize, value: impl Fn(u8, u8) -> i32) -> i32 {
    let [panel, columns, group] = [p.layout.rows, p.layout.columns, p.layout.group].map(|v| (v as usize).max(1));
    let left = p.left.chunks_exact((panel * p.k).max(1)).nth(row / panel).unwrap_or(&[]);
    let left = left.chunks_exact(group).skip(row % panel).step_by(panel);
    let right = p.right.chunks_exact(group).skip(column).step_by(columns);
    let products = left.zip(right).flat_map(|(l, r)| l.iter().zip(r)).map(|(&l, &r)| value(l, r));
    products.fold(0, i32::wrapping_add)
}

/// Sums a row's and a column's products, with activations on the left and weights on the right.
fn activations_by_weights(p: &Product, row: usize, column: usize) -> i32 {
    match p.layout.offset {
        0 => sum(p, row, column, |l, r| i32::from(l as i8) * i32::from(r as i8)),
        _ => sum(p, row, column, |l, r| i32::from(l) * i32::from(r as i8)),
    }
}

/// Sums a row's and a column's products, with weights on the left and activations on the right.
fn weights_by_activations(p: &Product, row: usize, column: usize) -> i32 {
    match p.layout.offset {
        0 => sum(p, row, column, |l, r| i32::from(l as i8) * i32::from(r as i8)),
        _ => sum(p, row, column, |l, r| i32::from(l as i8) * i32::from(r)),
    }
}

/// Implements `Int8::quantise_rows`.
pub(super) fn quantise_rows(layout: Layout, stream: &Block, q: Quantiser, out: &mut Block<u8>) {
    let rows = (layout.rows as usize).max(1);
    for row in 0..stream.rows() {
        let panel = out.row_mut(row / rows);
        for (k, ((&x, &scale), &offset)) in stream.row(row).iter().zip(q.scale).zip(q.offset).enumerate() {
            if let Some(out) = panel.get_mut(layout.index(rows, 0, row % rows, k)) {
                *out = stored(quantise(x, scale, offset), layout);
            }
        }
    }
}

/// Implements `Int8::quantise_columns`.
pub(super) fn quantise_columns(layout: Layout, stream: &Block, q: Quantiser, out: &mut [u8]) {
    for row in 0..stream.rows() {
        for (column, ((&x, &scale), &offset)) in stream.row(row).iter().zip(q.scale).zip(q.offset).enumerate() {
            if let Some(out) = out.get_mut(layout.index(layout.columns as usize, 0, column, row)) {
                *out = stored(quantise(x, scale, offset), layout);
            }
        }
    }
}

/// Implements `Int8::add`.
pub(super) fn add(p: Product, columns: StreamColumns, stream: &mut Block) {
    for row in 0..stream.rows() {
        let coefficients = columns.bias.iter().zip(columns.scale);
        for (column, (y, (&bias, &scale))) in stream.row_mut(row).iter_mut().zip(coefficients).enumerate() {
            let sum = activations_by_weights(&p, row, column).wrapping_add(bias);
            *y += scaled(sum, scale);
        }
    }
}

/// Implements `Int8::mix`.
pub(super) fn mix(p: Product, rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let per_row = rows.correction.iter().zip(rows.scale).zip(rows.sum).zip(rows.bias).take(p.rows);
    for (row, (((&correction, &row_scale), &row_sum), &row_bias)) in per_row.enumerate() {
        let gains = columns.scale.iter().zip(columns.sum_gain).zip(columns.bias_gain);
        for (column, (y, ((&scale, &sum_gain), &bias_gain))) in stream.row_mut(row).iter_mut().zip(gains).enumerate() {
            let sum = weights_by_activations(&p, row, column).wrapping_add(correction);
            *y += mixed(sum as f32, [row_scale, row_sum, row_bias], [scale, sum_gain, bias_gain]);
        }
    }
}

/// Implements `Int8::gelu`.
pub(super) fn gelu(p: Product, columns: GeluColumns, hidden: Hidden) {
    for row in 0..p.rows {
        let coefficients = columns.bias.iter().zip(columns.scale).zip(columns.requantise).zip(columns.zero);
        for (column, (((&bias, &scale), &factor), &zero)) in coefficients.enumerate() {
            let sum = activations_by_weights(&p, row, column).wrapping_add(bias);
            let y = gelu_by_table(gelu_units(sum, scale), columns.table, columns.shift);
            let rows = (p.layout.rows as usize).max(1);
            let at = p.layout.index(rows, 0, row % rows, hidden.first + column);
            if let Some(out) = hidden.panels.row_mut(row / rows).get_mut(at) {
                *out = stored(requantise(y, factor, zero), p.layout);
            }
        }
    }
}

/// Implements `Int8::sums`.
pub(super) fn sums(p: Product, out: &mut [i32]) {
    let columns = (p.layout.columns as usize).max(1);
    for (row, out) in out.chunks_exact_mut(columns).enumerate() {
        for (column, out) in out.iter_mut().enumerate() {
            *out = activations_by_weights(&p, row, column);
        }
    }
}

/// Most columns of a panel: the sums of a row of 16-bit weights are held for that many.
const WIDTH: usize = 64;

/// Sums the products of a row and the columns of a right panel.
fn float_sums(left: &[f32], right: &[u16], width: usize) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for (l, r) in left.iter().zip(right.chunks_exact(width.max(1))) {
        for (sum, &r) in sums.iter_mut().zip(r) {
            *sum += l * f16::from_bits(r).to_f32();
        }
    }
    sums
}

/// Calls `store` with each output and `scale · (left · right) + bias`.
fn affine_rows(left: Rows, right: RightHalves, columns: FloatColumns, out: &mut Block, store: impl Fn(&mut f32, f32)) {
    right.for_each_panel(out, |panel, part, out| {
        let columns = columns.part(&part);
        for (row, left) in left.data.chunks_exact(left.stride.max(1)).take(left.rows).enumerate() {
            let sums = float_sums(left, panel, right.width);
            let coefficients = columns.scale.iter().zip(columns.bias);
            for ((out, sum), (&scale, &bias)) in out.row_mut(row).iter_mut().zip(sums).zip(coefficients) {
                store(out, sum * scale + bias);
            }
        }
    });
}

/// Implements `F16::add`.
pub(super) fn add_f16(left: Rows, right: RightHalves, columns: FloatColumns, stream: &mut Block) {
    affine_rows(left, right, columns, stream, |y, x| *y += x);
}

/// Implements `F16::gelu`.
pub(super) fn gelu_f16(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    affine_rows(left, right, columns, hidden, |y, x| *y = numerics::gelu(x));
}

/// Implements `F16::gelu_tanh`.
pub(super) fn gelu_tanh_f16(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    affine_rows(left, right, columns, hidden, |y, x| *y = numerics::gelu_tanh(x));
}

/// Implements `F16::relu`.
pub(super) fn relu_f16(left: Rows, right: RightHalves, columns: FloatColumns, hidden: &mut Block) {
    affine_rows(left, right, columns, hidden, |y, x| *y = numerics::relu(x));
}

/// Implements `F16::mix`.
pub(super) fn mix_f16(
    panel: usize,
    left: &[u16],
    right: RightFloats,
    rows: MixRows,
    columns: MixColumns,
    stream: &mut Block,
) {
    let panel = panel.max(1);
    right.for_each_panel(stream, |right, part, stream| {
        let width = part.len().max(1);
        let k = right.len() / width;
        for row in 0..stream.rows() {
            let weights = left.chunks_exact((panel * k).max(1)).nth(row / panel).unwrap_or(&[]);
            let weights = weights.iter().skip(row % panel).step_by(panel).map(|&w| f16::from_bits(w).to_f32());
            let mut sums = [0.0; WIDTH];
            for (w, right) in weights.zip(right.chunks_exact(width)) {
                for (sum, &r) in sums.iter_mut().zip(right) {
                    *sum += w * r;
                }
            }
            add_mixed(row, &sums, rows, columns.part(&part), stream);
        }
    });
}

/// Adds a row's patch-mixing sums to the stream.
fn add_mixed(row: usize, sums: &[f32], rows: MixRows, columns: MixColumns, stream: &mut Block) {
    let of_row = rows.of(row);
    let gains = columns.scale.iter().zip(columns.sum_gain).zip(columns.bias_gain);
    for ((y, &sum), ((&scale, &sum_gain), &bias_gain)) in stream.row_mut(row).iter_mut().zip(sums).zip(gains) {
        *y += mixed(sum, of_row, [scale, sum_gain, bias_gain]);
    }
}
