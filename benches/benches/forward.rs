//! Times whole forward passes: every kernel table by network, precision and number of threads, beside tract and rten on
//! the same network.
//!
//! `cargo bench -p resmlp-benches --features peers --bench forward`
//!
//! The demo's network is trained. S12 and S24 have the published shapes and random weights; their int8 models are
//! calibrated on noise. Two environment variables add more:
//!
//! * `RESMLP_BENCH_LARGE=1` adds B24/16 and B24/8, which take minutes.
//! * `RESMLP_BENCH_INT8_ONNX=FILE`, an absolute path, adds rten on a quantised S12, such as the one that
//!   `benches/peers.py` leaves behind.

use std::thread::available_parallelism;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use resmlp_benches::passes::{self, Pass};
use resmlp_benches::{demo_file, random_model, random_network, shape};
use resmlp_checkpoint::LoadOptions;
use resmlp_network::Network;
use resmlp_picture::Preprocess;
use resmlp_quantise::{Extras, Request, convert};
use resmlp_runtime::measure::picture;
use resmlp_runtime::{AlignedBytes, Kernels, Layout, WeightStorage};

const PRECISIONS: [(&str, WeightStorage); 2] = [("int8", WeightStorage::Int8), ("f16", WeightStorage::F16)];

fn forward(criterion: &mut Criterion) {
    let checkpoint = demo_file("resmlp_cifar10.safetensors");
    let demo = resmlp_checkpoint::load(&checkpoint, &LoadOptions::default()).expect("the demo");
    network(criterion, "demo", &demo.network);
    for name in ["S12", "S24"] {
        network(criterion, name, &random_network(&shape(name, WeightStorage::Int8).expect("a published shape")));
    }
    if std::env::var("RESMLP_BENCH_LARGE").is_ok_and(|value| value == "1") {
        ["B24/16", "B24/8"].iter().for_each(|name| large(criterion, name));
    }
}

/// Times the passes of this project, tract and rten on one network.
fn network(criterion: &mut Criterion, name: &str, network: &Network) {
    let mut group = group(criterion, name, network.macs());
    for (precision_name, precision) in PRECISIONS {
        let bytes = packed(network, precision);
        // The scalar kernels are a hundred times slower than the others, so only the demo's network is timed with them.
        for kernels in Kernels::supported().filter(|k| name == "demo" || k.name() != Kernels::scalar().name()) {
            let model = passes::leak(AlignedBytes::from(&*bytes), kernels);
            for threads in threads() {
                let pass = passes::ours(model.clone(), kernels, threads);
                time(&mut group, &format!("{precision_name} {}/{threads}", kernels.name()), pass);
            }
        }
    }
    time(&mut group, "f32 tract/1", passes::tract(network));
    rten(&mut group, name, network);
    group.finish();
}

/// Times this project alone, on an int8 model with random weights.
fn large(criterion: &mut Criterion, name: &str) {
    let dims = shape(name, WeightStorage::Int8).expect("a published shape");
    let mut group = group(criterion, name, dims.macs());
    let kernels = Kernels::fastest();
    let model = passes::leak(random_model(&dims), kernels);
    for threads in threads() {
        let pass = passes::ours(model.clone(), kernels, threads);
        time(&mut group, &format!("int8 {}/{threads}", kernels.name()), pass);
    }
    group.finish();
}

#[cfg(feature = "peers")]
fn rten(group: &mut BenchmarkGroup<WallTime>, name: &str, network: &Network) {
    use resmlp_checkpoint::export::{Batch, onnx_bytes};

    let float = ("f32 rten", Some(onnx_bytes(network, Batch::Fixed(1)).expect("an ONNX file")));
    let quantised = std::env::var_os("RESMLP_BENCH_INT8_ONNX").filter(|_| name == "S12");
    let int8 = ("int8 rten", quantised.map(|path| std::fs::read(path).expect("an ONNX file")));
    for (id, bytes) in [float, int8] {
        let Some(bytes) = bytes else { continue };
        for threads in threads() {
            time(group, &format!("{id}/{threads}"), passes::rten(bytes.clone(), network.image, threads));
        }
    }
}

#[cfg(not(feature = "peers"))]
fn rten(_: &mut BenchmarkGroup<WallTime>, _: &str, _: &Network) {}

fn group<'c>(criterion: &'c mut Criterion, name: &str, macs: u64) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(macs)).sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    group
}

fn time(group: &mut BenchmarkGroup<WallTime>, id: &str, mut pass: Pass) {
    group.bench_function(id, |bencher| bencher.iter(&mut pass));
}

/// Returns the numbers of threads to measure: 1, 2, 4, … and the number of cores.
fn threads() -> Vec<usize> {
    let cores = available_parallelism().map_or(1, usize::from);
    let mut threads: Vec<usize> = (0..).map(|power| 1 << power).take_while(|&threads| threads < cores).collect();
    threads.push(cores);
    threads
}

/// Converts `network`, calibrated on noise, and returns the packed file.
fn packed(network: &Network, weights: WeightStorage) -> Vec<u8> {
    let image = network.image;
    let dims = resmlp_runtime::Dims { image, ..shape("S12", weights).expect("a published shape") };
    // The head sees means over the patches, and those are alike for any two pictures of noise. Four brightnesses give
    // it a range.
    let noise = picture(&dims);
    let pictures = [1, 2, 3, 4].map(|part| noise.iter().map(|&byte| (usize::from(byte) * part / 4) as u8).collect());
    let preprocess = Preprocess { crop: 1.0, ..Preprocess::imagenet(image) };
    let extras = Extras { labels: vec![], preprocessing: preprocess.packed(), provenance: String::new() };
    let request =
        Request { network, extras: &extras, weights, layout: Layout::DEFAULT, pictures: &pictures, sensitivity: false };
    convert(&request, || ()).expect("the network converts").bytes
}

criterion_group!(benches, forward);
criterion_main!(benches);
