//! Comparisons of kernels for 16-bit weights, within a tolerance.

use alloc::vec::Vec;

use half::f16;

use super::for_every_table;
use super::random::{Random, power};
use crate::format::Activation;
use crate::kernels::operands::{FloatColumns, MixColumns, MixRows, RightFloats, RightHalves, Rows};
use crate::kernels::scalar;
use crate::kernels::table::{Kernels, Mismatch};
use crate::parallel::Block;

fn halves(random: &mut Random, len: usize) -> Vec<u16> {
    random.many(len, |r| f16::from_f32((r.next() as i32 as f32) * power(-32)).to_bits())
}

fn assert_close(found: &[f32], expected: &[f32], k: usize, kernels: &Kernels) {
    let largest = expected.iter().fold(1.0, |m: f32, x| m.max(x.abs()));
    // If activations are rounded to 16 bits too, this error adds to those of the sums.
    let (unit, before) = if kernels.rounds_sums_of_16_bit_models() { (5e-4, 1.0) } else { (1e-6, 0.0) };
    for (found, expected) in found.iter().zip(expected) {
        let error = ((found - expected).abs() / (unit * largest) - before).max(0.0);
        assert!(error * error <= k as f32, "{}: {found}, expected {expected}, k {k}", kernels.name);
    }
}

pub fn sixteen_bit_layers_are_close() {
    layers_are_close(Kernels::add_f16);
}

pub fn sixteen_bit_gelu_is_close() {
    layers_are_close(|kernels, left, right, columns, out| {
        kernels.hidden_f16(Activation::Gelu, left, right, columns, out)
    });
}

pub fn sixteen_bit_gelu_tanh_is_close() {
    layers_are_close(|kernels, left, right, columns, out| {
        kernels.hidden_f16(Activation::GeluTanh, left, right, columns, out)
    });
}

pub fn sixteen_bit_relu_is_close() {
    layers_are_close(|kernels, left, right, columns, out| {
        kernels.hidden_f16(Activation::Relu, left, right, columns, out)
    });
}

/// A kernel for the rows of a linear layer, in its checked form.
type Layer = fn(&Kernels, Rows, RightHalves, FloatColumns, &mut Block) -> Result<(), Mismatch>;

fn layers_are_close(layer: Layer) {
    for_every_table(|kernels, _, random| {
        let (most_rows, most_k) = random.pick(&[(70, 700), (70, 700), (70, 700), (230, 40)]);
        let (rows, k) = (1 + random.below(most_rows), 1 + random.below(most_k));
        let panel = random.pick(&[8, 8, 8, 4]);
        let width = panel * (1 + random.below(14));
        let stride = k + random.below(3);
        let mut data = random.many(rows * stride, |r| (r.next() as i32 as f32) * power(-31));
        // These rows exceed every 16-bit number.
        let size = |r: &mut Random| power(r.below(50) as i32 - 25);
        data.chunks_mut(stride)
            .zip(random.many(rows, size))
            .for_each(|(row, size)| row.iter_mut().for_each(|x| *x *= size));
        let right = halves(random, width * k);
        let right = RightHalves { data: &right, width: panel };
        let unit = |r: &mut Random| (r.next() as i32 as f32) * power(-31);
        let (bias, scale) = (random.many(width, unit), random.many(width, unit));
        let left = Rows { data: &data, stride, rows };
        let columns = FloatColumns { bias: &bias, scale: &scale };
        let stream = random.many(rows * width, unit);
        let [expected, found] = [&scalar::KERNELS, kernels].map(|kernels| {
            let mut stream = stream.clone();
            layer(kernels, left, right, columns, &mut Block::new(&mut stream, width)).unwrap();
            stream
        });
        assert_close(&found, &expected, k, kernels);
    });
}

pub fn sixteen_bit_patch_mixing_is_close() {
    for_every_table(|kernels, _, random| {
        let (most_rows, most_k) = random.pick(&[(20, 300), (20, 300), (20, 300), (230, 20)]);
        let (count, k, panel) = (1 + random.below(most_rows), 1 + random.below(most_k), random.pick(&[8, 8, 4]));
        let columns = random.pick(&[8, 8, 8, 4]);
        let (width, rows) = (columns * (1 + random.below(60)), count.next_multiple_of(panel));
        let unit = |r: &mut Random| (r.next() as i32 as f32) * power(-31);
        let left = halves(random, rows * k);
        let size = power(random.below(50) as i32 - 25);
        let right = random.many(k * width, |r| unit(r) * size);
        let right = RightFloats { data: &right, width: columns };
        let [scale, sum, bias] = &[0; 3].map(|_| random.many(rows, unit));
        let mix_rows = MixRows { correction: &[], scale, sum, bias };
        let [scale, sum_gain, bias_gain] = &[0; 3].map(|_| random.many(width, unit));
        let columns = MixColumns { scale, sum_gain, bias_gain };
        let stream = random.many(count * width, unit);
        let [expected, found] = [&scalar::KERNELS, kernels].map(|kernels| {
            let mut stream = stream.clone();
            kernels.mix_f16(panel, &left, right, mix_rows, columns, &mut Block::new(&mut stream, width)).unwrap();
            stream
        });
        assert_close(&found, &expected, k, kernels);
    });
}
