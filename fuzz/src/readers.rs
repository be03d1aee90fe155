//! Runs the readers of foreign files and of the serial line on plain bytes.

use std::path::Path;

use resmlp_checkpoint::{Checkpoint, LoadOptions, load_bytes};
use resmlp_picture::{Limits, Picture};
use resmlp_protocol::{Decoder, Message};

use crate::memory::Bound;

/// Memory that a reader of checkpoints may hold.
const CHECKPOINT: Bound = Bound { per_byte: 32, base: 8 << 20 };

/// Reads a checkpoint. Its path names a folder that does not exist, so external data of an ONNX file can only be an
/// error.
pub(crate) fn checkpoint(bytes: Vec<u8>) -> Option<Checkpoint> {
    let path = Path::new("/nonexistent/checkpoint");
    CHECKPOINT.hold(bytes.len(), || load_bytes(path, bytes, &LoadOptions::default()), |_| 0).ok()
}

/// Reads a checkpoint in any format.
pub fn checkpoint_file(data: &[u8]) {
    checkpoint(data.to_vec());
}

pub fn onnx(data: &[u8]) {
    // The reader recognises ONNX by its first bytes; without them the input would go to a reader that has its own
    // target.
    let mut bytes = data.to_vec();
    bytes.splice(..bytes.len().min(2), [0x08, 0x08]);
    checkpoint(bytes);
}

/// Memory that a decoder of pictures may hold in addition to what the pixels need.
const PICTURE: Bound = Bound { per_byte: 6, base: 1 << 20 };

/// Returns the most bytes of memory that the pixels of a picture take while they are decoded.
///
/// A JPEG is stored in units of at most 32 × 32 pixels (four blocks of eight pixels a side, ITU-T T.81, A.1.1) and is
/// decoded in whole units, so a picture of 1 × 9217 pixels takes the memory of 32 × 9248. A lossless JPEG takes eight
/// bytes for each sample of a pixel, of which there are at most four. The other kinds take at most eight bytes for a
/// stored pixel and three for an RGB pixel.
fn pixel_memory(file: &[u8], picture: &Picture) -> usize {
    let (unit, bytes) = if file.starts_with(&[0xff, 0xd8]) { (32, 8 * 4) } else { (1, 8 + 3) };
    let [width, height] = [picture.width(), picture.height()].map(|side| (side as usize).next_multiple_of(unit));
    bytes * width * height
}

/// The most pixels of a picture that is decoded here. Larger pictures are too slow to fuzz; `hostile.rs` of the package
/// `resmlp-picture` tests that they are limited.
const PIXELS: usize = 1 << 20;

pub fn picture(data: &[u8]) {
    if stated_pixels(data).is_some_and(|pixels| pixels > PIXELS) {
        return;
    }
    let promised = Limits::desktop().memory(data.len() as u64) as usize;
    let outcome = PICTURE.hold(
        data.len(),
        || Picture::decode(data),
        |outcome| match outcome {
            Ok(picture) => pixel_memory(data, picture),
            // The picture may have been decoded in part.
            Err(_) => promised,
        },
    );
    if let Ok(picture) = outcome {
        assert_eq!(picture.rgb().len(), 3 * picture.width() as usize * picture.height() as usize);
    }
}

/// Returns width times height as the header of a PNG, a BMP or a JPEG states them, if they are easy to find.
fn stated_pixels(data: &[u8]) -> Option<usize> {
    let number = |range: std::ops::Range<usize>, little: bool| {
        let bytes = data.get(range)?;
        let bytes: Vec<u8> = if little { bytes.iter().rev().copied().collect() } else { bytes.to_vec() };
        Some(bytes.iter().fold(0usize, |number, &byte| number << 8 | usize::from(byte)))
    };
    match data {
        [0x89, b'P', ..] => number(16..20, false)?.checked_mul(number(20..24, false)?),
        [b'B', b'M', ..] => {
            let side = |range| number(range, true).map(|side| (side as u32 as i32).unsigned_abs() as usize);
            side(18..22)?.checked_mul(side(22..26)?)
        }
        _ => {
            let frame = data.windows(2).position(|w| matches!(w, [0xff, 0xc0..=0xc2]))?;
            number(frame + 5..frame + 7, false)?.checked_mul(number(frame + 7..frame + 9, false)?)
        }
    }
}

pub fn protocol(data: &[u8]) {
    let Some((&[size, portion], mut line)) = data.split_first_chunk::<2>() else { return };
    let mut buffer = vec![0; resmlp_protocol::OVERHEAD + usize::from(size)];
    let mut decoder = Decoder::new(&mut buffer);
    let (mut frames, length) = (0, line.len());
    while !line.is_empty() {
        let (now, later) = line.split_at(line.len().min(1 + usize::from(portion)));
        let taken = decoder.push(now);
        assert!(taken > 0, "an emptied decoder has room");
        line = line.get(taken..).unwrap_or(later);
        while let Some(frame) = decoder.take() {
            frames += 1;
            assert!(frames <= length, "more frames than bytes");
            if let Ok(message) = frame {
                round_trip(&message);
            }
        }
    }
}

/// Checks that a message that was read can be sent, and is then read as the same message.
fn round_trip(message: &Message) {
    let mut buffer = vec![0; message.encoded_len()];
    let Some(frame) = message.encode(&mut buffer) else { panic!("{message:?} does not fit its own length") };
    let mut memory = vec![0; frame.len()];
    let mut decoder = Decoder::new(&mut memory);
    assert_eq!(decoder.push(frame), frame.len());
    let again = decoder.take();
    assert_eq!(format!("{again:?}"), format!("{:?}", Some(Ok::<_, ()>(message))));
}
