//! Sends bytes that are built to keep a decoder busy. Its time must be proportional to their number, and it must
//! allocate nothing.

use std::time::{Duration, Instant};

use resmlp_protocol::{Decoder, MAGIC, Message};

#[path = "../../../fuzz/src/memory.rs"]
mod memory;

/// Number of bytes of a picture of 224 × 224 pixels.
const PICTURE: usize = 3 * 224 * 224;

/// Decodes `line` and returns the number of whole frames and of broken ones, and the time.
fn decode(line: &[u8], step: usize) -> ([usize; 2], Duration) {
    let mut buffer = vec![0; PICTURE + resmlp_protocol::OVERHEAD];
    let mut decoder = Decoder::new(&mut buffer);
    let start = Instant::now();
    let (counts, peak) = memory::peak(|| {
        let mut counts = [0; 2];
        for chunk in line.chunks(step) {
            let mut rest = chunk;
            while !rest.is_empty() {
                rest = &rest[decoder.push(rest)..];
                while let Some(frame) = decoder.take() {
                    counts[usize::from(frame.is_err())] += 1;
                }
            }
        }
        counts
    });
    assert_eq!(peak, 0, "memory was allocated");
    (counts, start.elapsed())
}

fn hello() -> Vec<u8> {
    let mut buffer = [0; 64];
    Message::Hello.encode(&mut buffer).unwrap().to_vec()
}

/// Returns a header with the right checksum that announces `length` bytes.
fn header(length: usize) -> Vec<u8> {
    let fields = [&MAGIC[..], &2u32.to_le_bytes(), &(length as u32).to_le_bytes()].concat();
    [&fields[..], &crc32fast::hash(&fields).to_le_bytes()].concat()
}

/// Returns hostile lines of `length` bytes that resemble frames, each with a name.
fn lines(length: usize) -> [(&'static str, Vec<u8>); 6] {
    let repeated = |bytes: &[u8]| bytes.repeat(length / bytes.len());
    [
        ("first magic bytes", repeated(&MAGIC[..1])),
        ("magic bytes", repeated(&MAGIC)),
        ("beginnings of frames", repeated(&hello()[..12])),
        ("headers of long frames", repeated(&header(PICTURE))),
        ("headers of short frames", repeated(&header(100))),
        ("headers of frames that are too long", repeated(&header(PICTURE + 1))),
    ]
}

#[test]
fn time_is_proportional_to_the_number_of_bytes() {
    for step in [1 << 20, 64, 1] {
        for (what, line) in lines(1 << 20) {
            let (counts, time) = decode(&line, step);
            println!("{what}, {step} at a time: {counts:?} in {:.3} s", time.as_secs_f64());
            // At 115200 baud a mebibyte takes 91 s.
            assert!(time < Duration::from_secs(5), "{what}: {time:?}");
        }
    }
}

#[test]
fn a_frame_after_hostile_bytes_is_found() {
    for (what, mut line) in lines(4 * PICTURE) {
        // After as many bytes as the longest frame has, the decoder no longer waits for the payload of any header.
        line.extend(vec![0; PICTURE + 32]);
        line.extend(hello());
        let ([whole, _], _) = decode(&line, 4096);
        assert_eq!(whole, 1, "{what}");
    }
}
