//! Loads batches.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use resmlp_train_data::augment::{Crop, Mix, Padding};
use resmlp_train_data::loader::denormalise;
use resmlp_train_data::{Augmentation, Batch, DataError, Dataset, Loader, Options, Picture, Preprocess};

/// Returns a data set of `count` pictures of 7 classes and different sizes around `side`.
fn dataset(count: u32, side: u32) -> Arc<Dataset> {
    let classes = (0..7).map(|class| format!("class {class}")).collect();
    let picture = |i: u32| {
        let (height, width) = (side + i % 3, side + i % 5);
        let rgb = (0..3 * height * width).map(|j| (i * 31 + j * (7 + i % 11) + j * j / 5) as u8).collect();
        (format!("picture {i}"), Picture::from_rgb(height, width, rgb).unwrap(), i % 7)
    };
    Arc::new(Dataset::from_pictures(classes, (0..count).map(picture).collect()).unwrap())
}

fn input(side: usize) -> Preprocess {
    Preprocess { crop: 1.0, ..Preprocess::imagenet([side, side + 2]) }
}

fn batches(loader: &Loader, epoch: u64, first: usize) -> Vec<Batch> {
    loader.epoch(epoch, first).collect::<Result<_, _>>().unwrap()
}

/// Every part of the augmentation at once.
fn everything() -> Augmentation {
    Augmentation {
        colour_jitter: Augmentation::dino_views(0)[0].colour_jitter,
        greyscale: 0.2,
        blur: Augmentation::dino_views(0)[0].blur,
        solarise: 0.2,
        ..Augmentation::paper()
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let dataset = dataset(150, 20);
    for augmentation in [everything(), Augmentation::small_pictures()] {
        let load = |threads: usize| {
            let loader = Loader::training(dataset.clone(), augmentation.clone(), input(16), 40, threads, 5).unwrap();
            batches(&loader, 3, 0)
        };
        let expected = load(0);
        assert_eq!(expected.len(), 3);
        assert!(expected.iter().all(|batch| batch.len() == 40 && batch.images.len() == 40 * 3 * 16 * 18));
        for threads in [1, 2, 7] {
            assert!(load(threads) == expected, "{threads} threads");
        }
    }
    let load = |threads| batches(&Loader::evaluation(dataset.clone(), input(16), 40, threads).unwrap(), 0, 0);
    assert_eq!(load(3), load(0));
}

#[test]
fn an_epoch_can_begin_at_any_batch() {
    let loader = Loader::training(dataset(100, 12), everything(), input(12), 18, 2, 5).unwrap();
    let whole = batches(&loader, 1, 0);
    assert_eq!(whole.len(), loader.batches_per_epoch());
    for first in 0..=6 {
        assert!(batches(&loader, 1, first) == whole[first.min(5)..], "from batch {first}");
    }
}

#[test]
fn seeds_and_epochs_differ() {
    let load = |seed: u64, epoch: u64| {
        let loader = Loader::training(dataset(60, 12), Augmentation::light(), input(12), 20, 0, seed).unwrap();
        batches(&loader, epoch, 0)
    };
    let one = load(1, 0);
    assert!(one == load(1, 0));
    assert!(one != load(2, 0) && one != load(1, 1) && load(2, 0) != load(1, 1));
}

#[test]
fn an_epoch_has_each_picture_once_but_for_the_last_batch() {
    let loader = Loader::training(dataset(100, 8), Augmentation::none(), input(8), 30, 2, 1).unwrap();
    let mut indices: Vec<u32> = batches(&loader, 0, 0).into_iter().flat_map(|batch| batch.indices).collect();
    assert_eq!(indices.len(), 90);
    assert!(!indices.is_sorted());
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 90);
}

#[test]
fn repeats_stand_next_to_each_other_and_are_varied_anew() {
    let augmentation = Augmentation { repeats: 3, ..Augmentation::light() };
    let loader = Loader::training(dataset(90, 12), augmentation, input(12), 30, 0, 1).unwrap();
    let batches = batches(&loader, 0, 0);
    assert_eq!(batches.len(), 3);
    let mut seen = Vec::new();
    let mut varied = 0;
    for batch in &batches {
        let length = batch.images.len() / batch.len();
        for (indices, images) in batch.indices.chunks(3).zip(batch.images.chunks(3 * length)) {
            assert!(indices.iter().all(|index| *index == indices[0]));
            varied += u32::from(images[..length] != images[length..2 * length]);
            seen.push(indices[0]);
        }
    }
    assert!(varied > 25, "{varied} of 30 pictures are varied");
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 30);
}

