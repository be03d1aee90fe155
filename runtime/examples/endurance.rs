//! Runs a packed model many times, on a number of threads that keeps changing. The bits of every logit must be those of
//! the scalar kernels, and the memory of the process must not grow.
//!
//! ```text
//! cargo run --release -p resmlp-runtime --example endurance -- MODEL.rmlp [inferences]
//! ```
//!
//! The program runs on Linux only, because it reads its memory use from `/proc/self/status`.

use std::process::ExitCode;
use std::time::Instant;

use resmlp_runtime::{AlignedBytes, Engine, Kernels, Model, ParallelFor, Serial, Threads, repack};

/// Number of inferences before the number of threads changes.
const STINT: usize = 250;
/// Number of different pictures.
const PICTURES: usize = 32;
/// Growth of the resident memory that does not count as a leak, in bytes: an allocator may touch some pages late.
const SLACK: usize = 512 << 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [path] => endure(path, 1_000_000),
        [path, count] => {
            count.parse().map_err(|_| format!("{count} is not a number")).and_then(|count| endure(path, count))
        }
        _ => Err("usage: endurance MODEL.rmlp [inferences]".into()),
    };
    match outcome {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn endure(path: &str, inferences: usize) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
    let bytes = AlignedBytes::from(&*bytes);
    let model = Model::parse(&bytes).map_err(|error| format!("{path}: {error}"))?;
    let kernels = Kernels::fastest();
    let layout = kernels.layout().unwrap_or(model.dims().layout);
    let repacked = repack(&model, layout).map_err(|error| error.to_string())?;

    let pictures = pictures(&model);
    let expected = pictures.iter().map(|picture| logits(&model, Kernels::scalar(), &Serial, picture));
    let expected: Vec<Vec<u32>> = expected.collect::<Result<_, String>>()?;
    if expected.iter().all(|logits| *logits == expected[0]) {
        return Err("all pictures have the same logits, so this model tests nothing".into());
    }

    let model = Model::parse(&repacked).map_err(|error| error.to_string())?;
    let start = Instant::now();
    let (mut first, mut most) = (0, 0);
    for (stint, done) in (0..inferences).step_by(STINT).enumerate() {
        let threads = Threads::new(1 + stint % 8).map_err(|error| error.to_string())?;
        for run in done..inferences.min(done + STINT) {
            let index = run % PICTURES;
            if logits(&model, kernels, &threads, &pictures[index])? != expected[index] {
                return Err(format!("inference {run} on {} threads has other logits", threads.workers()));
            }
        }
        drop(threads);
        // Once every number of threads has been used, nothing new has to be allocated.
        if stint % 8 == 7 {
            most = resident()?.max(most);
            first = if first == 0 { most } else { first };
        }
        if stint % 400 == 399 {
            eprintln!("{:>8} inferences, {:>5} s, {} KiB", done + STINT, start.elapsed().as_secs(), resident()? >> 10);
        }
    }
    if first == 0 || most > first + SLACK {
        return Err(format!("resident memory grew from {first} to {most} bytes"));
    }
    let (seconds, name) = (start.elapsed().as_secs(), kernels.name());
    let (first, most) = (first >> 10, most >> 10);
    Ok(format!(
        "{inferences} inferences on {name}, 1 to 8 threads, {seconds} s: logits identical; resident memory {first} KiB \
         after the first {} inferences, {most} KiB at most",
        8 * STINT
    ))
}

/// Returns pictures of random pixels.
fn pictures(model: &Model) -> Vec<Vec<u8>> {
    let [height, width] = model.dims().image;
    let mut state = 1u64;
    let mut pixel = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..PICTURES).map(|_| (0..3 * height * width).map(|_| pixel()).collect()).collect()
}

/// Returns the bits of a picture's logits. Each call makes a new engine and new memory, as a simple program would.
fn logits<P: ParallelFor>(
    model: &Model,
    kernels: &'static Kernels,
    parallel: &P,
    picture: &[u8],
) -> Result<Vec<u32>, String> {
    let engine = Engine::new(model.clone(), kernels, parallel).map_err(|error| error.to_string())?;
    let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0f32; model.dims().outputs]);
    engine.run(picture, &mut scratch, &mut logits).map_err(|error| error.to_string())?;
    Ok(logits.into_iter().map(f32::to_bits).collect())
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> Result<usize, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| format!("/proc/self/status: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().map_err(|_| format!("VmRSS:{line}"))?;
    Ok(kilobytes << 10)
}
