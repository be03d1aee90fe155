//! Every table that this CPU has against the scalar one, bit for bit: random shapes with tails, and values that saturate.
//! What has 16-bit weights is compared within a tolerance.
//!
//! With the feature `kernel-tests` the same comparisons are functions that a program on a bare machine calls.

use alloc::vec;
use alloc::vec::Vec;

use half::f16;

use super::{
    FloatColumns, GeluColumns, Hidden, Kernels, MixColumns, MixRows, Product, Quantiser, RightFloats, RightHalves,
    Rows, StreamColumns, scalar,
};
use crate::format::{GELU_ENTRIES, Layout, MAX_FIXED};
use crate::parallel::Block;

/// SplitMix64: the same cases on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn many<T>(&mut self, len: usize, make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut make = make;
        (0..len).map(|_| make(self)).collect()
    }

    /// Bytes of one of several kinds: any, all the same extreme, or extremes mixed.
    fn bytes(&mut self, len: usize, low: u8) -> Vec<u8> {
        let extreme = self.pick(&[low, 127, low, 127, 0]);
        match self.below(4) {
            0 => vec![extreme; len],
            1 => self.many(len, |r| r.pick(&[low, 127])),
            _ => self.many(len, |r| r.next() as u8),
        }
        .into_iter()
        .map(|b| if low == WEIGHT_LOW && b == 0x80 { low } else { b })
        .collect()
    }

    fn sum(&mut self) -> i32 {
        let any = self.next() as i32;
        self.pick(&[0, 1, any, any >> 8, any >> 16, i32::MAX, i32::MIN])
    }

    /// Multipliers that round many sums to ties, that lose all, and that saturate everything.
    fn multiplier(&mut self) -> f32 {
        let any = (self.next() as i32 as f32) * power(-31);
        let exponent = self.below(60) as i32 - 40;
        self.pick(&[0.5, -0.25, 0.0, 0.125, any, any, any * power(exponent), power(30), power(-140)])
    }

    fn fraction(&mut self) -> i32 {
        let any = (self.next() >> 34) as i32;
        let exponent = self.below(31);
        self.pick(&[any >> exponent, any >> exponent, any, 0, 1, MAX_FIXED / 2, MAX_FIXED - 1])
    }

    fn number(&mut self) -> f32 {
        let any = (self.next() as i32 as f32) * power(-31);
        self.pick(&[any, any, 4.0 * any, 300.0 * any, 1e30 * any, 0.0, -0.0, 0.5, 1e-42])
    }
}

const WEIGHT_LOW: u8 = 0x81;
const ACTIVATION_LOW: u8 = 0x80;

/// 2^exponent, without the standard library.
fn power(exponent: i32) -> f32 {
    match exponent {
        ..-126 => f32::from_bits(1 << (exponent + 149)),
        _ => f32::from_bits(((exponent + 127) as u32) << 23),
    }
}

/// A product's operands and dimensions.
struct Case {
    layout: Layout,
    k: usize,
    /// Columns of all right panels.
    columns: usize,
    /// Rows of all panels, and of the result.
    rows: [usize; 2],
    left: Vec<u8>,
    right: Vec<u8>,
}

impl Case {
    /// `lows` are the least values of the left and the right operand.
    fn new(random: &mut Random, layout: Layout, lows: [u8; 2]) -> Self {
        // Some tables take several right panels at a time.
        let panels = random.pick(&[1, 1, 1, 1, 2, 3, 9]);
        Self::with_panels(random, layout, lows, panels)
    }

    fn with_panels(random: &mut Random, layout: Layout, lows: [u8; 2], panels: usize) -> Self {
        let groups = [1usize, 2, 3, 5, 16, 17, 48, 95, 96, 97, 200, 240, 384];
        let k = random.pick(&groups) * 4;
        let k = k.next_multiple_of(layout.group as usize);
        let count = random.pick(&[1usize, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 31, 32, 33, 40, 49, 65, 130]);
        let rows = count.next_multiple_of(layout.rows as usize);
        let left = random.bytes(rows * k, lows[0]);
        let columns = panels * layout.columns as usize;
        let right = random.bytes(columns * k, lows[1]);
        Self { layout, k, columns, rows: [rows, count], left, right }
    }

    fn product(&self) -> Product<'_> {
        Product { layout: self.layout, k: self.k, rows: self.rows[1], left: &self.left, right: &self.right }
    }
}

