//! Runs a few small random models on every kernel table and on threads, for memory checkers such as Valgrind. Models,
//! scratch memory and results have exactly the size they need, so that a checker notices any access outside them.

#[path = "random_model/model.rs"]
mod model;

use resmlp_runtime::{
    Arithmetic, Dims, Engine, Kernels, Layout, Model, ParallelFor, Serial, Threads, WeightStorage, repack,
};

const SHAPES: [([usize; 2], usize, usize, usize, usize); 4] =
    [([8, 12], 4, 20, 52, 7), ([15, 9], 3, 12, 48, 1), ([7, 7], 1, 33, 17, 100), ([5, 5], 5, 1, 1, 2)];

fn main() {
    // Some of the shapes have fewer panels than there are threads.
    let threads = Threads::new(9).expect("threads");
    for (image, patch, dim, hidden, outputs) in SHAPES {
        for (weights, layout) in [(WeightStorage::Int8, Layout::DEFAULT), (WeightStorage::F16, Layout::F16)] {
            for has_head in [true, false] {
                let outputs = if has_head { outputs } else { dim };
                let dims =
                    Dims { weights, image, patch, dim, hidden, depth: 2, outputs, has_head, has_gains: true, layout };
                let bytes = model::random_model(&dims);
                let model = Model::parse(&bytes).expect("a valid model");
                for kernels in Kernels::supported() {
                    let own = kernels.layout().filter(|_| weights.arithmetic() == Arithmetic::Int8).unwrap_or(layout);
                    let packed = repack(&model, own).expect("a valid layout");
                    let model = Model::parse(&packed).expect("a valid model");
                    let alone = run(&model, kernels, &Serial);
                    assert_eq!(alone, run(&model, kernels, &threads), "{} on threads, {dims:?}", kernels.name());
                    println!("{} {weights:?} {image:?}: first result {}", kernels.name(), alone[0]);
                }
            }
        }
    }
}

fn run<P: ParallelFor>(model: &Model, kernels: &'static Kernels, parallel: &P) -> Vec<f32> {
    let dims = model.dims();
    let engine = Engine::new(model.clone(), kernels, parallel).expect("kernels for this layout");
    let picture: Box<[u8]> = (0..dims.image[0] * dims.image[1] * 3).map(|i| (i * i * 31 % 251) as u8).collect();
    let (mut scratch, mut logits) = (vec![0xa5; engine.scratch_len()], vec![0.0; dims.outputs]);
    engine.run(&picture, &mut scratch, &mut logits).expect("a run");
    assert!(logits.iter().all(|logit| logit.is_finite()));
    logits
}
