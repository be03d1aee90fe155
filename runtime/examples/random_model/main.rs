//! Runs a model of a published shape with random weights. Its time and memory do not depend on the values of the
//! weights.
//!
//! ```text
//! cargo run --release -p resmlp-runtime --example random_model -- [kernels [runs [threads [int8 | f16 [shape]]]]]
//! ```
//!
//! The shape is S12 (the default), S24, S36, B24/16 or B24/8.
//!
//! The program prints the kernels' name and a checksum of the logits' bits, which for `int8` is the same for every
//! kernel table and number of threads. Then it prints the time and the multiply-accumulate rate of each kind of stage,
//! added up over the fastest run of each stage. To count the instructions of one inference, run the program once with
//! one run and once with none, and subtract.

mod model;
mod shapes;

use std::time::{Duration, Instant};

use resmlp_runtime::{Engine, Kernels, Model, ParallelFor, Stage, Threads, WeightStorage, checksum, repack_for};

use model::{random, random_model};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kernels =
        arguments.next().map_or_else(Kernels::fastest, |name| Kernels::named(&name).expect("kernels by name"));
    let [runs, threads] = [1, 1].map(|default| arguments.next().map_or(default, |a| a.parse().expect("a number")));
    let weights = match arguments.next().as_deref() {
        Some("f16") => WeightStorage::F16,
        _ => WeightStorage::Int8,
    };
    let name = arguments.next().unwrap_or_else(|| "S12".into());
    let dims = shapes::shape(&name, weights).unwrap_or_else(|| panic!("{name}: expected one of {:?}", shapes::NAMES));
    let (bytes, _) = repack_for(random_model(&dims), kernels).expect("a valid model");
    let model = Model::parse(&bytes).expect("a valid model");
    let engine = Engine::new(model, kernels, Threads::new(threads).expect("threads")).expect("kernels for this layout");
    report(&engine, runs);
}

/// Times `runs` forward passes and prints the times by kind of stage.
fn report<P: ParallelFor>(engine: &Engine<P>, runs: usize) {
    let dims = *engine.model().dims();
    let image: Vec<u8> = random(1).take(dims.image[0] * dims.image[1] * 3).map(|v| v as u8).collect();
    let mut scratch = vec![0; engine.scratch_len()];
    let mut logits = vec![0.0; dims.outputs];
    let mut fastest = vec![Duration::MAX; 2 * dims.depth + 2];
    for _ in 0..runs {
        let mut last = Instant::now();
        let mut observe = |stage, _: &[f32]| {
            let time = std::mem::replace(&mut last, Instant::now()).elapsed();
            let fastest = &mut fastest[index(stage)];
            *fastest = time.min(*fastest);
        };
        engine.run_observed(&image, &mut scratch, &mut logits, &mut observe).expect("a run");
    }
    let bits: Vec<u8> = logits.iter().flat_map(|l| l.to_bits().to_le_bytes()).collect();
    println!("{} {:?} logits {:08x}", engine.kernels().name(), dims.weights, checksum(&bits));
    if runs == 0 {
        return; // Nothing was timed.
    }
    let [n, d, h] = [dims.tokens(), dims.dim, dims.hidden].map(|v| v as u64);
    let [mix, mlp] = [n * n * d, 2 * n * d * h].map(|macs| macs * dims.depth as u64);
    let line = |name, times: &mut dyn Iterator<Item = &Duration>, macs: u64| {
        let seconds: f64 = times.map(Duration::as_secs_f64).sum();
        println!("{name:5} {:8.3} ms {:7.2} GMAC/s", 1e3 * seconds, 1e-9 * macs as f64 / seconds);
    };
    line("stem", &mut fastest.iter().take(1), n * d * dims.patch_len() as u64);
    line("head", &mut fastest.iter().skip(1).take(1), d * dims.outputs as u64);
    line("mix", &mut fastest.iter().skip(2).step_by(2), mix);
    line("mlp", &mut fastest.iter().skip(3).step_by(2), mlp);
    line("all", &mut fastest.iter(), dims.macs());
}

fn index(stage: Stage) -> usize {
    match stage {
        Stage::Stem => 0,
        Stage::Head => 1,
        Stage::Mix(block) => 2 + 2 * block,
        Stage::Mlp(block) => 3 + 2 * block,
    }
}
