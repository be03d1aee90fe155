//! Reads pictures: picture files, which are prepared as the model says, and PPM or bare bytes, which have its size
//! already.

use std::io::{Read, stdin};
use std::path::Path;

use resmlp_picture::{Limits, Picture, Preprocess};

use crate::contain;
use crate::error::{Error, Result};
use crate::files::Files;
use crate::machine;

/// Longest header of a PPM, in bytes.
const MAX_HEADER: usize = 4096;

/// First bytes of the kinds of picture files that are decoded.
const JPEG: &[u8] = b"\xff\xd8\xff";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const BMP: &[u8] = b"BM";

/// Returns what one picture may cost on this machine: a share of its memory, if the system tells how much there is.
pub fn limits() -> Limits {
    machine::memory_bytes(&Files::here()).map_or(Limits::desktop(), Limits::for_machine)
}

/// Reads a picture from a file, or from standard input if `path` is `-`. Returns `[height, width, 3]` of u8 in the
/// model's size.
///
/// A JPEG, PNG or BMP is resized and cropped. A PPM (P6) of the model's size with 8 bits a value, and exactly as many
/// bytes as the model takes, are passed on unchanged.
///
/// # Errors
/// Names the file, what was found, and what was expected.
pub fn read(path: &Path, preprocess: &Preprocess) -> Result<Vec<u8>> {
    let size = preprocess.image;
    let source: std::io::Result<Box<dyn Read>> = match path.to_str() {
        Some("-") => Ok(Box::new(stdin())),
        _ => resmlp_files::open(path).map(|file| Box::new(file) as Box<dyn Read>),
    };
    let [height, width] = size;
    let len = height * width * 3;
    let limits = limits();
    let mut bytes = Vec::new();
    // One byte more than the longest accepted picture is read, so that a longer one is recognised.
    let most = limits.longest_file().max((len + MAX_HEADER) as u64) + 1;
    let read = source.and_then(|source| source.take(most).read_to_end(&mut bytes));
    read.map_err(|error| Error::about(path.display(), &error))?;
    let is_file = [JPEG, PNG, BMP].iter().any(|start| bytes.starts_with(start));
    let prepare = || {
        let picture = Picture::decode_within(&bytes, &limits)?;
        preprocess.apply(&picture).map_err(|error| error.to_string())
    };
    let pixels = match is_file.then(|| contain::panics(prepare).flatten()) {
        Some(Ok(pixels)) => Ok(pixels),
        // Bare bytes may happen to begin as a picture file does.
        Some(Err(problem)) if bytes.len() != len => Err(problem),
        _ => pixels(bytes, size),
    };
    pixels.map_err(|problem| Error::about(path.display(), &problem))
}

fn pixels(mut bytes: Vec<u8>, [height, width]: [usize; 2]) -> std::result::Result<Vec<u8>, String> {
    let len = height * width * 3;
    if bytes.len() == len {
        return Ok(bytes);
    }
    let expected =
        format!("expected {len} bytes ({height} × {width} RGB), a PPM of {height} × {width}, or a JPEG, PNG or BMP");
    let Some(rest) = bytes.strip_prefix(b"P6") else {
        let more = if bytes.len() > len + MAX_HEADER { "more than " } else { "" };
        return Err(format!("found {more}{} bytes, {expected}", bytes.len().min(len + MAX_HEADER)));
    };
    let ([found_width, found_height, most], rest) = header(rest).ok_or("its PPM header is damaged")?;
    if [found_height, found_width] != [height, width] {
        return Err(format!("found a PPM of {found_height} × {found_width}, {expected}"));
    }
    if most != 255 {
        return Err(format!("found a PPM with values up to {most}, expected 255"));
    }
    if rest.len() != len {
        return Err(format!("found {} bytes after the PPM header, expected {len}", rest.len()));
    }
    let start = bytes.len() - len;
    bytes.drain(..start);
    Ok(bytes)
}

/// Returns width, height and largest value of a PPM, and what follows the single white space after them. A `#` starts a
/// comment.
fn header(mut rest: &[u8]) -> Option<([usize; 3], &[u8])> {
    let mut numbers = [0; 3];
    for number in &mut numbers {
        let digits = skip_space(rest)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        let (text, after) = digits.split_at_checked(end)?;
        *number = str::from_utf8(text).ok()?.parse().ok()?;
        rest = after;
    }
    let (space, pixels) = rest.split_first()?;
    space.is_ascii_whitespace().then_some((numbers, pixels))
}

/// Skips white space and comments. Returns `None` if there is neither.
fn skip_space(mut rest: &[u8]) -> Option<&[u8]> {
    let before = rest.len();
    loop {
        match rest.split_first() {
            Some((b'#', after)) => rest = after.get(after.iter().position(|&byte| byte == b'\n')?..)?,
            Some((byte, after)) if byte.is_ascii_whitespace() => rest = after,
            _ => return (rest.len() < before).then_some(rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of height 2 and width 1.
    const PIXELS: [u8; 6] = [1, 2, 3, 4, 5, 6];

    fn ppm(header: &str) -> Vec<u8> {
        [header.as_bytes(), &PIXELS].concat()
    }

    #[test]
    fn bare_bytes_and_ppm_are_the_same_picture() {
        let headers = ["", "P6 1 2 255\n", "P6\n# by hand\n1 2\n#\n255 ", "P6\t1\r\n2 # 9\n255\n"];
        for header in headers {
            assert_eq!(pixels(ppm(header), [2, 1]).as_deref(), Ok(&PIXELS[..]), "{header:?}");
        }
        // These bare bytes begin as a PPM does.
        assert_eq!(pixels(b"P61 2 255 ...".repeat(3), [13, 1]), Ok(b"P61 2 255 ...".repeat(3)));
    }

    #[test]
    fn others_are_refused() {
        for (header, problem) in [
            ("P6 2 1 255\n", "1 × 2, expected 6 bytes (2 × 1 RGB)"),
            ("P6 1 2 65535\n", "up to 65535"),
            ("P6 1 2 255\nx", "7 bytes after"),
            ("P6 1 2", "damaged"),
            ("P6 1 2 99999999999999999999999 ", "damaged"),
            ("P6", "damaged"),
            ("P61 2 255\n", "damaged"),
            ("P5 1 2 255\n", "found 17 bytes"),
            ("x", "found 7 bytes"),
        ] {
            let found = pixels(ppm(header), [2, 1]).unwrap_err();
            assert!(found.contains(problem), "{header:?}: {found}");
        }
        assert!(pixels(vec![0; 6 + MAX_HEADER + 1], [2, 1]).unwrap_err().contains("more than"));
        assert!(pixels(vec![], [2, 1]).unwrap_err().contains("found 0 bytes"));
    }
}
