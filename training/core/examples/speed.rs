//! Measures forward, backward and AdamW on a fixed random batch: `cargo run --release -p resmlp-train-core --example
//! speed -- [THREADS] [STEPS]`.
//!
//! The network has the demo's shape: pictures of 32×32, patches of 4×4, 128 channels, 8 blocks, batches of 128.

use std::error::Error;
use std::time::Instant;

use resmlp_network::{Activation, AffinePlacement};
use resmlp_train_core::optimiser::{Method, Optimiser, Settings};
use resmlp_train_core::{Batch, Layout, Shape, Trainer, initial};

const BATCH: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let threads = arguments.next().transpose()?.unwrap_or(0);
    let steps = arguments.next().transpose()?.unwrap_or(20);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let layout = Layout::new(Shape {
        image: [32, 32],
        patch: 4,
        dim: 128,
        hidden: 512,
        depth: 8,
        classes: Some(10),
        activation: Activation::Gelu,
        placement: AffinePlacement::Branch,
    });
    let mut parameters = initial(&layout, 0.1, 1);
    let number = |i: usize| (i.wrapping_mul(0x9e37_79b9) >> 8 & 0xffff) as f32 / 32768.0 - 1.0;
    let pictures: Vec<f32> = (0..BATCH * layout.shape.picture_len()).map(number).collect();
    let targets: Vec<f32> = (0..BATCH * 10).map(|i| f32::from(u8::from(i % 10 == i / 10 % 10))).collect();
    let mut optimiser = Optimiser::new(Settings::new(Method::AdamW), &layout);
    let mut trainer = Trainer::new(layout.clone());
    let mut gradient = vec![0.0; layout.len()];

    let mut seconds = Vec::new();
    for step in 0..=steps {
        let start = Instant::now();
        let batch = Batch { pictures: &pictures, targets: &targets, keep: None };
        let loss = trainer.gradient(&parameters, batch, &mut gradient)?.loss;
        optimiser.update(&layout, &mut parameters, &mut gradient, 1e-3, |_| false);
        if step > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
        if step % 10 == 0 {
            eprintln!("step {step}: loss {loss:.4}");
        }
    }
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| BATCH as f64 / seconds;
    println!("{:.0} pictures a second (median), {:.0} (best)", rate(seconds[steps / 2]), rate(seconds[0]));
    Ok(())
}
