//! What libFuzzer calls. One program for all targets: the environment variable `FUZZ_TARGET` names the one that is run.
#![no_main]

use std::ffi::c_int;
use std::process::abort;
use std::sync::OnceLock;

use resmlp_fuzz::Target;

/// Called by libFuzzer with every input.
///
/// # Safety
/// `data` points to `size` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn LLVMFuzzerTestOneInput(data: *const u8, size: usize) -> c_int {
    static TARGET: OnceLock<Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        target_named(&name)
    });
    // SAFETY: the caller's promise; libFuzzer's empty input has an address too.
    let data = if size == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, size) } };
    target.run(data);
    0
}

/// From here on a panic aborts, which is what libFuzzer keeps the input of.
fn target_named(name: &str) -> Target {
    let Some(target) = Target::named(name) else {
        eprintln!("FUZZ_TARGET={name} is no target");
        abort()
    };
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        abort()
    }));
    target
}
