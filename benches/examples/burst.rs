//! Runs one engine in a process of its own, on request. `benches/peers.py` starts several of these processes and
//! measures them by turns.
//!
//! ```text
//! burst ours MODEL.rmlp|SHAPE THREADS [KERNELS]    this project; for a SHAPE such as S12 a model with random weights
//! burst rten MODEL.onnx THREADS                    needs the feature `peers`
//! burst tract CHECKPOINT 1
//! burst peak int8|f32 THREADS                      multiply-accumulates in registers: the most that this CPU can do
//! ```
//!
//! The program prints a line of JSON when it is ready. Then it reads numbers of runs, one a line, and answers each with
//! a JSON list of the milliseconds that its runs took.

use std::fs::File;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::Path;
use std::time::Instant;

use resmlp_benches::passes::{self, Pass};
use resmlp_benches::{Peak, random_model, shape};
use resmlp_checkpoint::{LoadOptions, load};
use resmlp_runtime::{AlignedBytes, Kernels, WeightStorage};
use serde_json::{Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [engine, model, threads, kernels @ ..] = &arguments[..] else { panic!("expected ENGINE MODEL THREADS") };
    let threads = threads.parse().expect("a number of threads");
    let (about, mut pass) = match *engine {
        "ours" => ours(model, threads, kernels.first()),
        "tract" => tract(model),
        "rten" => rten(model, threads),
        "peak" => peak(model, threads),
        _ => panic!("expected ours, tract, rten or peak, found {engine}"),
    };
    println!("{about}");
    for line in stdin().lock().lines() {
        let runs: usize = line.expect("a line").trim().parse().expect("a number of runs");
        let times: Vec<f64> = (0..runs).map(|_| milliseconds(&mut pass)).collect();
        println!("{}", Value::from(times));
        stdout().flush().expect("standard output");
    }
}

fn milliseconds(pass: &mut Pass) -> f64 {
    let start = Instant::now();
    pass();
    1e3 * start.elapsed().as_secs_f64()
}

fn ours(model: &str, threads: usize, kernels: Option<&&str>) -> (Value, Pass) {
    let kernels = kernels.map_or_else(Kernels::fastest, |name| Kernels::named(name).expect("kernels of this name"));
    let model = match shape(model, WeightStorage::Int8) {
        Some(dims) => passes::leak(random_model(&dims), kernels),
        None => passes::leak(File::open(model).and_then(AlignedBytes::read).expect("a model"), kernels),
    };
    let about = json!({ "kernels": kernels.name(), "macs": model.dims().macs() });
    (about, passes::ours(model, kernels, threads))
}

fn tract(checkpoint: &str) -> (Value, Pass) {
    let network = load(Path::new(checkpoint), &LoadOptions::default()).expect("a checkpoint").network;
    (json!({ "macs": network.macs() }), passes::tract(&network))
}

#[cfg(feature = "peers")]
fn rten(onnx: &str, threads: usize) -> (Value, Pass) {
    let bytes = std::fs::read(onnx).expect("an ONNX file");
    (json!({}), passes::rten(bytes, [224, 224], threads))
}

#[cfg(not(feature = "peers"))]
fn rten(_: &str, _: usize) -> (Value, Pass) {
    panic!("built without the feature `peers`")
}

fn peak(numbers: &str, threads: usize) -> (Value, Pass) {
    let peak = Peak::best(numbers).expect("an instruction of this CPU that multiplies such numbers");
    (json!({ "kernels": peak.name, "macs": peak.macs(threads) }), Box::new(move || peak.run(threads)))
}
