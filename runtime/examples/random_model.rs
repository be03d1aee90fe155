//! Runs a model of the official S12 shape with random weights: what it costs does not depend on their values.
//!
//! ```text
//! cargo run --release -p resmlp-runtime --example random_model -- [kernels [runs [threads [int8 | f16]]]]
//! ```
//!
//! Prints the kernels' name, a checksum of the logits' bits (in `int8` the same for every table and number of threads), and the
//! time and multiply-accumulate rate of each kind of stage, of every stage's fastest run. Executed instructions per inference are
//! those of a process with two runs less those of a process with one.

use std::time::{Duration, Instant};

use resmlp_runtime::format::{Element, Extent, HEADER_LEN, MAGIC, Map, Shape, Slot, VERSION, field};
use resmlp_runtime::{
    AlignedBytes, Dims, Engine, Kernels, Layout, Model, ParallelFor, Precision, Stage, Threads, checksum,
};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kernels =
        arguments.next().map_or_else(Kernels::fastest, |name| Kernels::named(&name).expect("kernels by name"));
    let [runs, threads] = [1, 1].map(|default| arguments.next().map_or(default, |a| a.parse().expect("a number")));
    let (precision, layout) = match arguments.next().as_deref() {
        Some("f16") => (Precision::F16, Layout::F16),
        _ => (Precision::Int8, kernels.layout().unwrap_or(Layout::DEFAULT)),
    };
    let bytes = random_model(&s12(precision, layout));
    let model = Model::parse(&bytes).expect("a valid model");
    let engine = Engine::new(model, kernels, Threads::new(threads).expect("threads")).expect("kernels for this layout");
    report(&engine, runs);
}

fn s12(precision: Precision, layout: Layout) -> Dims {
    Dims {
        precision,
        image: [224, 224],
        patch: 16,
        dim: 384,
        hidden: 1536,
        depth: 12,
        outputs: 1000,
        has_head: true,
        has_gains: false,
        layout,
    }
}

/// Times `runs` forward passes, by kind of stage.
fn report<P: ParallelFor>(engine: &Engine<P>, runs: usize) {
    let dims = *engine.model().dims();
    let image: Vec<u8> = random(1).take(dims.image[0] * dims.image[1] * 3).map(|v| v as u8).collect();
    let mut scratch = vec![0; engine.scratch_len()];
    let mut logits = vec![0.0; dims.outputs];
    let mut fastest = vec![Duration::MAX; 2 * dims.depth + 2];
    for _ in 0..runs {
        let mut last = Instant::now();
        let mut observe = |stage, _: &[f32]| {
            let time = std::mem::replace(&mut last, Instant::now()).elapsed();
            let fastest = &mut fastest[index(stage)];
            *fastest = time.min(*fastest);
        };
        engine.run_observed(&image, &mut scratch, &mut logits, &mut observe).expect("a run");
    }
    let bits: Vec<u8> = logits.iter().flat_map(|l| l.to_bits().to_le_bytes()).collect();
    println!("{} {:?} logits {:08x}", engine.kernels().name(), dims.precision, checksum(&bits));
    let [n, d, h] = [dims.tokens(), dims.dim, dims.hidden].map(|v| v as u64);
    let [mix, mlp] = [n * n * d, 2 * n * d * h].map(|macs| macs * dims.depth as u64);
    let line = |name, times: &mut dyn Iterator<Item = &Duration>, macs: u64| {
        let seconds: f64 = times.map(Duration::as_secs_f64).sum();
        println!("{name:5} {:8.3} ms {:7.2} GMAC/s", 1e3 * seconds, 1e-9 * macs as f64 / seconds);
    };
    line("stem", &mut fastest.iter().take(1), n * d * dims.patch_len() as u64);
    line("head", &mut fastest.iter().skip(1).take(1), d * dims.outputs as u64);
    line("mix", &mut fastest.iter().skip(2).step_by(2), mix);
    line("mlp", &mut fastest.iter().skip(3).step_by(2), mlp);
    line("all", &mut fastest.iter(), dims.macs());
}

fn index(stage: Stage) -> usize {
    match stage {
        Stage::Stem => 0,
        Stage::Head => 1,
        Stage::Mix(block) => 2 + 2 * block,
        Stage::Mlp(block) => 3 + 2 * block,
    }
}

