//! Defines frames on a serial line: a PC sends pictures, and a board sends back the classes that it finds in them.
//!
//! The crate needs no standard library, allocates nothing and cannot panic.
//!
//! # The line
//! The line has 115200 baud, 8 bits, no parity, 1 stop bit and no flow control. A board reads nothing while it
//! computes, so the PC sends one frame and waits for the reply. A board may print text between frames, because a
//! receiver skips everything that is not a frame.
//!
//! # A frame
//! All numbers are little-endian.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 4 | the magic bytes `A7 52 4D 4C`; the first of them never occurs in ASCII text |
//! | 4 | 4 | u32: kind |
//! | 8 | 4 | u32: length *n* of the payload |
//! | 12 | 4 | u32: CRC-32 (as in zlib) of the 12 bytes before |
//! | 16 | *n* | payload |
//! | 16 + *n* | 4 | u32: CRC-32 of the 12 bytes at offset 0 and the payload |
//!
//! The first checksum spares a receiver from waiting for a payload whose length is damaged.
//!
//! # Kinds and their payloads
//! A *text* is a u32, its length in bytes, and then as many bytes of UTF-8. The fields of a payload follow each other
//! without gaps.
//!
//! * 1, *hello*, from the PC, is empty. The board replies with *info*.
//! * 2, *picture*, from the PC: height × width × 3 bytes of the model's size, rows from top to bottom, pixels from left
//!   to right, red, green and blue of each pixel. The board replies with *result*.
//! * 3, *info*, from the board: u32 protocol version (2); u32 height; u32 width; u32 classes; u32 longest payload that
//!   the board takes; u32 how pictures are resized (0 bilinear, 1 bicubic, before the crop; 2 more where the whole
//!   picture is resized to height × width and nothing is cropped); f32 crop; text: board; text: model.
//! * 4, *result*, from the board: u32 latency in µs; u32 number of logits; f32 for each; u32 number of best classes,
//!   0 to 5; for each of them: u32 index, f32 probability, text: label, which may be empty.
//! * 5, *error*, from the board, in reply to a frame that it cannot handle: u32 [code](ErrorCode); text: what is wrong.
//!
//! # When bytes are lost
//! A board forgets an incomplete frame after half a second of silence. A PC waits for a reply as long as its frame
//! takes on the line, and ten seconds more (`resmlp send --patience`). Then it sends the frame again. [`Decoder`] finds
//! the next whole frame after garbage, after a damaged frame, and after one that was cut off.
#![no_std]

mod decoder;
mod frame;
mod message;

pub use decoder::{Decoder, FrameError};
pub use frame::{HEADER_LEN, MAGIC, OVERHEAD};
pub use message::{ErrorCode, Guess, Info, Logits, Message, Outcome, Resizing, TOP};

/// The version of the protocol, which [`Info`] states.
pub const VERSION: u32 = 2;

/// Number of bits that the line carries in a second.
pub const BAUD: u32 = 115_200;

/// Milliseconds of silence after which a board forgets an incomplete frame.
pub const SILENCE_MS: u32 = 500;
