//! Tests engines that run on several threads at once, engines that move between threads, and workers that panic.

#[path = "../examples/random_model/model.rs"]
mod model;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use resmlp_runtime::{Dims, Engine, Kernels, Layout, Model, ParallelFor, Serial, Threads, WeightStorage};

const DIMS: Dims = Dims {
    weights: WeightStorage::Int8,
    image: [16, 12],
    patch: 2,
    dim: 36,
    hidden: 96,
    depth: 2,
    outputs: 10,
    has_head: true,
    has_gains: true,
    layout: Layout::DEFAULT,
};

fn picture(seed: usize) -> Vec<u8> {
    (0..DIMS.image[0] * DIMS.image[1] * 3).map(|i| ((i + seed) * (i + 7) % 251) as u8).collect()
}

fn logits<P: ParallelFor>(engine: &Engine<P>, picture: &[u8]) -> Vec<u32> {
    let (mut scratch, mut logits) = (vec![0x5a; engine.scratch_len()], vec![0.0f32; DIMS.outputs]);
    engine.run(picture, &mut scratch, &mut logits).unwrap();
    logits.into_iter().map(f32::to_bits).collect()
}

/// Returns the bits of each picture's logits on the scalar kernels.
fn expected(bytes: &[u8]) -> Vec<Vec<u32>> {
    let engine = Engine::new(Model::parse(bytes).unwrap(), Kernels::scalar(), Serial).unwrap();
    (0..4).map(|seed| logits(&engine, &picture(seed))).collect()
}

/// The crate's documentation promises that 256 KiB of stack suffice on each core.
#[test]
fn a_quarter_of_a_megabyte_of_stack_is_enough() {
    for kernels in Kernels::supported() {
        let int8 = Dims { layout: kernels.layout().unwrap_or(DIMS.layout), ..DIMS };
        for dims in [int8, Dims { weights: WeightStorage::F16, layout: Layout::F16, ..DIMS }] {
            let run = move || {
                let bytes = model::random_model(&dims);
                let engine = Engine::new(Model::parse(&bytes).unwrap(), kernels, Serial).unwrap();
                assert!(logits(&engine, &picture(0)).iter().any(|bits| *bits != 0), "{kernels:?}");
            };
            std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap();
        }
    }
}

#[test]
fn many_engines_share_a_model_and_its_threads() {
    let bytes = model::random_model(&DIMS);
    let (model, expected) = (Model::parse(&bytes).unwrap(), expected(&bytes));
    let threads = Threads::new(3).unwrap();
    let shared = Engine::new(model.clone(), Kernels::best(&DIMS), &threads).unwrap();
    std::thread::scope(|scope| {
        for (index, expected) in expected.iter().enumerate() {
            let (model, threads, shared) = (&model, &threads, &shared);
            scope.spawn(move || {
                for _ in 0..20 {
                    let own = Engine::new(model.clone(), Kernels::best(&DIMS), threads).unwrap();
                    let alone = Engine::new(model.clone(), Kernels::best(&DIMS), Serial).unwrap();
                    assert_eq!(logits(&own, &picture(index)), *expected);
                    assert_eq!(logits(&alone, &picture(index)), *expected);
                    // Several threads may also use one engine at the same time, because each of them brings its own
                    // memory.
                    assert_eq!(logits(shared, &picture(index)), *expected);
                }
            });
        }
    });
}

#[test]
fn an_engine_moves_across_threads() {
    let bytes = model::random_model(&DIMS);
    let expected = expected(&bytes);
    std::thread::scope(|scope| {
        let threads = Threads::new(2).unwrap();
        let mut engine = Engine::new(Model::parse(&bytes).unwrap(), Kernels::best(&DIMS), threads).unwrap();
        for (index, expected) in expected.iter().enumerate() {
            let run = move || {
                assert_eq!(logits(&engine, &picture(index)), *expected);
                engine
            };
            engine = scope.spawn(run).join().unwrap();
        }
    });
}

/// A `ParallelFor` that starts new threads for each phase. Tasks are counted over all phases, and number `bad` panics
/// instead of running.
struct Scoped {
    tasks: AtomicUsize,
    bad: usize,
}

// SAFETY: each index is given to one thread only, and the scope waits for all threads, even when it unwinds.
unsafe impl ParallelFor for Scoped {
    fn workers(&self) -> usize {
        3
    }

    fn for_each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for index in 0..count {
                let number = self.tasks.fetch_add(1, Ordering::Relaxed);
                scope.spawn(move || {
                    assert_ne!(number, self.bad, "on purpose");
                    task(index);
                });
            }
        });
    }
}

#[test]
fn a_worker_that_panics_unwinds_out_of_run_and_spoils_nothing_else() {
    let bytes = model::random_model(&DIMS);
    let (model, expected) = (Model::parse(&bytes).unwrap(), expected(&bytes));
    let cores = Scoped { tasks: 0.into(), bad: usize::MAX };
    let engine = Engine::new(model.clone(), Kernels::best(&DIMS), &cores).unwrap();
    assert_eq!(logits(&engine, &picture(0)), expected[0]);
    let count = cores.tasks.load(Ordering::Relaxed);
    assert!(count > 6);
    for bad in 0..count {
        let cores = Scoped { tasks: 0.into(), bad };
        let engine = Engine::new(model.clone(), Kernels::best(&DIMS), &cores).unwrap();
        let outcome = catch_unwind(AssertUnwindSafe(|| logits(&engine, &picture(0))));
        assert!(outcome.is_err(), "task {bad}");
        // The same engine, model and memory still give the right logits.
        assert_eq!(logits(&engine, &picture(1)), expected[1], "after task {bad}");
    }
}
