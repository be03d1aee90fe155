//! The program that libFuzzer drives. It holds all targets, and the environment variable `FUZZ_TARGET` names the one to
//! run.
#![no_main]

use std::ffi::{c_int, c_uint};
use std::process::abort;
use std::sync::OnceLock;

use resmlp_fuzz::Target;

/// Runs the target on one input; libFuzzer calls this function with every input.
///
/// # Safety
/// `data` must point to `size` bytes that can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    // SAFETY: the caller promises that `data` points to `size` bytes. An empty input needs no pointer.
    let data = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    target().run(data);
    0
}

unsafe extern "C" {
    /// Mutates the `size` bytes at `data` in place, to at most `most` bytes, and returns their number.
    fn LLVMFuzzerMutate(data: *mut u8, size: usize, most: usize) -> usize;
}

/// Mutates an input in place to at most `most` bytes; libFuzzer calls this function instead of its own mutations.
///
/// # Safety
/// `data` must point to `most` bytes that can be read and written, of which the first `size` are the input.
#[unsafe(no_mangle)]
unsafe extern "C" fn LLVMFuzzerCustomMutator(data: *mut u8, size: usize, most: usize, seed: c_uint) -> usize {
    // SAFETY: the caller promises that `data` points to `most` bytes that nothing else uses meanwhile.
    let memory = unsafe { std::slice::from_raw_parts_mut(data, most) };
    let mut input = memory[..size.min(most)].to_vec();
    target().mutate(&mut input, most, seed, &mut mutate_plainly);
    let length = input.len().min(most);
    memory[..length].copy_from_slice(&input[..length]);
    length
}

/// The most bytes by which one of libFuzzer's own mutations lengthens an input here.
const GROWTH: usize = 1 << 12;

/// Lets libFuzzer mutate `part` to at most `most` bytes.
fn mutate_plainly(part: &mut Vec<u8>, most: usize) {
    let size = part.len().min(most);
    part.resize(most.min(size + GROWTH), 0);
    if part.is_empty() {
        return;
    }
    // SAFETY: the vector holds `part.len()` bytes, of which the first `size` are the input.
    let length = unsafe { LLVMFuzzerMutate(part.as_mut_ptr(), size, part.len()) };
    part.truncate(length);
}

/// Returns the target that the variable `FUZZ_TARGET` names.
fn target() -> &'static Target {
    static TARGET: OnceLock<Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        target_named(&name)
    })
}

/// Returns the target called `name`, and makes every later panic abort: libFuzzer keeps the input of an abort.
fn target_named(name: &str) -> Target {
    let Some(target) = Target::named(name) else {
        eprintln!("FUZZ_TARGET={name} is not a target");
        abort()
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        abort()
    }));
    target
}
