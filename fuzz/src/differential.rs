//! Makes arbitrary small networks and pictures, and checks that every kernel table gives the scalar table's logits,
//! both on one worker and on several.

use arbitrary::{Result, Unstructured};
use resmlp_runtime::format::{Element, Map, Shape, Slot, field};
use resmlp_runtime::{
    AlignedBytes, Arithmetic, Dims, Engine, Kernels, Layout, Model, ParallelFor, Serial, WeightStorage, checksum,
    repack,
};

#[path = "../../runtime/examples/random_model/model.rs"]
pub mod model;

/// The layouts that the kernel tables read.
const LAYOUTS: [Layout; 6] = [Layout::DEFAULT, Layout::NEON, Layout::I8MM, Layout::AVX_VNNI, Layout::VNNI, Layout::AMX];
/// The most multiply-accumulates of a model that is run. Larger models would take too long here.
pub const MOST_MACS: u64 = 500_000;
/// The most bytes of such a model, padding included.
const MOST_BYTES: usize = 1 << 18;
/// The largest magnitude of a multiplier that the format allows.
const LARGEST: f32 = resmlp_runtime::format::MAX_MULTIPLIER;

/// Takes a model, number by number, and a picture out of `data`, and compares all kernel tables on them.
pub fn run(data: &[u8]) {
    let _ = network(&mut Unstructured::new(data), data);
}

fn network(input: &mut Unstructured, data: &[u8]) -> Result<()> {
    let dims = dims(input)?;
    let mut file = model::random_model(&dims);
    let plain = input.ratio(1, 4)?;
    let numbers = input.peek_bytes(input.len()).unwrap_or(&[0]);
    let mut numbers = numbers.iter().copied().cycle();
    let Some(map) = Map::new(&dims, 0, 0) else { panic!("{dims:?} has no size") };
    for &slot in Slot::ALL {
        let blocks = if slot.is_per_block() { dims.depth } else { 1 };
        for tensor in (0..blocks).map(|block| map.range(slot, block)) {
            if !plain || matches!(slot.shape(), Shape::Left(..) | Shape::Right(..)) {
                fill(slot, &dims, &mut file[tensor], &mut numbers);
            }
        }
    }
    let sum = checksum(&file);
    file[field::CHECKSUM..][..4].copy_from_slice(&sum.to_le_bytes());
    match Model::parse(&file) {
        Ok(model) => on_every_table(&model, data),
        Err(error) => panic!("{error}: {dims:?}"),
    }
    Ok(())
}

/// Returns dimensions of a small model. Panels have any shape, and more often than not one that a kernel table reads.
pub fn dims(input: &mut Unstructured) -> Result<Dims> {
    let patch = input.int_in_range(1..=4)?;
    let weights = if input.ratio(1, 4)? { WeightStorage::F16 } else { WeightStorage::Int8 };
    let has_head = input.ratio(3, 4)?;
    let dim = input.int_in_range(1..=52)?;
    let layout = match weights {
        WeightStorage::F16 => {
            Layout { rows: input.int_in_range(1..=9)?, columns: input.int_in_range(1..=9)?, ..Layout::F16 }
        }
        WeightStorage::Int8 if input.ratio(1, 3)? => Layout {
            // Few of these panels pad a side to more than a hundred. Larger ones would leave no time for anything else.
            rows: input.int_in_range(1..=17)?,
            columns: input.int_in_range(1..=17)?,
            group: *input.choose(&[1, 2, 3, 4, 8, 16])?,
            offset: *input.choose(&[0, 128])?,
        },
        WeightStorage::Int8 => *input.choose(&LAYOUTS)?,
    };
    Ok(Dims {
        weights,
        image: [patch * input.int_in_range(1..=5)?, patch * input.int_in_range(1..=5)?],
        patch,
        dim,
        hidden: input.int_in_range(1..=60)?,
        depth: input.int_in_range(1..=2)?,
        outputs: if has_head { input.int_in_range(1..=60)? } else { dim },
        has_head,
        has_gains: input.arbitrary()?,
        layout: if weights == WeightStorage::F16 && input.arbitrary()? { Layout::F16 } else { layout },
    })
}

