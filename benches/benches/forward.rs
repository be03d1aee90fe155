//! Whole forward passes of the demo's network: every kernel table, one thread and all, beside tract on the same network.
//!
//! `cargo bench -p resmlp-benches`

use std::hint::black_box;
use std::path::PathBuf;
use std::thread::available_parallelism;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use resmlp_converter::classify::normalise;
use resmlp_converter::convert::{Request, convert};
use resmlp_converter::dataset::Dataset;
use resmlp_converter::packed::PackedModel;
use resmlp_converter::picture::Preprocess;
use resmlp_converter::source::{self, Checkpoint, LoadOptions};
use resmlp_converter::tract::TractReference;
use resmlp_runtime::{AlignedBytes, Kernels, Layout, Precision, Threads};

fn demo(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo")).join(name)
}

/// The demo's network in both precisions, packed.
fn models(checkpoint: &Checkpoint, preprocess: &Preprocess, pictures: &[Vec<u8>]) -> [(&'static str, Vec<u8>); 2] {
    let path = demo("resmlp_cifar10.safetensors");
    [("int8", Precision::Int8), ("f16", Precision::F16)].map(|(name, precision)| {
        let request = Request {
            path: &path,
            checkpoint,
            preprocess,
            labels: vec![],
            precision,
            layout: Layout::DEFAULT,
            pictures,
            sensitivity: false,
        };
        (name, convert(&request, || ()).expect("the demo's network converts").bytes)
    })
}

fn forward(criterion: &mut Criterion) {
    let path = demo("resmlp_cifar10.safetensors");
    let checkpoint = source::load(&path, &LoadOptions::default()).expect("the demo's checkpoint");
    let network = &checkpoint.network;
    let preprocess = Preprocess { crop: 1.0, ..Preprocess::imagenet(network.image) };
    let loaded = Dataset::open(demo("calibration")).and_then(|d| d.load(&preprocess, &|| ())).expect("pictures");
    let pictures: Vec<Vec<u8>> = loaded.samples.into_iter().map(|sample| sample.pixels).collect();

    let mut group = criterion.benchmark_group("demo network");
    group.throughput(Throughput::Elements(network.macs()));
    let cores = available_parallelism().map_or(1, usize::from);
    for (precision, bytes) in models(&checkpoint, &preprocess, &pictures) {
        for kernels in Kernels::supported() {
            let bytes = AlignedBytes::from(&*bytes);
            let model = PackedModel::new(&path, bytes, Some(kernels.name())).expect("the packed model");
            for threads in if cores == 1 { vec![1] } else { vec![1, cores] } {
                let engine = model.engine(Threads::new(threads).expect("threads")).expect("the engine");
                let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; network.outputs()]);
                group.bench_function(format!("{precision} {} {threads} threads", kernels.name()), |bencher| {
                    bencher.iter(|| engine.run(black_box(&pictures[0]), &mut scratch, &mut logits).expect("a run"));
                });
            }
        }
    }
    let tract = TractReference::from_network(network).expect("tract takes the network");
    let pixels = normalise(&pictures[0], &preprocess);
    group.bench_function("f32 tract 1 threads", |bencher| {
        bencher.iter(|| tract.logits(black_box(&pixels)).expect("a run"))
    });
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
