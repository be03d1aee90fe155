//! Tests of packed files: what was packed is read back and runs alike with all panels, kernels and threads, and damaged
//! files are refused.

#[path = "packed/round_trips.rs"]
mod round_trips;

use resmlp_network::AffinePlacement;
use resmlp_network::fold;
use resmlp_quantise::pack::{self, Extras};
use resmlp_runtime::format::{
    Activation, Element, Fit, HEADER_LEN, Layout, Map, OLDEST_VERSION, Preprocessing, Resize, Shape as TensorShape,
    Slot, VERSION, WeightStorage, field,
};
use resmlp_runtime::{AlignedBytes, Model, ModelError, checksum};
use resmlp_testing::quantised::Style;
use resmlp_testing::{Random, Shape};

const TINY: Shape = Shape { image: [4, 2], patch: 2, dim: 3, hidden: 5, depth: 2, classes: Some(3) };
const SMALL_PANELS: Layout = Layout { rows: 2, columns: 2, group: 2, offset: 0 };

fn extras(labels: &[&str]) -> Extras {
    Extras {
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        preprocessing: Preprocessing {
            resize: Resize::Bilinear,
            fit: Fit::Crop,
            crop: 0.875,
            mean: [0.1, -0.2, 0.3],
            std: [0.4, 0.5, 0.6],
        },
        provenance: r#"{"checkpoint":"tiny"}"#.to_owned(),
    }
}

fn tiny() -> AlignedBytes {
    let network = Random(1).quantised(&TINY, Style { extreme: false, gains: true });
    AlignedBytes::from(&*pack::int8(&network, SMALL_PANELS, &extras(&["cat", "dog", "ship"])).unwrap())
}

fn tiny_f16() -> AlignedBytes {
    let mut network = Random(2).network(&TINY, AffinePlacement::Stream);
    // A scale of zero cannot be folded, so the file has gains.
    network.blocks[0].mix_affine.alpha[0] = 0.0;
    let folded = fold(&network, [0.5; 3], [0.25; 3]);
    AlignedBytes::from(&*pack::f16(&folded, &extras(&[])).unwrap())
}

/// Returns a copy with `value` at `at` and the right checksum for it.
fn with(file: &[u8], at: usize, value: &[u8]) -> AlignedBytes {
    let mut changed = AlignedBytes::from(file);
    changed[at..][..value.len()].copy_from_slice(value);
    let sum = checksum(&changed);
    changed[field::CHECKSUM..][..4].copy_from_slice(&sum.to_le_bytes());
    changed
}

/// Returns whether an error is about the length, the checksum or the fields that are checked before them.
fn is_damage(error: ModelError) -> bool {
    matches!(
        error,
        ModelError::TooShort { .. }
            | ModelError::NotAModel
            | ModelError::Version { .. }
            | ModelError::Length { .. }
            | ModelError::Checksum { .. }
    )
}

// Damage -------------------------------------------------------------------------------------------------------------

