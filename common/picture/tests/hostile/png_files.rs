//! Makes PNG files, chunk by chunk.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// How a PNG's pixels are stored: the bits of a sample, and the number of the colour type.
#[derive(Clone, Copy)]
pub struct Kind {
    pub depth: u8,
    pub color: u8,
    pub channels: u64,
}

pub const BLACK_AND_WHITE: Kind = Kind { depth: 1, color: 0, channels: 1 };
pub const GREY: Kind = Kind { depth: 8, color: 0, channels: 1 };
pub const RGB: Kind = Kind { depth: 8, color: 2, channels: 3 };
pub const RGBA16: Kind = Kind { depth: 16, color: 6, channels: 4 };

/// Compresses `length` zeros.
pub fn zeros(length: u64) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let block = [0; 1 << 16];
    let mut left = length;
    while left > 0 {
        let now = left.min(block.len() as u64);
        encoder.write_all(&block[..now as usize]).unwrap();
        left -= now;
    }
    encoder.finish().unwrap()
}

pub fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let body = [kind, data].concat();
    [&(data.len() as u32).to_be_bytes()[..], &body, &crc32fast::hash(&body).to_be_bytes()].concat()
}

/// Returns a PNG with `before` between its header and its data, which are compressed already.
pub fn png([width, height]: [u32; 2], kind: Kind, interlaced: bool, before: &[u8], data: &[u8]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([kind.depth, kind.color, 0, 0, u8::from(interlaced)]);
    [&b"\x89PNG\r\n\x1a\n"[..], &chunk(b"IHDR", &header), before, &chunk(b"IDAT", data), &chunk(b"IEND", b"")].concat()
}

/// Returns a black PNG of the smallest size.
pub fn black([width, height]: [u32; 2], kind: Kind, interlaced: bool) -> Vec<u8> {
    let row = (u64::from(width) * kind.channels * u64::from(kind.depth)).div_ceil(8);
    // Interlaced files are seven pictures, each of whose rows has a filter's byte and ends with a whole byte.
    let filters = if interlaced { 4 * u64::from(height) + 32 } else { u64::from(height) };
    png([width, height], kind, interlaced, &[], &zeros(u64::from(height) * row + filters))
}
