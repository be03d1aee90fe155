//! Measures how many pictures a loader prepares in a second, for each part of the recipe and for the whole.
//!
//! `cargo run --release -p resmlp-train-data --example loader_speed -- DATASET [THREADS] [SIDE]`

use std::sync::Arc;
use std::time::Instant;

use resmlp_train_data::augment::Mix;
use resmlp_train_data::{Augmentation, Dataset, Loader, Options, Preprocess};

/// Samples in a batch.
const BATCH: usize = 128;

/// Number of measurements, of which the median counts.
const ROUNDS: u64 = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: loader_speed DATASET [THREADS] [SIDE]")?;
    let threads = arguments.next().map_or(Ok(1), |threads| threads.parse())?;
    let side = arguments.next().map_or(Ok(32), |side| side.parse())?;

    let start = Instant::now();
    let dataset = Arc::new(Dataset::open(&path, &Options::default())?);
    println!("{} pictures opened in {:.2} s", dataset.len(), start.elapsed().as_secs_f64());

    let input = Preprocess { crop: 1.0, ..Preprocess::imagenet([side, side]) };
    let small = Augmentation::small_pictures();
    let recipes = [
        ("none", Augmentation::none()),
        ("padded crop and flip", Augmentation::light()),
        ("RandAugment alone", Augmentation { randaugment: small.randaugment, ..Augmentation::none() }),
        ("erasing alone", Augmentation { erasing: small.erasing, ..Augmentation::none() }),
        ("mixing alone", Augmentation { mix: small.mix, ..Augmentation::none() }),
        (
            "mixing of each sample alone",
            Augmentation { mix: Mix { elementwise: true, ..small.mix }, ..Augmentation::none() },
        ),
        ("all for small pictures", small),
        ("all of the paper", Augmentation::paper()),
    ];
    for (name, augmentation) in recipes {
        let loader = Loader::training(dataset.clone(), augmentation, input.clone(), BATCH, threads, 1)?;
        report(name, &loader, threads)?;
    }
    let loader = Loader::multi_view(dataset, Augmentation::dino_views(4), input, BATCH, threads, 1)?;
    report("DINO, 6 views", &loader, threads)
}

/// Prints the median rate of a loader.
fn report(name: &str, loader: &Loader, threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let batches = loader.batches_per_epoch().min(80 / loader.views());
    let mut rates = Vec::new();
    for epoch in 0..ROUNDS {
        let start = Instant::now();
        for batch in loader.epoch(epoch, 0).take(batches) {
            std::hint::black_box(batch?);
        }
        rates.push((batches * BATCH) as f64 / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    println!("{:8.0} pictures/s on {threads} threads: {name}", rates[rates.len() / 2]);
    Ok(())
}
