//! Makes JPEG files, segment by segment. Their scans have no data, so a decoder reads zeros.

/// The kinds of frame headers.
pub const BASELINE: u8 = 0xc0;
pub const PROGRESSIVE: u8 = 0xc2;
pub const LOSSLESS: u8 = 0xc3;

/// Sampling factors of each component, across in the upper four bits, down in the lower four.
pub const GREY: &[u8] = &[0x11];
pub const COLOR: &[u8] = &[0x11, 0x11, 0x11];
pub const SUBSAMPLED: &[u8] = &[0x22, 0x11, 0x11];
pub const INKS: &[u8] = &[0x11, 0x11, 0x11, 0x11];

pub fn segment(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[0xff, kind][..], &(content.len() as u16 + 2).to_be_bytes(), content].concat()
}

/// Returns a Huffman table whose only code, one zero bit, means `symbol`.
pub fn table(class_and_index: u8, symbol: u8) -> Vec<u8> {
    let mut content = vec![class_and_index, 1];
    content.extend([0; 15]);
    content.push(symbol);
    segment(0xc4, &content)
}

/// Returns everything before the first scan, with tables that give `ac` for a zero bit.
pub fn head(frame: u8, [width, height]: [u16; 2], factors: &[u8], ac: u8) -> Vec<u8> {
    let mut header = vec![8];
    header.extend(height.to_be_bytes());
    header.extend(width.to_be_bytes());
    header.push(factors.len() as u8);
    for (index, &factor) in factors.iter().enumerate() {
        header.extend([index as u8 + 1, factor, 0]);
    }
    let quantization = [&[0][..], &[1; 64]].concat();
    let tables = [segment(0xdb, &quantization), table(0x00, 0), table(0x10, ac)].concat();
    [&[0xff, 0xd8][..], &tables, &segment(frame, &header)].concat()
}

/// Returns a scan of `components` (numbers from 1 on), of the coefficients `band`, `approximation` being high and low
/// bit.
pub fn scan(components: &[u8], band: [u8; 2], approximation: u8) -> Vec<u8> {
    let mut header = vec![components.len() as u8];
    components.iter().for_each(|&component| header.extend([component, 0]));
    header.extend([band[0], band[1], approximation]);
    segment(0xda, &header)
}

/// Returns a file with a single scan, or with as few scans as a progressive file needs.
pub fn black(frame: u8, size: [u16; 2], factors: &[u8]) -> Vec<u8> {
    let all: Vec<u8> = (1..=factors.len() as u8).collect();
    let scans = match frame {
        PROGRESSIVE => scan(&all, [0, 0], 0),
        LOSSLESS => scan(&all, [1, 0], 0),
        _ => scan(&all, [0, 63], 0),
    };
    [head(frame, size, factors, 0), scans, vec![0xff, 0xd9]].concat()
}
