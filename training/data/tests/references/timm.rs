//! The distributions of random choices, and mixing.

use resmlp_train_data::augment::crop::{Rectangle, random_rectangle};
use resmlp_train_data::augment::mix::{Mixture, mix, pasted_part, write_target};
use resmlp_train_data::augment::{Erasing, ErasingMode};
use resmlp_train_data::random::{Purpose, Random};

use super::{cases, number, numbers, pair};

fn random() -> Random {
    Random::new(1, 2, Purpose::Sample, 3)
}

/// Returns the mean of each component of many draws.
fn means<const N: usize>(draws: u32, mut draw: impl FnMut() -> [f64; N]) -> [f64; N] {
    let mut sums = [0.0; N];
    for _ in 0..draws {
        sums.iter_mut().zip(draw()).for_each(|(sum, value)| *sum += value);
    }
    sums.map(|sum| sum / f64::from(draws))
}

#[test]
fn random_rectangles_have_the_mean_of_timms() {
    let mut random = random();
    for case in cases("rectangles").as_array().unwrap() {
        let [size, scale, ratio] = ["size", "scale", "ratio"].map(|name| pair(&case[name]));
        let [scale, ratio] = [scale, ratio].map(|range| range.map(|value| value as f32));
        let mean = means(50_000, || {
            let part = random_rectangle(&mut random, size.map(|side| side as u32), scale, ratio);
            [part.top, part.left, part.height, part.width].map(f64::from)
        });
        for (ours, theirs) in mean.into_iter().zip(numbers(&case["mean"])) {
            // The means of 50,000 draws deviate by less than 0.5 % of the side.
            assert!((ours - theirs).abs() < 0.005 * size[0].max(size[1]), "{case}: {mean:?}");
        }
    }
}

#[test]
fn erased_rectangles_have_the_mean_of_timms() {
    let mut random = random();
    for case in cases("erasing").as_array().unwrap() {
        let [size, area] = ["size", "area"].map(|name| pair(&case[name]));
        let erasing = Erasing { probability: 0.25, mode: ErasingMode::Constant, area: area.map(|share| share as f32) };
        let mean = means(40_000, || match erasing.draw(&mut random, size.map(|side| side as usize)) {
            Some(part) => [1.0, f64::from(part.height * part.width) / (size[0] * size[1])],
            None => [0.0; 2],
        });
        let theirs = pair(&case["mean"]);
        assert!((mean[0] - theirs[0]).abs() < 0.008 && (mean[1] - theirs[1]).abs() < 0.003, "{case}: {mean:?}");
    }
}

#[test]
fn cutmix_pastes_the_parts_of_timm() {
    for case in cases("boxes").as_array().unwrap() {
        let [size, centre] = ["size", "centre"].map(|name| pair(&case[name]));
        let part = pasted_part(number(&case["weight"]), centre.map(|at| at as u32), size.map(|side| side as usize));
        let ours = [part.top, part.left, part.height, part.width].map(f64::from);
        assert_eq!(ours.to_vec(), numbers(&case["part"]), "{case}");
    }
}

#[test]
fn batches_are_mixed_as_in_timm() {
    let (size, labels, classes) = ([5, 6], [0, 2, 1, 2], 3);
    for case in cases("mixed").as_array().unwrap() {
        let weights = numbers(&case["weights"]);
        let parts = case["parts"].as_array().unwrap();
        let mixtures: Vec<Mixture> = (0..labels.len())
            .map(|sample| match weights[sample % weights.len()] as f32 {
                1.0 => Mixture::Alone,
                weight => match &parts[sample % parts.len()] {
                    part if part.is_null() => Mixture::Blend(weight),
                    part => {
                        let [top, bottom, left, right] = numbers(part).try_into().unwrap();
                        let [height, width] = [bottom - top, right - left].map(|side: f64| side as u32);
                        Mixture::paste(Rectangle { top: top as u32, left: left as u32, height, width }, size)
                    }
                },
            })
            .collect();
        let mut images: Vec<f32> = (0..360).map(|index| libm::sinf(index as f32 * 0.37)).collect();
        let mut targets = vec![0.0; labels.len() * classes];
        for (target, label) in targets.chunks_exact_mut(classes).zip(labels) {
            write_target(target, label, number(&case["smoothing"]) as f32);
        }
        mix(&mixtures, &mut images, size, &mut targets, classes);
        for (name, ours) in [("images", &images), ("targets", &targets)] {
            let theirs = numbers(&case[name]);
            assert_eq!(ours.len(), theirs.len());
            let difference = ours.iter().zip(theirs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(difference < 1e-6, "{name} of {mixtures:?}: {difference}");
        }
    }
}
