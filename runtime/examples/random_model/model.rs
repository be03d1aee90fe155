//! Makes models of any shape with random weights. Tests that need a model but no checkpoint include this file too.

use resmlp_runtime::format::{Element, HEADER_LEN, MAGIC, Map, Shape, Slot, VERSION, field};
use resmlp_runtime::{AlignedBytes, Arithmetic, Dims, Layout, WeightStorage, checksum};

/// Returns a valid packed model. Its weights are random, its padding is zero, and its multipliers keep the activations
/// from vanishing or saturating.
pub fn random_model(dims: &Dims) -> AlignedBytes {
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
    let int8 = dims.arithmetic() == Arithmetic::Int8;
    let contraction = match slot {
        Slot::StemScale => dims.patch_len(),
        Slot::ContractScale => dims.hidden,
        _ => dims.dim,
    };
    // This factor scales a sum of random products to about 1.
    let unit = if int8 { 1.0 / (74.0 * 40.0) } else { 2.0 } / (contraction as f32).sqrt();
    let value = match slot {
        Slot::ExpandScale if int8 => 2f32.powi(40) * unit,
        Slot::HeadScale if int8 => 1.0 / (74.0 * 4096.0 * (contraction as f32).sqrt()),
        Slot::StemScale | Slot::ExpandScale | Slot::HeadScale => unit,
        Slot::ContractScale => 0.2 * unit,
        Slot::MixRowScale => 1.0 / 14.0,
        Slot::MixScale if int8 => 0.2 / (74.0 * 40.0),
        Slot::MixScale => 0.4,
        Slot::MixInputScale | Slot::MlpInputScale => 30.0,
        Slot::MixStreamGain | Slot::MlpStreamGain => 1.0,
        // Sums over tokens of numbers of about 1 become 16-bit numbers that use both bytes.
        Slot::HeadInputScale => 4096.0 / (dims.tokens() as f32).sqrt(),
        _ => 0.01,
    };
    if bytes.is_empty() {
        return; // Models of these dimensions do not have this tensor.
    }
    match slot.shape() {
        Shape::Left(rows, k) | Shape::Right(rows, k) => {
            let panel = if matches!(slot.shape(), Shape::Left(..)) { dims.layout.rows } else { dims.layout.columns };
            let padded = dims.padded(k);
            for (row, k) in (0..dims.exact(rows)).flat_map(|row| (0..dims.exact(k)).map(move |k| (row, k))) {
                let at = dims.layout.index(panel as usize, padded, row, k);
                let weight = random.next().unwrap_or(0);
                match dims.weights {
                    WeightStorage::Int8 => bytes[at] = ((weight % 255) as i64 - 127) as u8,
                    // The magnitude is from 0.5 to 1.
                    WeightStorage::F16 => {
                        bytes[2 * at..][..2].copy_from_slice(&(0x3800 | weight as u16 & 0x83ff).to_le_bytes());
                    }
                }
            }
        }
        Shape::Vector(element, extent) => {
            for (bytes, random) in bytes.chunks_exact_mut(element.size()).zip(random).take(dims.exact(extent)) {
                match element {
                    Element::Fixed if int8 => {
                        bytes.copy_from_slice(&((value * around_one(random)) as i32).to_le_bytes())
                    }
                    Element::F32 | Element::Fixed => bytes.copy_from_slice(&(value * around_one(random)).to_le_bytes()),
                    Element::Bias if !int8 => bytes.copy_from_slice(&(value * around_one(random)).to_le_bytes()),
                    Element::I32 | Element::Bias => bytes.copy_from_slice(&(random as i32 >> 20).to_le_bytes()),
                    Element::I16 => bytes.copy_from_slice(&(random as i16 & 0x1fff).to_le_bytes()),
                    Element::I8 => bytes.copy_from_slice(&[random as u8 & 0x1f]),
                }
            }
        }
        Shape::Gelu => {
            for (i, entry) in bytes.iter_mut().enumerate() {
                *entry = (87.0 * (-((i as f32 - 96.0) / 60.0).powi(2)).exp()) as u8;
            }
            bytes.iter_mut().skip(256).for_each(|shift| *shift = 2);
        }
    }
}

/// Returns a number between 0.75 and 1.25.
fn around_one(random: u64) -> f32 {
    1.0 + (random as i16 as f32) / 131_072.0
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
        (field::PRECISION, dims.weights.code()),
        (field::IMAGE_HEIGHT, dims.image[0] as u32),
        (field::IMAGE_WIDTH, dims.image[1] as u32),
        (field::PATCH, sizes[0]),
        (field::DIM, sizes[1]),
        (field::HIDDEN, sizes[2]),
        (field::DEPTH, sizes[3]),
        (field::OUTPUTS, sizes[4]),
        (field::HAS_HEAD, u32::from(dims.has_head)),
        (field::HAS_GAINS, u32::from(dims.has_gains)),
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

/// Returns the numbers of the generator SplitMix64.
pub fn random(seed: u64) -> impl Iterator<Item = u64> {
    (0..).map(move |i: u64| {
        let z = seed.wrapping_mul(0x1234_5678_9abc_def1).wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
