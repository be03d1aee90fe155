//! Measures how many pictures a loader prepares in a second, for each part of the recipe and for the whole.
//!
//! `cargo run --release -p resmlp-train-data --example loader_speed -- DATASET [THREADS] [SIDE]`
//!
//! With 0 threads, the caller's thread does the work. Linux then tells how much of a processor's time it had, which
//! other programs on the machine hardly change.

use std::sync::Arc;
use std::time::Instant;

use resmlp_train_data::augment::Mix;
use resmlp_train_data::{Augmentation, Dataset, Loader, Options, Preprocess};

/// Samples in a batch.
const BATCH: usize = 128;

/// Number of measurements. The median and the best one are printed, because other programs slow a measurement down.
const ROUNDS: u64 = 9;

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

/// Prints the median and the best rate of a loader.
fn report(name: &str, loader: &Loader, threads: usize) -> Result<(), Box<dyn std::error::Error>> {
    let batches = loader.batches_per_epoch().min(80 / loader.views());
    let (mut rates, mut processor_rates) = (Vec::new(), Vec::new());
    for epoch in 0..ROUNDS {
        let (start, processor_start) = (Instant::now(), processor_seconds());
        for batch in loader.epoch(epoch, 0).take(batches) {
            std::hint::black_box(batch?);
        }
        rates.push((batches * BATCH) as f64 / start.elapsed().as_secs_f64());
        if let (0, Some(start), Some(end)) = (threads, processor_start, processor_seconds()) {
            processor_rates.push((batches * BATCH) as f64 / (end - start));
        }
    }
    rates.sort_by(f64::total_cmp);
    processor_rates.sort_by(f64::total_cmp);
    let (median, best) = (rates[rates.len() / 2], rates[rates.len() - 1]);
    print!("{median:8.0} pictures/s (best {best:8.0}) on {threads} threads: {name}");
    match processor_rates.get(processor_rates.len() / 2) {
        Some(rate) => println!("; {rate:.0} for each second of processor time"),
        None => println!(),
    }
    Ok(())
}

/// Returns the processor time that this thread has had, where the system tells.
fn processor_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = text.split(' ').next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}
