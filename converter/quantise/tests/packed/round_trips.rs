//! What was packed is in the file, and it runs alike in all panels, with all kernels and threads.

use std::sync::OnceLock;

use proptest::prelude::*;
use resmlp_quantise::QuantisedNetwork;
use resmlp_runtime::{Engine, Kernels, ParallelFor, RunError, Serial, Threads, repack};

use super::*;
use resmlp_testing::{numerics, unpack};

fn shapes() -> impl Strategy<Value = Shape> {
    let odd = |most: usize| (0..most / 2).prop_map(|half| 2 * half + 1);
    let any = |most: usize| prop_oneof![3 => odd(most), 1 => 1..=most];
    (any(5), any(5), any(4), any(21), any(35), 1usize..4, proptest::option::of(any(13))).prop_map(
        |(rows, columns, patch, dim, hidden, depth, classes)| Shape {
            image: [rows * patch, columns * patch],
            patch,
            dim,
            hidden,
            depth,
            classes,
        },
    )
}

fn layouts() -> impl Strategy<Value = Layout> {
    let group = prop_oneof![Just(1u32), Just(2), Just(3), Just(4), Just(8), Just(16)];
    let any = (1u32..=17, 1u32..=17, group, prop_oneof![Just(0u32), Just(128)]);
    let any = any.prop_map(|(rows, columns, group, offset)| Layout { rows, columns, group, offset });
    prop_oneof![4 => any, 1 => Just(Layout::DEFAULT), 1 => Just(Layout::NEON)]
}

fn styles() -> impl Strategy<Value = Style> {
    (proptest::bool::weighted(0.2), any::<bool>()).prop_map(|(extreme, gains)| Style { extreme, gains })
}

/// Makes a random picture. For an extreme network its bytes are 0 and 255 alone.
fn picture(shape: &Shape, style: Style, random: &mut Random) -> Vec<u8> {
    let pixel = |r: &mut Random| if style.extreme { [0, 255][(r.bits() % 2) as usize] } else { r.bits() as u8 };
    (0..3 * shape.image[0] * shape.image[1]).map(|_| pixel(random)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Runs a model and returns the bits of its logits.
fn run<P: ParallelFor>(file: &[u8], kernels: &'static Kernels, parallel: P, picture: &[u8]) -> Vec<u32> {
    let engine = Engine::new(Model::parse(file).unwrap(), kernels, parallel).unwrap();
    let mut logits = vec![f32::NAN; engine.model().dims().outputs];
    // The memory is filled first, because its former contents must not matter.
    let mut scratch = vec![0xa5; engine.scratch_len()];
    engine.run(picture, &mut scratch, &mut logits).unwrap();
    bits(&logits)
}

fn threads() -> &'static [Threads] {
    static THREADS: OnceLock<Vec<Threads>> = OnceLock::new();
    THREADS.get_or_init(|| (1..=8).map(|count| Threads::new(count).unwrap()).collect())
}

fn packed(network: &QuantisedNetwork, layout: Layout) -> AlignedBytes {
    AlignedBytes::from(&*pack::int8(network, layout, &extras(&[])).unwrap())
}

proptest! {
    #![proptest_config(resmlp_testing::cases(200))]

    #[test]
    fn damage_anywhere_is_refused(places in proptest::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..40)) {
        static FILE: OnceLock<AlignedBytes> = OnceLock::new();
        let file = FILE.get_or_init(tiny);
        let mut damaged = AlignedBytes::from(&**file);
        places.iter().for_each(|(at, bits)| damaged[at.index(file.len())] ^= bits);
        prop_assume!(*damaged != **file);
        let error = Model::parse(&damaged).err();
        prop_assert!(error.is_some_and(is_damage), "{error:?}");
    }

    #[test]
    fn a_file_holds_what_was_packed(shape in shapes(), style in styles(), layout in layouts(), labels: bool, seed: u64) {
        let mut network = Random(seed).quantised(&shape, style);
        network.activation = Activation::ALL[(seed % 3) as usize];
        let labels: Vec<String> = (0..shape.classes.unwrap_or(shape.dim)).map(|c| format!("Käse {c}")).collect::<Vec<_>>()
            .into_iter().filter(|_| labels).collect();
        let extras = Extras { labels, ..extras(&[]) };
        let file = pack::int8(&network, layout, &extras).unwrap();
        let unpacked = unpack::unpack(&file);
        // Every number lies at the documented offset.
        network.blocks.iter_mut().for_each(|block| block.mlp.gelu.unit = 1.0);
        prop_assert_eq!(format!("{:?}", unpacked.network), format!("{network:?}"));
        prop_assert_eq!(unpacked.labels, extras.labels.iter().map(|l| format!("{l}\n")).collect::<String>());
        prop_assert_eq!(unpacked.provenance, extras.provenance.clone());
        let header = unpacked.header;
        prop_assert_eq!((header.resize, header.crop, header.mean, header.std), (0, 0.875, [0.1, -0.2, 0.3], [0.4, 0.5, 0.6]));
        // The runtime reads the same numbers.
        let file = AlignedBytes::from(&*file);
        let model = Model::parse(&file).unwrap();
        let dims = model.dims();
        prop_assert_eq!((dims.image, dims.patch, dims.dim, dims.hidden), (shape.image, shape.patch, shape.dim, shape.hidden));
        prop_assert_eq!((dims.depth, dims.outputs), (shape.depth, shape.classes.unwrap_or(shape.dim)));
        prop_assert_eq!((dims.weights, dims.has_head, dims.layout), (WeightStorage::Int8, shape.classes.is_some(), layout));
        prop_assert_eq!((model.activation(), model.preprocessing()), (network.activation, &extras.preprocessing));
        prop_assert_eq!(model.labels().map(str::to_owned).collect::<Vec<_>>(), extras.labels);
        prop_assert_eq!(model.provenance(), extras.provenance);
    }

    #[test]
    fn results_do_not_depend_on_layout_kernels_or_threads(
        shape in shapes(), style in styles(), [first, second] in [layouts(), layouts()], seed: u64,
    ) {
        let mut random = Random(seed);
        let network = random.quantised(&shape, style);
        let picture = picture(&shape, style, &mut random);
        let expected = bits(&numerics::run(&network, &picture));
        let file = packed(&network, first);
        prop_assert_eq!(&run(&file, Kernels::scalar(), Serial, &picture), &expected);
        let model = Model::parse(&file).unwrap();
        prop_assert!(*repack(&model, second).unwrap() == *packed(&network, second), "{first:?} to {second:?}");
        for kernels in Kernels::supported() {
            let file = repack(&model, kernels.layout().unwrap_or(second)).unwrap();
            prop_assert_eq!(&run(&file, kernels, Serial, &picture), &expected, "{} alone", kernels.name());
            // Over all cases each number of threads from 1 to 8 comes up many times.
            let threads = &threads()[(seed % 8) as usize];
            prop_assert_eq!(&run(&file, kernels, threads, &picture), &expected, "{} on threads", kernels.name());
        }
    }
}

