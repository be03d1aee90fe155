//! Fuzzing targets. Each takes arbitrary bytes and panics if a promise of `SECURITY.md` is broken.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer; `tests/corpora.rs` replays the inputs that are committed in
//! `corpora/`.

mod differential;
mod memory;
mod pickle;
mod readers;
mod rmlp;

/// A function that takes arbitrary bytes, and its name.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name in the variable `FUZZ_TARGET` and of the folder in `corpora/`.
    pub name: &'static str,
    run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target { name: "rmlp", run: rmlp::bytes },
    Target { name: "rmlp-fields", run: rmlp::fields },
    Target { name: "differential", run: differential::run },
    Target { name: "safetensors", run: readers::safetensors },
    Target { name: "pth", run: readers::pth },
    Target { name: "pickle", run: pickle::run },
    Target { name: "onnx", run: readers::onnx },
    Target { name: "picture", run: readers::picture },
    Target { name: "protocol", run: readers::protocol },
];

/// Runs `task` and panics if it allocates memory.
fn without_memory<T>(task: impl FnOnce() -> T) -> T {
    let (outcome, peak) = memory::peak(task);
    assert_eq!(peak, 0, "memory was allocated");
    outcome
}

impl Target {
    /// Returns the target called `name`.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Runs the target on `data`. One target runs at a time, because the memory of all threads is counted.
    ///
    /// # Panics
    /// If a promise is broken.
    pub fn run(&self, data: &[u8]) {
        let _alone = memory::alone();
        (self.run)(data);
    }
}
