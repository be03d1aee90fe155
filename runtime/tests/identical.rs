//! Tests the runtime's main promise: the bits of a model's logits do not depend on the kernels, the number of threads
//! or the layout of the weights.

#[path = "../examples/random_model/model.rs"]
mod model;

use resmlp_runtime::format::{MAX_MULTIPLIER, Map, Slot, field};
use resmlp_runtime::{
    Dims, Engine, Kernels, Layout, Model, ParallelFor, Serial, Threads, WeightStorage, checksum, repack,
};

/// Shapes most of whose extents leave the last panel incomplete.
const SHAPES: [Dims; 5] = [
    shape([8, 12], 4, 20, 52, 7),
    shape([15, 9], 3, 12, 48, 1),
    shape([7, 7], 1, 33, 17, 100),
    shape([32, 32], 8, 96, 384, 13),
    shape([5, 5], 5, 1, 1, 2),
];

const fn shape(image: [usize; 2], patch: usize, dim: usize, hidden: usize, outputs: usize) -> Dims {
    let (depth, layout) = (2, Layout::DEFAULT);
    Dims {
        weights: WeightStorage::Int8,
        image,
        patch,
        dim,
        hidden,
        depth,
        outputs,
        has_head: true,
        has_gains: false,
        layout,
    }
}

/// Returns every shape with and without a head, and with and without gains.
fn all_dims() -> impl Iterator<Item = Dims> {
    SHAPES.into_iter().flat_map(|dims| {
        let embedding = Dims { has_head: false, outputs: dims.dim, ..dims };
        [dims, Dims { has_gains: true, ..dims }, embedding]
    })
}

fn picture(dims: &Dims) -> Vec<u8> {
    (0..dims.image[0] * dims.image[1] * 3).map(|i| (i * i * 31 % 251) as u8).collect()
}

fn logits(bytes: &[u8], kernels: &'static Kernels, parallel: impl ParallelFor) -> Vec<u32> {
    let model = Model::parse(bytes).unwrap();
    let dims = *model.dims();
    let engine = Engine::new(model, kernels, parallel).unwrap();
    let (mut scratch, mut logits) = (vec![0xa5; engine.scratch_len()], vec![0.0; dims.outputs]);
    engine.run(&picture(&dims), &mut scratch, &mut logits).unwrap();
    assert!(logits.iter().all(|l| l.is_finite()));
    assert!(dims.outputs == 1 || logits.iter().any(|&l| l != logits[0]), "{dims:?}: the same logits for all classes");
    logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn every_table_and_number_of_threads_gives_the_same_logits() {
    for dims in all_dims() {
        let bytes = model::random_model(&dims);
        let expected = logits(&bytes, Kernels::scalar(), Serial);
        for kernels in Kernels::supported() {
            let packed = repack(&Model::parse(&bytes).unwrap(), kernels.layout().unwrap_or(dims.layout)).unwrap();
            for threads in 1..=8 {
                let found = logits(&packed, kernels, Threads::new(threads).unwrap());
                assert_eq!(found, expected, "{} on {threads} threads, {dims:?}", kernels.name());
            }
        }
    }
}

/// In some channels of every block, the gains are the largest that a file may have, and the factors that scale the
/// stream to 8 bits are zero. If the stream became infinite there, its product with zero would be NaN.
#[test]
fn no_gain_drives_the_stream_to_infinity() {
    let dims = Dims { depth: 8, has_gains: true, ..SHAPES[0] };
    let map = Map::new(&dims, 0, 0).unwrap();
    let mut bytes = model::random_model(&dims);
    for block in 0..dims.depth {
        let gains = [Slot::MixStreamGain, Slot::MlpStreamGain].map(|slot| (slot, MAX_MULTIPLIER));
        for (slot, value) in gains.into_iter().chain([(Slot::MixInputScale, 0.0), (Slot::MlpInputScale, 0.0)]) {
            // Only every third channel is changed.
            for number in bytes[map.range(slot, block)].chunks_exact_mut(4).take(dims.dim).step_by(3) {
                number.copy_from_slice(&value.to_le_bytes());
            }
        }
    }
    let crc = checksum(&bytes);
    bytes[field::CHECKSUM..][..4].copy_from_slice(&crc.to_le_bytes());

    let model = Model::parse(&bytes).unwrap();
    let engine = Engine::new(model.clone(), Kernels::scalar(), Serial).unwrap();
    let (mut scratch, mut out) = (vec![0; engine.scratch_len()], vec![0.0; dims.outputs]);
    let finite = &mut |stage, stream: &[f32]| assert!(stream.iter().all(|y| y.is_finite()), "{stage}");
    engine.run_observed(&picture(&dims), &mut scratch, &mut out, finite).unwrap();
    let expected: Vec<u32> = out.into_iter().map(f32::to_bits).collect();
    for kernels in Kernels::supported() {
        let packed = repack(&model, kernels.layout().unwrap_or(dims.layout)).unwrap();
        assert_eq!(logits(&packed, kernels, Serial), expected, "{}", kernels.name());
    }
}

/// The network has many tokens and few hidden units, so that patch mixing needs the most memory and a worker has
/// several tiles.
#[test]
fn patch_mixing_may_need_the_most_memory() {
    let dims = Dims { depth: 1, ..shape([24, 24], 1, 384, 8, 3) };
    let bytes = model::random_model(&dims);
    let expected = logits(&bytes, Kernels::scalar(), Serial);
    for kernels in Kernels::supported() {
        let packed = repack(&Model::parse(&bytes).unwrap(), kernels.layout().unwrap_or(dims.layout)).unwrap();
        for threads in [1, 3] {
            let found = logits(&packed, kernels, Threads::new(threads).unwrap());
            assert_eq!(found, expected, "{} on {threads} threads", kernels.name());
        }
    }
}

#[test]
fn repacking_changes_no_logit_and_can_be_undone() {
    let panels = [[1, 1, 1], [3, 5, 2], [4, 4, 16], [8, 8, 4], [16, 64, 8], [33, 7, 3], [2, 12, 1], [64, 3, 33]];
    for dims in all_dims() {
        let bytes = model::random_model(&dims);
        let expected = logits(&bytes, Kernels::scalar(), Serial);
        for (i, [rows, columns, group]) in panels.into_iter().enumerate() {
            let layout = Layout { rows, columns, group, offset: if i % 2 == 0 { 128 } else { 0 } };
            let packed = repack(&Model::parse(&bytes).unwrap(), layout).unwrap();
            assert_eq!(Model::parse(&packed).unwrap().dims().layout, layout);
            assert_eq!(logits(&packed, Kernels::scalar(), Serial), expected, "{layout:?}, {dims:?}");
            let back = repack(&Model::parse(&packed).unwrap(), dims.layout).unwrap();
            assert!(*back == *bytes, "{layout:?} and back, {dims:?}");
        }
    }
}

#[test]
fn sixteen_bit_models_are_repacked_only_into_panels_they_can_have() {
    let dims = Dims { weights: WeightStorage::F16, layout: Layout::F16, ..SHAPES[0] };
    let bytes = model::random_model(&dims);
    let model = Model::parse(&bytes).unwrap();
    let packed = repack(&model, Layout { rows: 3, columns: 5, ..Layout::F16 }).unwrap();
    assert!(*repack(&Model::parse(&packed).unwrap(), Layout::F16).unwrap() == *bytes);
    assert!(repack(&model, Layout::DEFAULT).is_err());
}
