//! Makes safetensors files whose headers are costly to read.

use super::Kind;

/// Returns a file with a header of about `size` bytes: `before`, many times `unit`, and `after`.
fn many(before: &str, unit: &str, after: &str, size: usize) -> Vec<u8> {
    file(&[before, &unit.repeat(size / unit.len()), after].concat())
}

fn file(header: &str) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()
}

/// Returns a file whose header has entries numbered from 0 up, separated by commas.
fn entries(entry: fn(usize) -> String, size: usize) -> Vec<u8> {
    let count = size / (entry(0).len() + 5);
    file(&format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(",")))
}

/// Returns the header's entry of a tensor without elements.
fn empty(name: &str, kind: &str) -> String {
    format!("\"{name}\":{{\"dtype\":\"{kind}\",\"shape\":[0],\"data_offsets\":[0,0]}}")
}

pub const KINDS: &[Kind] = &[
    ("empty tensors", |size| entries(|n| empty(&n.to_string(), "F32"), size)),
    ("empty tensors of integers", |size| entries(|n| empty(&n.to_string(), "I64"), size)),
    ("names of blocks", |size| entries(|n| empty(&format!("blocks.{n}.norm1.alpha"), "F32"), size)),
    ("networks", |size| entries(|n| empty(&format!("n{n}.blocks.0.norm1.alpha"), "F32"), size)),
    ("the same name", |size| entries(|_| empty("head.weight", "F32"), size)),
    ("names of many parts", |size| {
        let name = "a.".repeat(size / 2 / 6);
        let parts = ["norm1.alpha", "norm1.beta", "norm2.alpha", "norm2.beta", "ls1", "ls2"];
        let parts = parts.map(|part| empty(&format!("{name}blocks.0.{part}"), "F32"));
        file(&format!("{{{}}}", parts.join(",")))
    }),
    ("metadata", |size| {
        let texts: Vec<String> = (0..size / 14).map(|n| format!("\"{n}\":\"\"")).collect();
        file(&format!("{{\"__metadata__\":{{{}}}}}", texts.join(",")))
    }),
    ("a shape of many lengths", |size| {
        many("{\"a\":{\"dtype\":\"F32\",\"shape\":[0", ",0", "],\"data_offsets\":[0,0]}}", size)
    }),
    ("many offsets", |size| many("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0", ",0", "]}}", size)),
    ("nested lists", |size| many("{\"a\":", "[", "", size)),
    ("nested objects", |size| many("", "{\"a\":", "", size)),
    ("escapes", |size| many("{\"", "\\u0041", "\":0}", size)),
    ("spaces", |size| many("{", " ", "}", size)),
    ("offsets that overlap", |size| {
        let entry = |n: usize| {
            format!("\"{n}\":{{\"dtype\":\"F32\",\"shape\":[{}],\"data_offsets\":[0,{}]}}", 1 << 18, 1 << 20)
        };
        let header = format!("{{{}}}", (0..100).map(entry).collect::<Vec<_>>().join(","));
        [file(&header), vec![0; size]].concat()
    }),
    ("offsets beyond all memory", |size| {
        let header =
            "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,18446744073709551615]}}";
        [file(header), vec![0; size]].concat()
    }),
];