#[test]
fn one_to_eight_threads_give_the_same_bits() {
    let shape = Shape { image: [21, 15], patch: 3, dim: 37, hidden: 75, depth: 3, classes: Some(11) };
    let style = Style { extreme: false, gains: true };
    let mut random = Random(9);
    let network = random.quantised(&shape, style);
    let picture = picture(&shape, style, &mut random);
    let expected = bits(&numerics::run(&network, &picture));
    for kernels in Kernels::supported() {
        let file = packed(&network, kernels.layout().unwrap_or(Layout::NEON));
        for threads in threads() {
            assert_eq!(run(&file, kernels, threads, &picture), expected, "{} {}", kernels.name(), threads.workers());
        }
    }
}

#[test]
fn f16_models_compute_every_activation() {
    let shape = Shape { image: [21, 15], patch: 3, dim: 37, hidden: 75, depth: 2, classes: Some(11) };
    let mut random = Random(9);
    let mut network = random.network(&shape, AffinePlacement::Branch);
    let picture = picture(&shape, Style { extreme: false, gains: false }, &mut random);
    let all = Activation::ALL.map(|activation| {
        network.activation = activation;
        let folded = fold(&network, [0.5; 3], [0.25; 3]);
        let expected = folded.forward(std::slice::from_ref(&picture));
        let largest = expected.iter().fold(0.0, |largest: f32, logit| logit.abs().max(largest));
        let file = AlignedBytes::from(&*pack::f16(&folded, &extras(&[])).unwrap());
        for kernels in Kernels::supported() {
            let found = run(&file, kernels, Serial, &picture).into_iter().map(f32::from_bits);
            let error = found.zip(&expected).fold(0.0, |worst: f32, (found, logit)| (found - logit).abs().max(worst));
            assert!(error < 5e-3 * largest, "{}, {activation:?}: {error} of {largest}", kernels.name());
        }
        (expected, largest)
    });
    // The two forms of GELU are close to each other, and the tolerance still tells ReLU from both.
    let [(gelu, largest), _, (relu, _)] = all;
    assert!(gelu.iter().zip(&relu).any(|(gelu, relu)| (gelu - relu).abs() > 2e-2 * largest));
}

#[test]
fn f16_results_do_not_depend_on_the_number_of_threads() {
    let shape = Shape { image: [21, 15], patch: 3, dim: 37, hidden: 75, depth: 2, classes: Some(11) };
    let mut random = Random(9);
    let folded = fold(&random.network(&shape, AffinePlacement::Branch), [0.5; 3], [0.25; 3]);
    let file = AlignedBytes::from(&*pack::f16(&folded, &extras(&[])).unwrap());
    let picture = picture(&shape, Style { extreme: false, gains: false }, &mut random);
    for kernels in Kernels::supported() {
        let expected = run(&file, kernels, Serial, &picture);
        for threads in threads() {
            assert_eq!(run(&file, kernels, threads, &picture), expected, "{} {}", kernels.name(), threads.workers());
        }
    }
}

#[test]
fn scratch_is_exactly_as_long_as_is_said() {
    const GUARD: usize = 128;
    for (file, classes) in [(tiny(), 3), (tiny_f16(), 3)] {
        let model = Model::parse(&file).unwrap();
        for workers in [1, 3] {
            let engine = Engine::new(model.clone(), Kernels::scalar(), &threads()[workers - 1]).unwrap();
            let (len, picture, mut logits) = (engine.scratch_len(), vec![99; 24], vec![0.0; classes]);
            let mut memory = AlignedBytes::zeroed(len + 64 + 2 * GUARD);
            for start in GUARD..GUARD + 64 {
                memory.fill(0x5a);
                engine.run(&picture, &mut memory[start..][..len], &mut logits).unwrap();
                let untouched = memory[..start].iter().chain(&memory[start + len..]).all(|&b| b == 0x5a);
                assert!(untouched, "writes beside the memory lent, start {start}");
            }
            // At this start all of the slack goes into alignment, so one byte less is too little.
            let short = engine.run(&picture, &mut memory[GUARD + 1..][..len - 1], &mut logits);
            assert_eq!(short, Err(RunError::Scratch { found: len - 1, expected: len }));
            assert!(engine.run(&picture[1..], &mut memory, &mut logits).is_err());
            assert!(engine.run(&picture, &mut memory, &mut logits[1..]).is_err());
        }
    }
}
