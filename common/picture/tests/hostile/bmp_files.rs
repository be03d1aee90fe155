//! Makes BMP files.

/// Returns a BMP of 8 bits a pixel, run-length encoded as `runs`.
pub fn run_lengths([width, height]: [i32; 2], runs: &[u8]) -> Vec<u8> {
    let palette = [0; 4 * 256];
    let offset = 14 + 40 + palette.len() as u32;
    let mut file = b"BM".to_vec();
    file.extend((offset + runs.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend(offset.to_le_bytes());
    file.extend(40u32.to_le_bytes());
    file.extend(width.to_le_bytes());
    file.extend(height.to_le_bytes());
    file.extend([1, 0, 8, 0]);
    file.extend(1u32.to_le_bytes());
    file.extend((runs.len() as u32).to_le_bytes());
    file.extend([0; 16]);
    file.extend(palette);
    file.extend(runs);
    file
}
