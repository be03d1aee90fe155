//! Fuzzing targets: each takes arbitrary bytes and panics where a promise of `SECURITY.md` is broken.
//!
//! `cargo xtask fuzz` runs them under libFuzzer; `tests/corpora.rs` replays what is committed in `corpora/`.

mod differential;
mod memory;
mod pickle;
mod readers;
mod rmlp;

/// A function for arbitrary bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// What `FUZZ_TARGET` and the folder in `corpora/` call it.
    pub name: &'static str,
    run: fn(&[u8]),
}

/// All of them.
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

/// Runs `task`, which may allocate nothing.
fn without_memory<T>(task: impl FnOnce() -> T) -> T {
    let (outcome, peak) = memory::peak(task);
    assert_eq!(peak, 0, "memory was allocated");
    outcome
}

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Panics where a promise is broken.
    ///
    /// One target runs at a time, because the memory of all threads is counted.
    pub fn run(&self, data: &[u8]) {
        let _alone = memory::alone();
        (self.run)(data);
    }
}