/// A valid file: weights without padding are random, and multipliers keep the activations lively.
fn random_model(dims: &Dims) -> AlignedBytes {
    let map = Map::new(dims, 0, 0).expect("a size");
    let mut bytes = AlignedBytes::zeroed(map.file_len());
    let mut random = random(2);
    for &slot in Slot::ALL {
        for block in 0..if slot.is_per_block() { dims.depth } else { 1 } {
            fill(slot, dims, &mut bytes[map.range(slot, block)], &mut random);
        }
    }
    header(dims, &mut bytes);
    let crc = checksum(&bytes);
    bytes[field::CHECKSUM..][..4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn fill(slot: Slot, dims: &Dims, bytes: &mut [u8], random: &mut impl Iterator<Item = u64>) {
    let int8 = dims.precision == Precision::Int8;
    let contraction = match slot {
        Slot::StemScale => dims.patch_len(),
        Slot::ContractScale => dims.hidden,
        _ => dims.dim,
    };
    // What turns a sum of random products into a number of about 1.
    let unit = if int8 { 1.0 / (74.0 * 40.0) } else { 2.0 } / (contraction as f32).sqrt();
    let value = match slot {
        Slot::ExpandScale if int8 => 512.0 * unit,
        Slot::StemScale | Slot::ExpandScale | Slot::HeadScale => unit,
        Slot::ContractScale => 0.2 * unit,
        Slot::MixRowScale => 1.0 / 14.0,
        Slot::MixScale if int8 => 0.2 / (74.0 * 40.0),
        Slot::MixScale => 0.4,
        Slot::MixInputScale | Slot::MlpInputScale => 30.0,
        _ => 0.01,
    };
    let exact = |extent: Extent| dims.exact(extent);
    let any = random.by_ref();
    match slot.shape() {
        Shape::Left(rows, k) | Shape::Right(rows, k) => {
            let panel = if matches!(slot.shape(), Shape::Left(..)) { dims.layout.rows } else { dims.layout.columns };
            let (size, padded) = (if int8 { 1 } else { 2 }, dims.padded(k));
            for (row, k) in (0..exact(rows)).flat_map(|row| (0..exact(k)).map(move |k| (row, k))) {
                let at = size * dims.layout.index(panel as usize, padded, row, k);
                let weight = any.next().unwrap_or(0);
                match int8 {
                    true => bytes[at] = ((weight % 255) as i64 - 127) as u8,
                    // ±(0.5..1)
                    false => bytes[at..][..2].copy_from_slice(&(0x3800 | weight as u16 & 0x83ff).to_le_bytes()),
                }
            }
        }
        Shape::Vector(Element::F32, _) => fill_with(bytes, value.to_le_bytes()),
        Shape::Vector(Element::I16, _) => fill_with(bytes, 5000i16.to_le_bytes()),
        Shape::Vector(..) => {}
        Shape::Gelu => {
            bytes
                .iter_mut()
                .enumerate()
                .for_each(|(i, b)| *b = (87.0 * (-((i as f32 - 96.0) / 60.0).powi(2)).exp()) as u8);
            bytes.iter_mut().skip(256).for_each(|shift| *shift = 2);
        }
    }
}

fn fill_with<const N: usize>(bytes: &mut [u8], value: [u8; N]) {
    bytes.as_chunks_mut().0.fill(value);
}

fn header(dims: &Dims, bytes: &mut AlignedBytes) {
    let len = bytes.len() as u64;
    let header = &mut bytes[..HEADER_LEN];
    header[field::MAGIC..][..8].copy_from_slice(&MAGIC);
    header[field::FILE_LEN..][..8].copy_from_slice(&len.to_le_bytes());
    let Layout { rows, columns, group, offset } = dims.layout;
    let sizes = [dims.patch, dims.dim, dims.hidden, dims.depth, dims.outputs].map(|v| v as u32);
    let fields = [
        (field::VERSION, VERSION),
        (field::PRECISION, u32::from(dims.precision == Precision::F16)),
        (field::IMAGE_HEIGHT, dims.image[0] as u32),
        (field::IMAGE_WIDTH, dims.image[1] as u32),
        (field::PATCH, sizes[0]),
        (field::DIM, sizes[1]),
        (field::HIDDEN, sizes[2]),
        (field::DEPTH, sizes[3]),
        (field::OUTPUTS, sizes[4]),
        (field::HAS_HEAD, u32::from(dims.has_head)),
        (field::ROWS, rows),
        (field::COLUMNS, columns),
        (field::GROUP, group),
        (field::OFFSET, offset),
        (field::CROP, 1f32.to_bits()),
        (field::STD, 1f32.to_bits()),
        (field::STD + 4, 1f32.to_bits()),
        (field::STD + 8, 1f32.to_bits()),
    ];
    for (at, value) in fields {
        header[at..][..4].copy_from_slice(&value.to_le_bytes());
    }
}

/// SplitMix64.
fn random(seed: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |i: u64| {
        let z = seed.wrapping_mul(0x1234_5678_9abc_def1).wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