const ACTIVATIONS_LEFT: [u8; 2] = [ACTIVATION_LOW, WEIGHT_LOW];
const WEIGHTS_LEFT: [u8; 2] = [WEIGHT_LOW, ACTIVATION_LOW];
const CASES: u64 = if cfg!(miri) {
    1
} else if cfg!(test) {
    300
} else {
    40
};

/// Runs `test` for every table but the scalar one, with many seeds.
fn for_every_table(test: impl Fn(&'static Kernels, Layout, &mut Random)) {
    for kernels in Kernels::supported().filter(|k| k.name != "scalar") {
        for seed in 0..CASES {
            let layout = kernels.layout.unwrap_or(Layout { rows: 3, columns: 5, group: 4, offset: 128 });
            test(kernels, layout, &mut Random(seed));
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// A stream of `rows` rows that is wider than the `columns` at `first` in it, and what `run` makes of each copy of it.
fn on_streams(
    random: &mut Random,
    [rows, columns]: [usize; 2],
    mut run: impl FnMut(bool, &mut Block),
) -> [Vec<f32>; 2] {
    let first = random.pick(&[0, columns, 3]);
    let stride = first + columns + random.pick(&[0, 8, 1]);
    let stream = random.many(rows * stride, Random::number);
    [true, false].map(|oracle| {
        let mut stream = stream.clone();
        run(oracle, &mut Block::new(&mut stream, stride).part(0..rows, first..first + columns));
        stream
    })
}

#[cfg_attr(test, test)]
fn sums_added_to_the_stream_are_identical() {
    for_every_table(|kernels, layout, random| {
        let case = Case::new(random, layout, ACTIVATIONS_LEFT);
        let width = case.columns;
        let (bias, scale) = (random.many(width, Random::sum), random.many(width, Random::multiplier));
        let columns = StreamColumns { bias: &bias, scale: &scale };
        let [expected, found] = on_streams(random, [case.rows[1], width], |oracle, stream| {
            let kernels = if oracle { &scalar::KERNELS } else { kernels };
            kernels.add(case.product(), columns, stream).unwrap();
        });
        assert_eq!(bits(&found), bits(&expected), "{}: {:?} k {}", kernels.name, case.rows, case.k);
    });
}

#[cfg_attr(test, test)]
fn patch_mixing_is_identical() {
    for_every_table(|kernels, layout, random| {
        let case = Case::new(random, layout, WEIGHTS_LEFT);
        let width = case.columns;
        let correction = random.many(case.rows[0], Random::sum);
        let per_row = [0; 3].map(|_| random.many(case.rows[0], Random::multiplier));
        let per_column = [0; 3].map(|_| random.many(width, Random::multiplier));
        let [scale, sum, bias] = &per_row;
        let rows = MixRows { correction: &correction, scale, sum, bias };
        let [scale, sum_gain, bias_gain] = &per_column;
        let columns = MixColumns { scale, sum_gain, bias_gain };
        let [expected, found] = on_streams(random, [case.rows[1], width], |oracle, stream| {
            let kernels = if oracle { &scalar::KERNELS } else { kernels };
            kernels.mix(case.product(), rows, columns, stream).unwrap();
        });
        assert_eq!(bits(&found), bits(&expected), "{}: {:?} k {}", kernels.name, case.rows, case.k);
    });
}

#[cfg_attr(test, test)]
fn hidden_activations_are_identical() {
    for_every_table(|kernels, layout, random| {
        let case = Case::new(random, layout, ACTIVATIONS_LEFT);
        let width = case.columns;
        let (bias, scale) = (random.many(width, Random::sum), random.many(width, Random::fraction));
        let requantise = random.many(width, |r| r.pick(&[0, 1, 40, 129, 1 << 14, i16::MAX]));
        let zero = random.many(width, |r| r.next() as i8);
        let table: [u8; GELU_ENTRIES] = random.many(GELU_ENTRIES, |r| r.next() as u8).try_into().unwrap();
        let shift = random.below(8) as u32;
        let hidden_k = (2 * width + layout.columns as usize).next_multiple_of(layout.group as usize);
        let first = random.pick(&[0, layout.columns as usize, width]);
        // The panels are a part of wider ones.
        let [before, behind] = [0; 2].map(|_| random.below(3) * layout.group as usize);
        let results = [&scalar::KERNELS, kernels].map(|kernels| {
            let rows = layout.rows as usize;
            let stride = rows * (before + hidden_k + behind);
            let mut bytes = vec![0xa5; case.rows[0] / rows * stride];
            let columns =
                GeluColumns { bias: &bias, scale: &scale, requantise: &requantise, zero: &zero, table: &table, shift };
            let mut all = Block::new(&mut bytes, stride);
            let mut panels = all.part(0..case.rows[0] / rows, rows * before..rows * (before + hidden_k));
            kernels.gelu(case.product(), columns, Hidden { panels: &mut panels, first }).unwrap();
            // Rows that only fill the last panel up may hold anything.
            for (row, k) in (case.rows[1]..case.rows[0]).flat_map(|row| (0..hidden_k).map(move |k| (row, k))) {
                panels.row_mut(row / rows)[layout.index(rows, 0, row % rows, k)] = 0;
            }
            bytes
        });
        assert!(results[0] == results[1], "{}: {:?} k {} shift {shift}", kernels.name, case.rows, case.k);
    });
}

/// All 16-bit numbers in GELU units go through every shift.
#[cfg_attr(test, test)]
fn every_gelu_index_is_looked_up() {
    for_every_table(|kernels, layout, random| {
        let (rows, width) = (layout.rows as usize, layout.columns as usize);
        if random.0 >= 64 {
            return;
        }
        let shift = random.0 as u32 % 8;
        let table: [u8; GELU_ENTRIES] = random.many(GELU_ENTRIES, |r| r.next() as u8).try_into().unwrap();
        let (k, hidden_k) = (layout.group as usize, width.next_multiple_of(layout.group as usize));
        let (left, right) = (vec![0; rows * k], vec![0; width * k]);
        let product = Product { layout, k, rows, left: &left, right: &right };
        for start in (-(1 << 15)..1 << 15).step_by(if cfg!(miri) { 8192 } else { 16 * width }) {
            let bias: Vec<i32> = (0..width as i32).map(|i| 4 * (start + 16 * i + random.below(16) as i32)).collect();
            let results = [&scalar::KERNELS, kernels].map(|kernels| {
                let mut panels = vec![0; rows * hidden_k];
                let columns = GeluColumns {
                    bias: &bias,
                    scale: &vec![MAX_FIXED / 2; width],
                    requantise: &vec![i16::MAX; width],
                    zero: &vec![if start < 0 { 100 } else { 0 }; width],
                    table: &table,
                    shift,
                };
                let hidden = Hidden { panels: &mut Block::new(&mut panels, rows * hidden_k), first: 0 };
                kernels.gelu(product, columns, hidden).unwrap();
                panels
            });
            assert_eq!(results[1], results[0], "{}: from {start}, shift {shift}", kernels.name);
        }
    });
}

#[cfg_attr(test, test)]
fn sums_alone_are_identical() {
    for_every_table(|kernels, layout, random| {
        let case = Case::with_panels(random, layout, ACTIVATIONS_LEFT, 1);
        let results = [&scalar::KERNELS, kernels].map(|kernels| {
            let mut sums = vec![0; case.rows[1] * layout.columns as usize];
            kernels.sums(case.product(), &mut sums).unwrap();
            sums
        });
        assert!(results[0] == results[1], "{}: {:?} k {}", kernels.name, case.rows, case.k);
    });
}

#[cfg_attr(test, test)]
fn quantised_rows_are_identical() {
    for_every_table(|kernels, layout, random| {
        let columns = (random.pick(&[1, 2, 3, 6, 25]) * 4usize).next_multiple_of(layout.group as usize);
        let rows = 1 + random.below(20);
        let (panel, panels) = (layout.rows as usize, rows.div_ceil(layout.rows as usize));
        // The panels are a part of wider ones.
        let [before, behind] = [0; 2].map(|_| panel * random.below(3) * layout.group as usize);
        let stride = before + panel * columns + behind;
        let (scale, offset) = (random.many(columns, Random::multiplier), random.many(columns, Random::number));
        let quantiser = Quantiser { scale: &scale, offset: &offset };
        let mut outs = [vec![0x5a; panels * stride], vec![0x5a; panels * stride]];
        on_streams(random, [rows, columns], |oracle, stream| {
            let kernels = if oracle { &scalar::KERNELS } else { kernels };
            let mut all = Block::new(&mut outs[usize::from(oracle)], stride);
            let mut out = all.part(0..panels, before..before + panel * columns);
            kernels.quantise_rows(layout, stream, quantiser, &mut out).unwrap();
            // Rows that only fill the last panel up may hold anything.
            for (row, k) in (rows..panels * panel).flat_map(|row| (0..columns).map(move |k| (row, k))) {
                out.row_mut(row / panel)[layout.index(panel, 0, row % panel, k)] = 0;
            }
        });
        assert!(outs[0] == outs[1], "{}: {rows} × {columns}", kernels.name);
    });
}

#[cfg_attr(test, test)]
fn quantised_columns_are_identical() {
    for_every_table(|kernels, layout, random| {
        let (rows, columns) = (1 + random.below(40), layout.columns as usize);
        let padded = rows.next_multiple_of(layout.group as usize);
        let (scale, offset) = (random.many(columns, Random::multiplier), random.many(columns, Random::number));
        let quantiser = Quantiser { scale: &scale, offset: &offset };
        let mut outs = [vec![0x5a; padded * columns], vec![0x5a; padded * columns]];
        on_streams(random, [rows, columns], |oracle, stream| {
            let kernels = if oracle { &scalar::KERNELS } else { kernels };
            kernels.quantise_columns(layout, stream, quantiser, &mut outs[usize::from(oracle)]).unwrap();
        });
        assert!(outs[0] == outs[1], "{}: {rows} rows", kernels.name);
    });
}

fn halves(random: &mut Random, len: usize) -> Vec<u16> {
    random.many(len, |r| f16::from_f32((r.next() as i32 as f32) * power(-32)).to_bits())
}

fn assert_close(found: &[f32], expected: &[f32], k: usize, kernels: &Kernels) {
    let largest = expected.iter().fold(1.0, |m: f32, x| m.max(x.abs()));
    // Where activations are rounded to 16 bits too, that is an error beside those of the sums.
    let (unit, before) = if kernels.rounds_sums_of_16_bit_models() { (5e-4, 1.0) } else { (1e-6, 0.0) };
    for (found, expected) in found.iter().zip(expected) {
        let error = ((found - expected).abs() / (unit * largest) - before).max(0.0);
        assert!(error * error <= k as f32, "{}: {found}, expected {expected}, k {k}", kernels.name);
    }
}

#[cfg_attr(test, test)]
fn sixteen_bit_layers_are_close() {
    for_every_table(|kernels, _, random| {
        let (most_rows, most_k) = random.pick(&[(70, 700), (70, 700), (70, 700), (230, 40)]);
        let (rows, k) = (1 + random.below(most_rows), 1 + random.below(most_k));
        let panel = random.pick(&[8, 8, 8, 4]);
        let width = panel * (1 + random.below(14));
        let stride = k + random.below(3);
        let mut data = random.many(rows * stride, |r| (r.next() as i32 as f32) * power(-31));
        // Rows that no 16-bit number could hold.
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
        for gelu in [false, true] {
            let [expected, found] = [&scalar::KERNELS, kernels].map(|kernels| {
                let mut stream = stream.clone();
                let mut block = Block::new(&mut stream, width);
                match gelu {
                    true => kernels.gelu_f16(left, right, columns, &mut block),
                    false => kernels.add_f16(left, right, columns, &mut block),
                }
                .unwrap();
                stream
            });
            assert_close(&found, &expected, k, kernels);
        }
    });
}

#[cfg_attr(test, test)]
fn sixteen_bit_patch_mixing_is_close() {
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

/// All of the above with their names, for programs on machines without a test harness. They panic where tables differ.
#[cfg(feature = "kernel-tests")]
pub const COMPARISONS: &[(&str, fn())] = &[
    ("sums_added_to_the_stream_are_identical", sums_added_to_the_stream_are_identical),
    ("patch_mixing_is_identical", patch_mixing_is_identical),
    ("hidden_activations_are_identical", hidden_activations_are_identical),
    ("every_gelu_index_is_looked_up", every_gelu_index_is_looked_up),
    ("sums_alone_are_identical", sums_alone_are_identical),
    ("quantised_rows_are_identical", quantised_rows_are_identical),
    ("quantised_columns_are_identical", quantised_columns_are_identical),
    ("sixteen_bit_layers_are_close", sixteen_bit_layers_are_close),
    ("sixteen_bit_patch_mixing_is_close", sixteen_bit_patch_mixing_is_close),
];