/// Fills a tensor, except for its padding, with numbers that the format allows.
fn fill(slot: Slot, dims: &Dims, tensor: &mut [u8], numbers: &mut impl Iterator<Item = u8>) {
    let int8 = dims.arithmetic() == Arithmetic::Int8;
    let mut bytes = || numbers.next().unwrap_or(0);
    if tensor.is_empty() {
        return; // such a model does not have this tensor
    }
    match slot.shape() {
        Shape::Left(rows, k) | Shape::Right(rows, k) => {
            let panel = if matches!(slot.shape(), Shape::Left(..)) { dims.layout.rows } else { dims.layout.columns };
            for (row, column) in (0..dims.exact(rows)).flat_map(|row| (0..dims.exact(k)).map(move |k| (row, k))) {
                let at = dims.layout.index(panel as usize, dims.padded(k), row, column);
                if int8 {
                    tensor[at] = Some(bytes()).filter(|&byte| byte != 0x80).unwrap_or(0x81);
                } else {
                    // An exponent of all ones stands for infinity or NaN, so its highest bit is cleared.
                    let half = u16::from_le_bytes([bytes(), bytes()]);
                    let half = if half & 0x7c00 == 0x7c00 { half & !0x4000 } else { half };
                    tensor[2 * at..][..2].copy_from_slice(&half.to_le_bytes());
                }
            }
        }
        Shape::Vector(element, extent) => {
            for place in tensor.chunks_exact_mut(element.size()).take(dims.exact(extent)) {
                match element {
                    Element::F32 => place.copy_from_slice(&multiplier([(); 4].map(|()| bytes())).to_le_bytes()),
                    Element::Bias | Element::Fixed if !int8 => {
                        place.copy_from_slice(&multiplier([(); 4].map(|()| bytes())).to_le_bytes())
                    }
                    Element::Fixed => place.copy_from_slice(&[bytes(), bytes(), bytes(), bytes() & 0x3f]),
                    Element::I16 => place.copy_from_slice(&[bytes(), bytes() & 0x7f]),
                    Element::I32 | Element::Bias | Element::I8 => place.fill_with(&mut bytes),
                }
            }
        }
        Shape::Gelu => {
            tensor.fill_with(&mut bytes);
            tensor.iter_mut().skip(256).for_each(|shift| *shift &= 7);
        }
    }
}

/// Returns a number with any exponent that the format allows.
fn multiplier(bytes: [u8; 4]) -> f32 {
    let any = f32::from_le_bytes(bytes);
    if any.abs() <= LARGEST { any } else { f32::from_bits(any.to_bits() & 0x9fff_ffff).clamp(-LARGEST, LARGEST) }
}

/// Runs the shares of three workers on one thread, the last share first. The work is cut as for threads, but nothing
/// waits.
struct Backwards;

// SAFETY: the loop calls `task` exactly once for each index of `0..count`, and no two calls at the same time.
unsafe impl ParallelFor for Backwards {
    fn workers(&self) -> usize {
        3
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).rev().for_each(task);
    }
}

/// Checks every kernel table as [`on_tables`] does.
///
/// # Panics
/// If two results differ, which is what the fuzzer looks for.
pub fn on_every_table(model: &Model, data: &[u8]) {
    on_tables(model, data, Kernels::supported());
}

/// Checks that each of the kernel tables, with weights rearranged for it, gives the scalar table's logits.
///
/// With 16-bit weights the tables may round differently. For such models each table runs on one worker and on several,
/// and the two results must be equal.
///
/// # Panics
/// If two results differ, which is what the fuzzer looks for.
pub fn on_tables(model: &Model, data: &[u8], tables: impl Iterator<Item = &'static Kernels>) {
    let dims = model.dims();
    if dims.macs() > MOST_MACS || model.bytes().len() > MOST_BYTES {
        return;
    }
    let pixels = data.iter().rev().chain(&[0]).copied().cycle();
    let picture: Vec<u8> = pixels.take(3 * dims.image[0] * dims.image[1]).collect();
    let scalar = logits(model, Kernels::scalar(), &Serial, &picture);
    for kernels in tables {
        let layout = kernels.layout().filter(|_| dims.arithmetic() == Arithmetic::Int8).unwrap_or(dims.layout);
        let file: AlignedBytes = match repack(model, layout) {
            Ok(file) => file,
            Err(error) => panic!("{error}: {dims:?} to {layout:?}"),
        };
        let model = match Model::parse(&file) {
            Ok(model) => model,
            Err(error) => panic!("{error}: {dims:?} in {layout:?}"),
        };
        let alone = logits(&model, kernels, &Serial, &picture);
        let expected = if dims.arithmetic() == Arithmetic::Int8 { &scalar } else { &alone };
        assert_eq!(&alone, expected, "{}: {dims:?}", kernels.name());
        assert_eq!(&logits(&model, kernels, &Backwards, &picture), expected, "{} in parts: {dims:?}", kernels.name());
    }
}

/// Returns the bits of the logits, with one bit pattern for every NaN.
fn logits<P: ParallelFor>(model: &Model, kernels: &'static Kernels, parallel: &P, picture: &[u8]) -> Vec<u32> {
    let engine = Engine::new(model.clone(), kernels, parallel).unwrap_or_else(|error| panic!("{error}"));
    let mut logits = vec![0.0f32; model.dims().outputs];
    let mut scratch = vec![0xa5; engine.scratch_len()];
    let run = crate::without_memory(|| engine.run(picture, &mut scratch, &mut logits));
    run.unwrap_or_else(|error| panic!("{error}"));
    logits.into_iter().map(|logit| if logit.is_nan() { f32::NAN } else { logit }.to_bits()).collect()
}
