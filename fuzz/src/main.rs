//! The program that libFuzzer drives. It holds all targets, and the environment variable `FUZZ_TARGET` names the one to
//! run.
#![no_main]

use std::ffi::c_int;
use std::process::abort;
use std::sync::OnceLock;

use resmlp_fuzz::Target;

/// Runs the target on one input; libFuzzer calls this function with every input.
///
/// # Safety
/// `data` must point to `size` bytes that can be read.
#[unsafe(no_mangle)]
unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        target_named(&name)
    });
    // SAFETY: the caller promises that `data` points to `size` bytes. An empty input needs no pointer.
    let data = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    target.run(data);
    0
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
