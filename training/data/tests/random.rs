//! The random numbers: their values, which must never change, and their distributions.

use resmlp_train_data::random::{Purpose, Random};

fn random(position: u64) -> Random {
    Random::new(42, 7, Purpose::Sample, position)
}

/// A change of these numbers would change every network that is trained with the same seed. An implementation of
/// ChaCha with 8 rounds in Python gave the same bits.
#[test]
fn the_sequences_stay_as_they_are() {
    let mut random = random(3);
    assert_eq!([random.bits(), random.bits()], [10_234_029_092_844_086_981, 2_663_357_541_346_216_129]);
    assert_eq!(random.below(1000), 63);
    assert_eq!(random.fraction(), 0.065_858_974_941_729_43);
    assert_eq!(random.normals(), [-0.024_651_145_437_247_99, 0.661_473_224_494_144]);
    assert_eq!(random.beta(0.8), 0.840_939_996_602_169_3);
}

#[test]
fn every_part_of_the_key_counts() {
    let keys = [
        Random::new(42, 7, Purpose::Sample, 3),
        Random::new(43, 7, Purpose::Sample, 3),
        Random::new(42, 8, Purpose::Sample, 3),
        Random::new(42, 7, Purpose::Mix, 3),
        Random::new(42, 7, Purpose::Sample, 4),
        Random::new(7, 42, Purpose::Sample, 3),
        Random::new(42, 3, Purpose::Sample, 7),
    ];
    let mut first: Vec<u64> = keys.map(|mut random| random.bits()).to_vec();
    first.sort_unstable();
    first.dedup();
    assert_eq!(first.len(), 7);
}

/// Returns the mean and the variance of many draws.
fn moments(mut draw: impl FnMut() -> f64) -> [f64; 2] {
    let draws: Vec<f64> = (0..200_000).map(|_| draw()).collect();
    let mean = draws.iter().sum::<f64>() / draws.len() as f64;
    let variance = draws.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / draws.len() as f64;
    [mean, variance]
}

#[test]
fn distributions_have_their_moments() {
    let mut random = random(0);
    let close = |found: [f64; 2], expected: [f64; 2]| {
        assert!((found[0] - expected[0]).abs() < 0.01 && (found[1] - expected[1]).abs() < 0.01, "{found:?}");
    };
    close(moments(|| random.fraction()), [0.5, 1.0 / 12.0]);
    close(moments(|| random.normal(0.5, 1.0)), [0.5, 1.0]);
    close(moments(|| random.normals()[1]), [0.0, 1.0]);
    close(moments(|| f64::from(random.below(7)) / 6.0), [0.5, 1.0 / 9.0]);
    for alpha in [0.1, 0.8, 1.0, 3.0] {
        // The variance of the symmetric beta distribution.
        close(moments(|| random.beta(alpha)), [0.5, 1.0 / (4.0 * (2.0 * alpha + 1.0))]);
    }
    let extreme = moments(|| random.beta(1e-6));
    close(extreme, [0.5, 0.25]);
}

#[test]
fn a_shuffle_reaches_all_orders() {
    let mut random = random(1);
    let mut counts = std::collections::BTreeMap::new();
    for _ in 0..24_000 {
        let mut values = [0, 1, 2, 3];
        random.shuffle(&mut values);
        *counts.entry(values).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}
