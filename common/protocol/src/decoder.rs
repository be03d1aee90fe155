//! Finds frames in a stream of bytes.

use core::fmt;

use crate::frame::{HEADER_LEN, Header, MAGIC, OVERHEAD};
use crate::message::Message;

/// Finds frames in a stream of bytes, whatever lies between them.
///
/// It keeps bytes from the first that may begin a frame. Where they turn out to be none, or damaged, it looks for the next frame
/// in what it kept, so a whole frame is never lost behind a broken one.
///
/// ```
/// use resmlp_protocol::{Decoder, Message};
///
/// let mut buffer = [0; 64];
/// let mut decoder = Decoder::new(&mut buffer);
/// let mut line: &[u8] = b"text, then a frame \xa7RML\x01\0\0\0\0\0\0\0\x80\x83\x21\xc8\x80\x83\x21\xc8";
/// while !line.is_empty() {
///     line = &line[decoder.push(line)..];
///     while let Some(frame) = decoder.take() {
///         assert_eq!(frame, Ok(Message::Hello));
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Decoder<'b> {
    buffer: &'b mut [u8],
    /// Bytes of the buffer in use.
    filled: usize,
    /// Bytes at its start that were handed out, and go when the next frame is looked for.
    done: usize,
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The checksum behind the payload does not match.
    Damaged,
    /// The payload does not fit the receiver's memory. It is skipped.
    TooLong {
        /// Bytes of the payload.
        length: u32,
        /// Most that fit.
        limit: usize,
    },
    /// There is no such kind of frame.
    Kind(u32),
    /// The payload is not as this kind's should be.
    Payload {
        /// The frame's kind.
        kind: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("damaged: the checksum does not match"),
            Self::TooLong { length, limit } => write!(f, "a payload of {length} bytes, expected at most {limit}"),
            Self::Kind(kind) => write!(f, "frame of unknown kind {kind}"),
            Self::Payload { kind } => write!(f, "the payload of a frame of kind {kind} is malformed"),
        }
    }
}

impl core::error::Error for FrameError {}

/// What the kept bytes begin with.
enum Found {
    Nothing,
    Incomplete,
    Frame { kind: u32, length: usize },
    Damaged,
    TooLong { length: u32 },
}

impl<'b> Decoder<'b> {
    /// A decoder that takes frames up to the length of `buffer`, which is at least [`OVERHEAD`].
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, filled: 0, done: 0 }
    }

    /// The longest payload that it takes.
    pub fn limit(&self) -> usize {
        self.buffer.len().saturating_sub(OVERHEAD)
    }

    /// Adds received bytes, as many as there is room for; returns how many.
    ///
    /// Call [`Decoder::take`] until it has nothing more: then there is room.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.remove(self.done);
        let room = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        room.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        self.filled += count;
        count
    }

    /// The next frame, or what is wrong with it; `None` until more bytes come.
    pub fn take(&mut self) -> Option<Result<Message<'_>, FrameError>> {
        self.remove(self.done);
        loop {
            let garbage = self.garbage();
            self.remove(garbage);
            let (done, outcome) = match self.look() {
                Found::Incomplete => return None,
                Found::Nothing => {
                    self.remove(1);
                    continue;
                }
                Found::Frame { kind, length } => (OVERHEAD + length, Ok((kind, length))),
                // Only the magic bytes go: behind them may be a whole frame.
                Found::Damaged => (1, Err(FrameError::Damaged)),
                Found::TooLong { length } => (1, Err(FrameError::TooLong { length, limit: self.limit() })),
            };
            self.done = done;
            return Some(outcome.and_then(|(kind, length)| self.message(kind, length)));
        }
    }

    /// Forgets an incomplete frame.
    pub fn reset(&mut self) {
        self.filled = 0;
        self.done = 0;
    }

    /// Whether there are bytes of an incomplete frame.
    pub fn is_waiting(&self) -> bool {
        self.filled > self.done
    }

    fn kept(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Bytes before the first place where the magic bytes, or the first of them at the very end, are.
    fn garbage(&self) -> usize {
        let mut rest = self.kept();
        while !rest.is_empty() && !rest.iter().zip(&MAGIC).all(|(a, b)| a == b) {
            rest = rest.get(1..).unwrap_or_default();
        }
        self.filled - rest.len()
    }

    fn look(&self) -> Found {
        let Some((header, rest)) = self.kept().split_first_chunk::<HEADER_LEN>() else { return Found::Incomplete };
        let Some(header) = Header::parse(header) else { return Found::Nothing };
        let Header { kind, length } = header;
        let count = length as usize;
        if count > self.limit() {
            return Found::TooLong { length };
        }
        let Some((payload, rest)) = rest.split_at_checked(count) else { return Found::Incomplete };
        match rest.first_chunk() {
            None => Found::Incomplete,
            Some(crc) if u32::from_le_bytes(*crc) == header.checksum(payload) => Found::Frame { kind, length: count },
            Some(_) => Found::Damaged,
        }
    }

    fn message(&self, kind: u32, length: usize) -> Result<Message<'_>, FrameError> {
        let payload = self.kept().get(HEADER_LEN..).and_then(|rest| rest.get(..length)).unwrap_or_default();
        Message::parse(kind, payload).ok_or(FrameError::Kind(kind))?.ok_or(FrameError::Payload { kind })
    }

    /// Removes the first `count` of the kept bytes.
    fn remove(&mut self, count: usize) {
        self.done = 0;
        if count == 0 {
            return;
        }
        for from in count..self.filled {
            let byte = self.buffer.get(from).copied().unwrap_or_default();
            if let Some(place) = self.buffer.get_mut(from - count) {
                *place = byte;
            }
        }
        self.filled = self.filled.saturating_sub(count);
    }
}