#[test]
fn evaluation_prepares_all_pictures_in_order_as_resmlp_picture_does() {
    let dataset = dataset(45, 20);
    let input = Preprocess { crop: 0.9, ..input(16) };
    let loader = Loader::evaluation(dataset.clone(), input.clone(), 20, 2).unwrap().keep_pixels().unwrap();
    let batches = batches(&loader, 0, 0);
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [20, 20, 5]);
    let mut index = 0;
    for batch in batches {
        let length = 3 * 16 * 18;
        let samples = batch.images.chunks_exact(length).zip(batch.pixels.chunks_exact(length));
        for (((image, pixels), target), label) in samples.zip(batch.targets.chunks_exact(7)).zip(&batch.labels) {
            let expected = input.apply(&dataset.picture(index).unwrap()).unwrap();
            assert_eq!(pixels, expected);
            assert_eq!(image, input.normalise(&expected));
            assert_eq!(denormalise(image, &input).rgb(), expected);
            assert_eq!(*label, dataset.label(index));
            let one_hot: Vec<f32> = (0..7).map(|class| f32::from(u8::from(class == *label))).collect();
            assert_eq!(target, one_hot);
            index += 1;
        }
    }
    assert_eq!(index, 45);
}

#[test]
fn targets_follow_smoothing_and_mixing() {
    let dataset = dataset(60, 8);
    let load = |mix: Mix| {
        let augmentation = Augmentation { mix, smoothing: 0.1, ..Augmentation::none() };
        batches(&Loader::training(dataset.clone(), augmentation, input(8), 20, 0, 3).unwrap(), 0, 0)
    };
    let plain = load(Mix::none());
    let target = &plain[0].targets[..7];
    let label = plain[0].labels[0] as usize;
    for (class, &value) in target.iter().enumerate() {
        let expected = if class == label { 0.9 + 0.1 / 7.0 } else { 0.1 / 7.0 };
        assert!((value - expected).abs() < 1e-6, "{target:?}");
    }
    for elementwise in [false, true] {
        let mixed = load(Mix { mixup: 0.8, cutmix: 1.0, elementwise, ..Mix::none() });
        let mut changed = 0;
        for (mixed, plain) in mixed.iter().zip(&plain) {
            assert_eq!(mixed.labels, plain.labels);
            changed += mixed.images.iter().zip(&plain.images).filter(|(a, b)| a != b).count();
            for target in mixed.targets.chunks_exact(7) {
                assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{target:?}");
            }
            // The mean over all pixels is kept where the same mixture is applied to both of a pair.
            if !elementwise {
                let mean = |images: &[f32]| images.iter().sum::<f32>() / images.len() as f32;
                assert!((mean(&mixed.images) - mean(&plain.images)).abs() < 1e-4);
            }
        }
        assert!(changed > 100);
    }
}

#[test]
fn each_view_is_varied_on_its_own() {
    let dataset = dataset(40, 20);
    let views = Augmentation::dino_views(2);
    let loader = Loader::multi_view(dataset.clone(), views, input(16), 18, 2, 1).unwrap();
    assert_eq!(loader.views(), 4);
    for batch in batches(&loader, 0, 0) {
        let length = 3 * 16 * 18;
        assert_eq!(batch.images.len(), 4 * 18 * length);
        let view = |view: usize, sample: usize| &batch.images[(view * 18 + sample) * length..][..length];
        for sample in 0..18 {
            assert!((1..4).all(|other| view(other, sample) != view(0, sample)));
        }
    }
    // Views that are not varied show the samples in the order of the labels.
    let plain = vec![Augmentation::none(); 2];
    let loader = Loader::multi_view(dataset.clone(), plain, input(16), 18, 2, 1).unwrap();
    let single = Loader::training(dataset, Augmentation::none(), input(16), 18, 0, 1).unwrap();
    for (both, one) in batches(&loader, 4, 0).into_iter().zip(batches(&single, 4, 0)) {
        assert_eq!(both.images, one.images.repeat(2));
        assert_eq!(both.labels, one.labels);
    }
}

/// Writes a grey picture of one pixel.
fn write_png(path: &Path, grey: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(fs::File::create(path).unwrap(), 1, 1);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[grey]).unwrap();
}

