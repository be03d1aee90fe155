//! Forward passes of several engines, ready to be timed. Each function returns a closure that runs one pass on a
//! picture of its own.

use resmlp_cli::tract::TractReference;
use resmlp_network::Network;
use resmlp_runtime::measure::picture;
use resmlp_runtime::{AlignedBytes, Engine, Kernels, Model, Threads, repack_for};

use crate::model::random;

/// A closure that runs one forward pass.
pub type Pass = Box<dyn FnMut()>;

/// Rearranges a packed model for `kernels` and keeps it in memory for the rest of the process.
pub fn leak(bytes: AlignedBytes, kernels: &Kernels) -> Model<'static> {
    let (bytes, _) = repack_for(bytes, kernels).expect("a valid model");
    Model::parse(Box::leak(Box::new(bytes))).expect("a valid model")
}

/// Returns a pass of a packed model by this project's engine.
pub fn ours(model: Model<'static>, kernels: &'static Kernels, threads: usize) -> Pass {
    let engine = Engine::new(model, kernels, Threads::new(threads).expect("threads")).expect("an engine");
    let dims = *engine.model().dims();
    let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; dims.outputs]);
    let picture = picture(&dims);
    Box::new(move || engine.run(&picture, &mut scratch, &mut logits).expect("a run"))
}

/// Returns a pass of a network by tract, on one thread.
pub fn tract(network: &Network) -> Pass {
    let tract = TractReference::from_network(network).expect("tract takes the network");
    let pixels = pixels(network.image);
    Box::new(move || {
        std::hint::black_box(tract.logits(&pixels).expect("a run"));
    })
}

/// Returns a pass of an ONNX file's contents by rten. rten rearranges the weights once, at load.
#[cfg(feature = "peers")]
pub fn rten(onnx: Vec<u8>, image: [usize; 2], threads: usize) -> Pass {
    use std::sync::Arc;

    use rten::{ModelOptions, RunOptions, ThreadPool, Value};
    use rten_tensor::NdTensor;

    let onnx = crate::unpack::integers(&onnx);
    let model = ModelOptions::with_all_ops().prepack_weights(true).load(onnx).expect("rten takes the graph");
    let pool = Arc::new(ThreadPool::with_num_threads(threads));
    let input: Value = NdTensor::from_data([1, 3, image[0], image[1]], pixels(image)).into();
    Box::new(move || {
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        std::hint::black_box(model.run_one((&input).into(), Some(options)).expect("a run"));
    })
}

/// Returns noise in the range of normalised pixels: `[3, height, width]`.
fn pixels([height, width]: [usize; 2]) -> Vec<f32> {
    random(4).take(3 * height * width).map(|bits| bits as i16 as f32 / 16_384.0).collect()
}
