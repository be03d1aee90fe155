//! Finds frames in a stream of bytes.

use core::fmt;

use crate::frame::{HEADER_LEN, Header, MAGIC, OVERHEAD};
use crate::message::Message;

/// Number of bytes of frames that the decoder may check for each received byte.
const CREDIT_PER_BYTE: usize = 16;

/// Number of frames of the greatest length that the decoder may check in addition, from the start and after a reset.
const CREDIT_FRAMES: usize = 4;

/// Finds frames in a stream of bytes, whatever lies between them.
///
/// The decoder keeps bytes from the first one that may begin a frame. If they turn out to be no frame, or a damaged
/// one, the decoder looks for the next frame in what it kept, so a whole frame after a broken one is never lost.
///
/// The time is proportional to the number of received bytes. Checking a frame takes time for its whole payload, and in
/// hostile input each header may announce a long payload and lie in the payload of another one. The decoder therefore
/// checks at most 16 bytes of frames for each byte that it received, and treats headers beyond that as damaged.
/// Ordinary input never reaches this limit.
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
    /// Index of the first byte that is kept.
    start: usize,
    /// Index after the last byte that is kept.
    end: usize,
    /// Number of bytes from `start` on that `take` has returned as a frame. They are dropped when it looks for the next
    /// one.
    done: usize,
    /// Credit: number of bytes of frames that may still be checked.
    credit: usize,
    /// Whether the credit has been charged for the frame at `start`.
    is_charged: bool,
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The checksum after the payload does not match.
    Damaged,
    /// The payload does not fit into the receiver's memory and is skipped.
    TooLong {
        /// Length of the payload, in bytes.
        length: u32,
        /// Longest payload that fits, in bytes.
        limit: usize,
    },
    /// There is no such kind of frame.
    Kind(u32),
    /// The payload does not have the form that this kind of frame requires.
    Payload {
        /// The frame's kind.
        kind: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("damaged: the checksum does not match"),
            Self::TooLong { length, limit } => write!(f, "found a payload of {length} bytes, expected at most {limit}"),
            Self::Kind(kind) => write!(f, "found a frame of kind {kind}, expected 1 to 5"),
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
    /// Creates a decoder for frames up to the length of `buffer`, which must be at least [`OVERHEAD`] bytes.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        let credit = buffer.len().saturating_mul(CREDIT_FRAMES);
        Self { buffer, start: 0, end: 0, done: 0, credit, is_charged: false }
    }

    /// Returns the length of the longest payload that the decoder accepts, in bytes.
    pub fn limit(&self) -> usize {
        self.buffer.len().saturating_sub(OVERHEAD)
    }

    /// Adds as many of the received bytes as there is room for, and returns their number.
    ///
    /// There is always room for at least one byte after [`Decoder::take`] has returned `None`.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        self.drop_front(self.done);
        if self.end == self.buffer.len() || self.start == self.end {
            self.move_to_front();
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let count = room.len().min(bytes.len());
        room.iter_mut().zip(bytes).for_each(|(place, &byte)| *place = byte);
        self.end += count;
        self.credit = self.credit.saturating_add(count.saturating_mul(CREDIT_PER_BYTE));
        count
    }

    /// Returns the next frame or the error in it, or `None` if more bytes are needed.
    pub fn take(&mut self) -> Option<Result<Message<'_>, FrameError>> {
        self.drop_front(self.done);
        loop {
            self.drop_front(self.garbage());
            let (done, outcome) = match self.look() {
                Found::Incomplete => return None,
                Found::Nothing => {
                    self.drop_front(1);
                    continue;
                }
                Found::Frame { kind, length } => (OVERHEAD + length, Ok((kind, length))),
                // Only the first magic byte is dropped, because a whole frame may begin within or after the header.
                Found::Damaged => (1, Err(FrameError::Damaged)),
                Found::TooLong { length } => (1, Err(FrameError::TooLong { length, limit: self.limit() })),
            };
            self.done = done;
            return Some(outcome.and_then(|(kind, length)| self.message(kind, length)));
        }
    }

    /// Forgets an incomplete frame.
    pub fn reset(&mut self) {
        self.drop_front(self.end - self.start);
        self.credit = self.credit.max(self.buffer.len().saturating_mul(CREDIT_FRAMES));
    }

    /// Returns whether the decoder holds bytes of an incomplete frame.
    pub fn is_waiting(&self) -> bool {
        self.end - self.start > self.done
    }

    fn kept(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the number of bytes before the first magic bytes. At the end of the kept bytes, a beginning of the magic
    /// bytes counts too.
    fn garbage(&self) -> usize {
        let mut rest = self.kept();
        while !rest.is_empty() && !rest.iter().zip(&MAGIC).all(|(a, b)| a == b) {
            rest = rest.get(1..).unwrap_or_default();
        }
        self.kept().len() - rest.len()
    }

    fn look(&mut self) -> Found {
        let Some((header, _)) = self.kept().split_first_chunk::<HEADER_LEN>() else { return Found::Incomplete };
        let Some(header) = Header::parse(header) else { return Found::Nothing };
        let Header { kind, length } = header;
        let count = length as usize;
        if count > self.limit() {
            return Found::TooLong { length };
        }
        if !self.charge(count) {
            return Found::Damaged;
        }
        let frame = self.kept().get(HEADER_LEN..).and_then(|rest| rest.split_at_checked(count));
        let Some((payload, rest)) = frame else { return Found::Incomplete };
        match rest.first_chunk() {
            None => Found::Incomplete,
            Some(crc) if u32::from_le_bytes(*crc) == header.checksum(payload) => Found::Frame { kind, length: count },
            Some(_) => Found::Damaged,
        }
    }

    /// Charges the credit for the frame at `start`, unless that has been done. Returns whether the credit was
    /// sufficient.
    fn charge(&mut self, count: usize) -> bool {
        if self.is_charged {
            return true;
        }
        let Some(left) = self.credit.checked_sub(count) else { return false };
        self.credit = left;
        self.is_charged = true;
        true
    }

    fn message(&self, kind: u32, length: usize) -> Result<Message<'_>, FrameError> {
        let payload = self.kept().get(HEADER_LEN..).and_then(|rest| rest.get(..length)).unwrap_or_default();
        Message::parse(kind, payload).ok_or(FrameError::Kind(kind))?.ok_or(FrameError::Payload { kind })
    }

    /// Drops the first `count` of the kept bytes, without moving the others.
    fn drop_front(&mut self, count: usize) {
        self.done = 0;
        if count > 0 {
            self.start = self.end.min(self.start + count);
            self.is_charged = false;
        }
    }

    /// Moves the kept bytes to the front of the buffer. They are fewer than those of the frame at `start`, for which
    /// the credit has been charged, so moving them costs no more than checking it.
    fn move_to_front(&mut self) {
        let kept = self.end - self.start;
        if self.start > 0 {
            for index in 0..kept {
                let byte = self.buffer.get(self.start + index).copied().unwrap_or_default();
                if let Some(place) = self.buffer.get_mut(index) {
                    *place = byte;
                }
            }
        }
        (self.start, self.end) = (0, kept);
    }
}