#[test]
fn pictures_that_become_unreadable_are_replaced_in_training_and_left_out_in_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    for grey in 0..10 {
        write_png(&folder.path().join(["a", "b"][usize::from(grey >= 5)]).join(format!("{grey}.png")), grey);
    }
    let options = Options { memory: 0, ..Options::default() };
    let dataset = Arc::new(Dataset::open(folder.path(), &options).unwrap());
    fs::write(folder.path().join("a/4.png"), "no picture").unwrap();
    let input = Preprocess { crop: 1.0, ..Preprocess::imagenet([1, 1]) };

    let loader = Loader::training(dataset.clone(), Augmentation::none(), input.clone(), 10, 2, 1).unwrap();
    let batch = &batches(&loader, 0, 0)[0];
    let mut indices = batch.indices.clone();
    indices.sort_unstable();
    assert_eq!(indices, [0, 1, 2, 3, 5, 5, 6, 7, 8, 9]);
    assert!(batch.indices.iter().zip(&batch.labels).all(|(index, label)| *label == u32::from(*index >= 5)));
    assert!(batch.skipped.len() == 1 && batch.skipped[0].name.ends_with("a/4.png"), "{:?}", batch.skipped);

    let loader = Loader::evaluation(dataset.clone(), input.clone(), 4, 2).unwrap();
    let indices: Vec<_> = batches(&loader, 0, 0).into_iter().map(|batch| batch.indices).collect();
    assert_eq!(indices, [vec![0, 1, 2, 3], vec![5, 6, 7], vec![8, 9]]);

    fs::remove_dir_all(folder.path().join("a")).unwrap();
    fs::remove_dir_all(folder.path().join("b")).unwrap();
    let loader = Loader::training(dataset, Augmentation::none(), input, 10, 2, 1).unwrap();
    let mut epoch = loader.epoch(0, 0);
    let message = epoch.next().unwrap().unwrap_err().to_string();
    assert!(message.ends_with("nor can the pictures before it be read"), "{message}");
    assert!(epoch.next().is_none());
}

#[test]
fn dropping_an_unfinished_epoch_ends_its_threads() {
    let dataset = dataset(500, 12);
    let loader = Loader::training(dataset.clone(), Augmentation::light(), input(12), 20, 3, 1).unwrap();
    let mut epoch = loader.epoch(0, 0);
    epoch.next().unwrap().unwrap();
    let holders = Arc::strong_count(&dataset);
    drop(epoch);
    drop(loader);
    // The threads hold the loader's plan, which holds the data set.
    assert!(holders > 1);
    assert_eq!(Arc::strong_count(&dataset), 1);
}

#[test]
fn settings_out_of_range_are_refused() {
    let dataset = dataset(20, 8);
    let refused = |augmentation: Augmentation, input: Preprocess, batch: usize| {
        Loader::training(dataset.clone(), augmentation, input, batch, 1, 1).unwrap_err().to_string()
    };
    let with = |change: &dyn Fn(&mut Augmentation)| {
        let mut augmentation = everything();
        change(&mut augmentation);
        refused(augmentation, input(8), 10)
    };
    let scale = |scale: [f32; 2]| {
        with(&|a| {
            if let Crop::Resized { scale: range, .. } = &mut a.crop {
                *range = scale;
            }
        })
    };
    for (message, expected) in [
        (with(&|a| a.flip = 1.5), "flip: found 1.5, expected a probability from 0 to 1"),
        (with(&|a| a.flip = f32::NAN), "flip: found NaN"),
        (with(&|a| a.smoothing = 1.0), "label smoothing: found 1, expected 0 to 0.999"),
        (with(&|a| a.repeats = 0), "repeats: found 0, expected 1 to 64"),
        (with(&|a| a.mix.mixup = -1.0), "mixup: found -1"),
        (with(&|a| a.randaugment.as_mut().unwrap().magnitude = 11.0), "RandAugment's magnitude: found 11"),
        (with(&|a| a.erasing.as_mut().unwrap().area = [0.5, 0.1]), "erasing's area: found 0.5 to 0.1"),
        (with(&|a| a.colour_jitter.as_mut().unwrap().hue = 0.6), "colour jitter's hue: found 0.6"),
        (with(&|a| a.blur.as_mut().unwrap().radius = [0.0, f32::INFINITY]), "blur's radius: found 0 to inf"),
        (with(&|a| a.crop = Crop::Padded { pixels: 5000, padding: Padding::Zero }), "padding: found 5000"),
        (scale([0.0, 1.0]), "scale of the crop: found 0 to 1"),
        (scale([0.5, 0.4]), "scale of the crop: found 0.5 to 0.4"),
        (refused(everything(), Preprocess { crop: 0.0, ..input(8) }, 10), "preprocessing: found crop 0"),
        (refused(everything(), input(8), 0), "batch: found 0, expected 1 to 65536 samples"),
        (refused(everything(), input(8), 21), "found 20 pictures, expected at least 21; choose a smaller batch"),
    ] {
        assert!(message.starts_with(expected), "{message}");
    }
    let loader = Loader::training(dataset.clone(), everything(), input(8), 10, 1, 1).unwrap();
    assert!(matches!(loader.keep_pixels(), Err(DataError::Setting { setting: "augmentation", .. })));
    assert!(Loader::multi_view(dataset.clone(), vec![everything()], input(8), 10, 1, 1).is_err());
    assert!(Loader::multi_view(dataset, vec![], input(8), 10, 1, 1).is_err());
}
