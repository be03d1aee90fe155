//! Fuzzing targets. Each takes arbitrary bytes and panics if a promise of `SECURITY.md` is broken.
//!
//! `cargo xtask fuzz` runs the targets under libFuzzer; `tests/corpora.rs` replays the inputs that are committed in
//! `corpora/`.

mod differential;
mod file;
mod memory;
mod mutate;
mod pickle;
mod readers;
mod rmlp;

pub use mutate::Plain;

/// A function that takes arbitrary bytes, and its name.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name in the variable `FUZZ_TARGET` and of the folder in `corpora/`.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Whether the inputs are files with lengths and checksums, which [`mutate`] keeps right.
    is_file: bool,
}

impl Target {
    /// A target whose inputs may be any bytes.
    const fn bytes(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, is_file: false }
    }

    /// A target whose inputs are files of a known structure.
    const fn files(name: &'static str, run: fn(&[u8])) -> Self {
        Self { name, run, is_file: true }
    }
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target::bytes("rmlp", rmlp::bytes),
    Target::bytes("rmlp-fields", rmlp::fields),
    Target::bytes("differential", differential::run),
    Target::files("safetensors", readers::checkpoint_file),
    Target::files("pth", readers::checkpoint_file),
    Target::bytes("pickle", pickle::run),
    Target::files("onnx", readers::onnx),
    Target::files("file", file::run),
    Target::bytes("picture", readers::picture),
    Target::bytes("protocol", readers::protocol),
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

    /// Mutates an input to at most `most` bytes, with choices that follow from `seed`. `plain` makes the mutations of
    /// libFuzzer itself.
    pub fn mutate(&self, input: &mut Vec<u8>, most: usize, seed: u32, plain: &mut Plain) {
        match self.is_file {
            true => mutate::mutate(input, most, seed, plain),
            false => plain(input, most),
        }
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
