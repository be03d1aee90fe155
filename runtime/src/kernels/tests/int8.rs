//! Compares 8-bit kernels bit for bit, on random shapes with tails and on values that saturate.

use alloc::vec;
use alloc::vec::Vec;

use super::for_every_table;
use super::random::{ACTIVATION_LOW, Random, WEIGHT_LOW};
use crate::format::{GELU_ENTRIES, Layout, MAX_FIXED};
use crate::kernels::operands::{GeluColumns, Hidden, MixColumns, MixRows, Product, Quantiser, StreamColumns};
use crate::kernels::scalar;
use crate::parallel::Block;

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
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Makes a random stream of `rows` rows that is wider than the `columns` columns from `first` on, and returns the
/// result of each `run` on a copy of it.
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

pub fn sums_added_to_the_stream_are_identical() {
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

pub fn patch_mixing_is_identical() {
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

pub fn hidden_activations_are_identical() {
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
        // The panels are a part of wider panels.
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
            // Rows that only fill up the last panel may hold anything.
            for (row, k) in (case.rows[1]..case.rows[0]).flat_map(|row| (0..hidden_k).map(move |k| (row, k))) {
                panels.row_mut(row / rows)[layout.index(rows, 0, row % rows, k)] = 0;
            }
            bytes
        });
        assert!(results[0] == results[1], "{}: {:?} k {} shift {shift}", kernels.name, case.rows, case.k);
    });
}

/// All 16-bit numbers in GELU units go through every shift.
pub fn every_gelu_index_is_looked_up() {
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
        for start in (-(1 << 15)..1 << 15).step_by(16 * width) {
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

pub fn sums_alone_are_identical() {
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

pub fn quantised_rows_are_identical() {
    for_every_table(|kernels, layout, random| {
        let columns = (random.pick(&[1, 2, 3, 6, 25]) * 4usize).next_multiple_of(layout.group as usize);
        let rows = 1 + random.below(20);
        let (panel, panels) = (layout.rows as usize, rows.div_ceil(layout.rows as usize));
        // The panels are a part of wider panels.
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
            // Rows that only fill up the last panel may hold anything.
            for (row, k) in (rows..panels * panel).flat_map(|row| (0..columns).map(move |k| (row, k))) {
                out.row_mut(row / panel)[layout.index(panel, 0, row % panel, k)] = 0;
            }
        });
        assert!(outs[0] == outs[1], "{}: {rows} × {columns}", kernels.name);
    });
}

pub fn quantised_columns_are_identical() {
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
