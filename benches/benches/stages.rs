//! Times the stages of a forward pass: every kernel table over the published shapes, on one thread.
//!
//! `cargo bench -p resmlp-benches --bench stages`
//!
//! A stage is timed inside whole forward passes of a network with one block, so that its input is as warm in the caches
//! as in real use. `mix` is the patch mixing and `mlp` the channel MLP with its GELU; both include the update of the
//! residual stream.

use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use resmlp_benches::{passes, random_model, shape};
use resmlp_runtime::measure::{picture, stage_macs};
use resmlp_runtime::{Dims, Engine, Kernels, Serial, Stage, WeightStorage};

const STAGES: [(&str, Stage); 4] =
    [("stem", Stage::Stem), ("mix", Stage::Mix(0)), ("mlp", Stage::Mlp(0)), ("head", Stage::Head)];

/// Time to spend on one stage of one shape, including the other stages that have to run with it.
const BUDGET: Duration = Duration::from_millis(1500);

fn stages(criterion: &mut Criterion) {
    for name in ["S12", "B24/16", "B24/8"] {
        for weights in [WeightStorage::Int8, WeightStorage::F16] {
            let dims = Dims { depth: 1, ..shape(name, weights).expect("a published shape") };
            for kernels in Kernels::supported().filter(|kernels| is_quick(kernels, name)) {
                measure(criterion, name, dims, kernels);
            }
        }
    }
}

/// Returns whether `kernels` are measured on the shape `name`. The scalar kernels are a hundred times slower than the
/// others, so only the smallest shape is timed with them.
fn is_quick(kernels: &Kernels, name: &str) -> bool {
    kernels.name() != Kernels::scalar().name() || name == "S12"
}

fn measure(criterion: &mut Criterion, name: &str, dims: Dims, kernels: &'static Kernels) {
    let model = passes::leak(random_model(&dims), kernels);
    let engine = Engine::new(model, kernels, Serial).expect("an engine");
    let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; dims.outputs]);
    let picture = picture(&dims);
    let mut time = |wanted: Stage| {
        let (mut start, mut time) = (Instant::now(), Duration::ZERO);
        let mut observe = |stage, _: &[f32]| {
            let end = Instant::now();
            if stage == wanted {
                time = end - start;
            }
            start = Instant::now();
        };
        engine.run_observed(&picture, &mut scratch, &mut logits, &mut observe).expect("a run");
        time
    };
    let mut group = criterion.benchmark_group(format!("{name} {}", dims.weights.name()));
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    for (stage_name, stage) in STAGES {
        time(stage);
        let start = Instant::now();
        let share = time(stage).as_secs_f64() / start.elapsed().as_secs_f64();
        group.throughput(Throughput::Elements(stage_macs(&dims, stage)));
        group.warm_up_time(BUDGET.mul_f64(share / 5.0)).measurement_time(BUDGET.mul_f64(share));
        group.bench_function(format!("{stage_name}/{}", kernels.name()), |bencher| {
            bencher.iter_custom(|runs| (0..runs).map(|_| time(stage)).sum());
        });
    }
    group.finish();
}

criterion_group!(benches, stages);
criterion_main!(benches);