#[test]
fn every_truncation_is_refused() {
    for file in [tiny(), tiny_f16()] {
        assert!(Model::parse(&file).is_ok());
        for len in 0..file.len() {
            let expected = match len {
                0..128 => ModelError::TooShort { found: len },
                _ => ModelError::Length { found: len, expected: file.len() as u64 },
            };
            assert_eq!(Model::parse(&file[..len]).unwrap_err(), expected);
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    for mut file in [tiny(), tiny_f16()] {
        for bit in 0..8 * file.len() {
            file[bit / 8] ^= 1 << (bit % 8);
            let error = Model::parse(&file).err();
            assert!(error.is_some_and(is_damage), "bit {bit}: {error:?}");
            file[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(Model::parse(&file).is_ok());
    }
}

#[test]
fn trailing_bytes_are_refused() {
    let file = tiny();
    for extra in [1, 63, 64, 1000] {
        let mut longer = AlignedBytes::zeroed(file.len() + extra);
        longer[..file.len()].copy_from_slice(&file);
        let expected = ModelError::Length { found: file.len() + extra, expected: file.len() as u64 };
        assert_eq!(Model::parse(&longer).unwrap_err(), expected);
        // The longer file is refused even where its header states the longer length, because the dimensions do not fit
        // it.
        let promised = with(&longer, field::FILE_LEN, &(longer.len() as u64).to_le_bytes());
        let expected = ModelError::Length { found: longer.len(), expected: file.len() as u64 };
        assert_eq!(Model::parse(&promised).unwrap_err(), expected);
    }
}

#[test]
fn a_misaligned_start_is_refused() {
    let file = tiny();
    let mut memory = AlignedBytes::zeroed(file.len() + 64);
    for start in 1..64 {
        memory[start..][..file.len()].copy_from_slice(&file);
        assert_eq!(Model::parse(&memory[start..][..file.len()]).unwrap_err(), ModelError::Misaligned);
    }
}

// Well-formed files with wrong contents ------------------------------------------------------------------------------

#[test]
fn another_version_is_refused_by_its_number() {
    for found in [0, 1, 4, u32::MAX] {
        // The version is checked before the checksum, because a newer version may compute it in another way.
        let mut file = tiny();
        file[field::VERSION..][..4].copy_from_slice(&found.to_le_bytes());
        let error = Model::parse(&file).unwrap_err();
        assert_eq!(error, ModelError::Version { found });
        assert!(error.to_string().contains(&format!("version {found}, expected {OLDEST_VERSION} to {VERSION}")));
    }
}

#[test]
fn header_fields_out_of_range_are_refused_by_name() {
    let float = |v: f32| v.to_bits();
    let sizes = [field::IMAGE_HEIGHT, field::IMAGE_WIDTH, field::PATCH, field::DIM, field::HIDDEN, field::DEPTH];
    let mut cases: Vec<(&str, usize, u32)> = Vec::new();
    for at in sizes.into_iter().chain([field::OUTPUTS, field::ROWS, field::COLUMNS, field::GROUP]) {
        cases.extend([0, 32769, u32::MAX].map(|value| ("dimensions", at, value)));
    }
    cases.extend([field::ROWS, field::COLUMNS, field::GROUP].map(|at| ("dimensions", at, 65)));
    cases.extend([1, 64, 129].map(|value| ("dimensions", field::OFFSET, value)));
    // A height that is no multiple of the patch, and a patch of more than 2^15 values.
    cases.extend([("dimensions", field::IMAGE_HEIGHT, 5), ("dimensions", field::PATCH, 4)]);
    // An embedding model must have as many outputs as channels.
    cases.push(("dimensions", field::HAS_HEAD, 0));
    cases.extend([2, u32::MAX].map(|value| ("precision", field::PRECISION, value)));
    cases.extend([2, 256].map(|value| ("has_head", field::HAS_HEAD, value)));
    cases.extend([2, 256].map(|value| ("has_gains", field::HAS_GAINS, value)));
    cases.extend([2, u32::MAX].map(|value| ("resize", field::RESIZE, value)));
    cases.extend([0.0, -0.5, 1.001, f32::NAN, f32::INFINITY].map(|value| ("crop", field::CROP, float(value))));
    for colour in 0..3 {
        let (mean, std) = (field::MEAN + 4 * colour, field::STD + 4 * colour);
        cases.extend([257.0, f32::NAN, f32::NEG_INFINITY].map(|value| ("mean and std", mean, float(value))));
        cases.extend([0.0, -1.0, 257.0, f32::NAN].map(|value| ("mean and std", std, float(value))));
    }
    // In version 2 the bytes from the activation on are reserved.
    cases.extend([field::ACTIVATION, field::FIT].map(|at| ("reserved", at, 1)));
    // This model has four outputs and three channels, so that the absence of a head is a contradiction.
    let network = Random(1).quantised(&Shape { classes: Some(4), ..TINY }, Style { extreme: false, gains: true });
    let file = pack::int8(&network, SMALL_PANELS, &extras(&[])).unwrap();
    for (name, at, value) in cases {
        let error = Model::parse(&with(&file, at, &value.to_le_bytes())).err();
        assert_eq!(error, Some(ModelError::Field { name }), "{value:#x} at {at}");
    }
}

#[test]
fn the_version_is_the_oldest_that_has_the_fit() {
    let network = Random(1).quantised(&TINY, Style { extreme: false, gains: false });
    for (fit, version) in [(Fit::Crop, 2u32), (Fit::Squash, 3)] {
        let mut extras = extras(&[]);
        extras.preprocessing.fit = fit;
        let file = AlignedBytes::from(&*pack::int8(&network, SMALL_PANELS, &extras).unwrap());
        assert_eq!(file[field::VERSION..][..4], version.to_le_bytes());
        assert_eq!(Model::parse(&file).unwrap().preprocessing(), &extras.preprocessing);
        let newer = with(&file, field::VERSION, &VERSION.to_le_bytes());
        for unknown in [2, 256, u32::MAX] {
            let error = Model::parse(&with(&newer, field::FIT, &unknown.to_le_bytes())).err();
            assert_eq!(error, Some(ModelError::Field { name: "fit" }));
        }
    }
}

#[test]
fn the_version_is_the_oldest_that_has_the_activation() {
    let mut network = Random(1).quantised(&TINY, Style { extreme: false, gains: false });
    for (activation, version) in Activation::ALL.into_iter().zip([2, 3, 3]) {
        network.activation = activation;
        let file = AlignedBytes::from(&*pack::int8(&network, SMALL_PANELS, &extras(&[])).unwrap());
        assert_eq!(file[field::VERSION..][..4], u32::to_le_bytes(version));
        assert_eq!(Model::parse(&file).unwrap().activation(), activation);
        let newer = with(&file, field::VERSION, &VERSION.to_le_bytes());
        assert_eq!(Model::parse(&newer).unwrap().activation(), activation);
        for unknown in [3, 256, u32::MAX] {
            let error = Model::parse(&with(&newer, field::ACTIVATION, &unknown.to_le_bytes())).err();
            assert_eq!(error, Some(ModelError::Field { name: "activation" }));
        }
    }
}

#[test]
fn dimensions_that_do_not_give_the_length_are_refused() {
    let file = tiny();
    for at in [field::IMAGE_HEIGHT, field::DIM, field::HIDDEN, field::DEPTH, field::LABELS_LEN, field::PROVENANCE_LEN] {
        for value in [1u32 << 8, 1 << 15] {
            let error = Model::parse(&with(&file, at, &value.to_le_bytes())).err();
            assert!(matches!(error, Some(ModelError::Length { found, .. }) if found == file.len()), "{at}: {error:?}");
        }
    }
    // This header describes the largest possible model and texts of 4 GB each. The reader compares lengths and
    // allocates nothing.
    let mut vast = AlignedBytes::from(&*file);
    for at in [field::IMAGE_HEIGHT, field::DIM, field::HIDDEN, field::DEPTH, field::OUTPUTS] {
        vast[at..][..4].copy_from_slice(&(1u32 << 15).to_le_bytes());
    }
    for at in [field::LABELS_LEN, field::PROVENANCE_LEN] {
        vast[at..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    }
    let error = Model::parse(&with(&vast, field::FIT, &[0])).err();
    assert!(matches!(error, Some(ModelError::Length { .. })), "{error:?}");
}

#[test]
fn labels_of_another_count_are_refused() {
    let network = Random(1).quantised(&TINY, Style { extreme: false, gains: false });
    for labels in [&["cat"][..], &["cat", "dog"], &["cat", "dog", "ship", "frog"]] {
        let error = pack::int8(&network, SMALL_PANELS, &extras(labels)).unwrap_err().to_string();
        assert!(error.contains("'labels'"), "{error}");
    }
    // Here the byte behind the labels counts as part of them.
    let file = tiny();
    let Ok(model) = Model::parse(&file) else { panic!("the file is good") };
    let (labels, provenance) = ("cat\ndog\nship\n".len() as u32, model.provenance().len() as u32);
    let moved = [(labels + 1).to_le_bytes(), (provenance - 1).to_le_bytes()].concat();
    assert_eq!(
        Model::parse(&with(&file, field::LABELS_LEN, &moved)).unwrap_err(),
        ModelError::Field { name: "labels" }
    );
}

#[test]
fn texts_that_are_not_utf8_are_refused() {
    let file = tiny();
    for (at, name) in [(128, "labels"), (128 + "cat\ndog\nship\n".len(), "provenance")] {
        assert_eq!(Model::parse(&with(&file, at, &[0xff])).unwrap_err(), ModelError::Field { name });
    }
}

/// Calls `check` with slot, block and offset of every element of the tensors for whose shape `wanted` returns the
/// length of an element.
fn each_element(file: &[u8], wanted: fn(TensorShape) -> Option<usize>, check: impl Fn(Slot, usize, usize)) {
    let aligned = AlignedBytes::from(file);
    let Ok(model) = Model::parse(&aligned) else { panic!("the file is good") };
    let [labels, provenance] = [field::LABELS_LEN, field::PROVENANCE_LEN]
        .map(|at| u32::from_le_bytes(file[at..][..4].try_into().unwrap()) as usize);
    let map = Map::new(model.dims(), labels, provenance).unwrap();
    let mut checked = 0;
    for &slot in Slot::ALL {
        let blocks = if slot.is_per_block() { model.dims().depth } else { 1 };
        for (block, size) in (0..blocks).filter_map(|block| Some((block, wanted(slot.shape())?))) {
            for at in map.range(slot, block).step_by(size) {
                check(slot, block, at);
                checked += 1;
            }
        }
    }
    assert!(checked > 0);
}

fn refused_as(file: &AlignedBytes, slot: Slot, block: usize) {
    assert_eq!(Model::parse(file).unwrap_err(), ModelError::Tensor { slot, block });
}

#[test]
fn weights_of_minus_128_are_refused() {
    let file = tiny();
    let matrices = |shape| matches!(shape, TensorShape::Left(..) | TensorShape::Right(..)).then_some(1);
    each_element(&file, matrices, |slot, block, at| refused_as(&with(&file, at, &[0x80]), slot, block));
}

#[test]
fn half_weights_that_are_not_finite_are_refused() {
    let file = tiny_f16();
    let matrices = |shape| matches!(shape, TensorShape::Left(..) | TensorShape::Right(..)).then_some(2);
    each_element(&file, matrices, |slot, block, at| {
        for bits in [0x7c00u16, 0xfc00, 0x7e00, 0x7c01] {
            refused_as(&with(&file, at, &bits.to_le_bytes()), slot, block);
        }
    });
}

#[test]
fn scales_that_are_not_finite_or_too_large_are_refused() {
    let bad = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e9, -1.1e9, f32::MAX];
    type Wanted = fn(TensorShape) -> Option<usize>;
    let floats: Wanted = |shape| matches!(shape, TensorShape::Vector(Element::F32, _)).then_some(4);
    let all: Wanted =
        |shape| matches!(shape, TensorShape::Vector(Element::F32 | Element::Bias | Element::Fixed, _)).then_some(4);
    for (file, wanted) in [(tiny(), floats), (tiny_f16(), all)] {
        let accepted = std::cell::Cell::new(0);
        each_element(&file, wanted, |slot, block, at| {
            bad.iter().for_each(|value| refused_as(&with(&file, at, &value.to_le_bytes()), slot, block));
            // The largest magnitude is accepted everywhere but in the padding.
            let largest = with(&file, at, &(-(1i32 << 30) as f32).to_le_bytes());
            accepted.set(accepted.get() + usize::from(Model::parse(&largest).is_ok()));
        });
        assert!(accepted.get() > 50, "{} floats may be that large", accepted.get());
    }
}

#[test]
fn fractions_that_are_negative_or_not_below_a_half_are_refused() {
    let file = tiny();
    let fractions = |shape| matches!(shape, TensorShape::Vector(Element::Fixed, _)).then_some(4);
    let accepted = std::cell::Cell::new(0);
    each_element(&file, fractions, |slot, block, at| {
        let bad = [-1, i32::MIN, 1 << 30, i32::MAX];
        bad.iter().for_each(|value: &i32| refused_as(&with(&file, at, &value.to_le_bytes()), slot, block));
        let largest = with(&file, at, &((1i32 << 30) - 1).to_le_bytes());
        accepted.set(accepted.get() + usize::from(Model::parse(&largest).is_ok()));
    });
    assert!(accepted.get() > 0, "where it is no padding, a number below a half is accepted");
}

#[test]
fn negative_hidden_scales_are_refused() {
    let file = tiny();
    let halves = |shape| matches!(shape, TensorShape::Vector(Element::I16, _)).then_some(2);
    each_element(&file, halves, |slot, block, at| {
        [-1i16, i16::MIN].iter().for_each(|value| refused_as(&with(&file, at, &value.to_le_bytes()), slot, block));
    });
}

#[test]
fn a_gelu_shift_of_8_is_refused() {
    let file = tiny();
    let tables = |shape| matches!(shape, TensorShape::Gelu).then_some(257);
    each_element(&file, tables, |slot, block, at| {
        [8, 32, 255].iter().for_each(|&shift| refused_as(&with(&file, at + 256, &[shift]), slot, block));
        assert!(Model::parse(&with(&file, at + 256, &[7])).is_ok());
    });
}

/// Returns the number of bytes that belong to a number. All other bytes behind the texts are padding.
fn meaningful_bytes(model: &Model) -> usize {
    let dims = model.dims();
    let weight = if dims.weights == WeightStorage::Int8 { 1 } else { 2 };
    let present = |slot: &&Slot| slot.len(dims).is_some_and(|len| len > 0);
    let bytes = |slot: &Slot| {
        let one = match slot.shape() {
            TensorShape::Left(rows, k) | TensorShape::Right(rows, k) => dims.exact(rows) * dims.exact(k) * weight,
            TensorShape::Vector(element, extent) => dims.exact(extent) * element.size(),
            TensorShape::Gelu => 257,
        };
        one * if slot.is_per_block() { dims.depth } else { 1 }
    };
    Slot::ALL.iter().filter(present).map(bytes).sum()
}

#[test]
fn padding_that_is_not_zero_is_refused() {
    for file in [tiny(), tiny_f16()] {
        let Ok(model) = Model::parse(&file) else { panic!("the file is good") };
        let texts = model.labels().map(|label| label.len() + 1).sum::<usize>() + model.provenance().len();
        let start = HEADER_LEN + texts;
        let accepted = |&at: &usize| Model::parse(&with(&file, at, &[file[at] ^ 1])).is_ok();
        let accepted = (start..file.len()).filter(accepted).count();
        let meaningful = meaningful_bytes(&model);
        assert!(meaningful < file.len() - start, "there is some padding");
        assert!(accepted <= meaningful, "{accepted} bytes may change, {meaningful} mean something");
        assert!(accepted * 10 > meaningful * 9, "most numbers may change: {accepted} of {meaningful}");
    }
}
