//! Reads files of 1 to 16 MiB that are built to become as large as possible in memory, or to take as many steps as
//! possible.
//!
//! Memory is measured. Steps are counted as allocations and allocated bytes, because a clock gives another answer in
//! every run.

use std::path::Path;

use resmlp_checkpoint::{LoadOptions, load_bytes};

#[path = "amplifiers/archives.rs"]
mod archives;
#[path = "amplifiers/headers.rs"]
mod headers;
#[path = "../../../fuzz/src/memory.rs"]
mod memory;
#[path = "amplifiers/messages.rs"]
mod messages;
#[path = "amplifiers/pickles.rs"]
mod pickles;

use memory::{Bound, Cost};

/// A kind of file, and a function that makes such a file of about as many bytes as it is told.
type Kind = (&'static str, fn(usize) -> Vec<u8>);

/// Lengths of the files, in bytes. Short files show whether the base of a bound holds, long ones whether its slope
/// does.
const SIZES: [usize; 4] = [1 << 17, 1 << 20, 8 << 20, 16 << 20];

/// By how much a cost may grow faster than the file.
const LINEAR: usize = 3;

/// Allocations, and bytes of allocations, that any file may take.
const ANY: [usize; 2] = [10_000, 8 << 20];

/// Reads a file and returns what that cost.
fn read(what: &str, file: Vec<u8>, bound: Bound) -> Cost {
    let length = file.len();
    let start = std::time::Instant::now();
    let (outcome, cost) = memory::cost(|| load_bytes(Path::new("hostile"), file, &LoadOptions::default()).map(drop));
    let found = outcome.map_or_else(|error| error.to_string(), |()| "a network".to_owned());
    let per_byte = cost.peak as f64 / length as f64;
    let seconds = start.elapsed().as_secs_f64();
    println!("{what}: {length} bytes, {per_byte:.1} a byte held, {seconds:.2} s: {found:.90}");
    assert!(found.len() < 4000, "{what}: a message of {} bytes", found.len());
    assert!(cost.peak <= bound.of(length), "{what}: {length} bytes, {cost:?}, expected {bound:?}");
    cost
}

/// Reads files of every kind and size.
fn check(kinds: &[Kind], bound: Bound) {
    let _alone = memory::alone();
    for (what, make) in kinds {
        let costs = SIZES.map(|size| read(what, make(size), bound));
        let growth = LINEAR * SIZES[2] / SIZES[1];
        let [small, large] = [costs[1], costs[2]];
        assert!(large.allocations <= growth * (small.allocations + ANY[0]), "{what}: {small:?}, then {large:?}");
        assert!(large.allocated <= growth * (small.allocated + ANY[1]), "{what}: {small:?}, then {large:?}");
    }
}

#[test]
fn pickles() {
    check(pickles::KINDS, Bound { per_byte: 32, base: 8 << 20 });
}

#[test]
fn archives() {
    check(archives::KINDS, Bound { per_byte: 32, base: 8 << 20 });
}

#[test]
fn entries_in_the_same_place_are_refused() {
    let _alone = memory::alone();
    let file = archives::overlapping(1 << 16);
    let error = load_bytes(Path::new("hostile"), file, &LoadOptions::default()).unwrap_err().to_string();
    assert!(error.contains("zip entry 'data/1': overlaps with other entries"), "{error}");
}

#[test]
fn headers_of_safetensors() {
    check(headers::KINDS, Bound { per_byte: 32, base: 8 << 20 });
}

#[test]
fn messages_of_onnx() {
    check(messages::KINDS, Bound { per_byte: 32, base: 8 << 20 });
}
