//! Encodes messages as frames and decodes them.

use core::fmt;

use crate::frame::{HEADER_LEN, Header, OVERHEAD};

/// Largest number of classes in a result.
pub const TOP: usize = 5;

/// The contents of a frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// A PC asks a board for its [`Info`].
    Hello,
    /// A PC sends a picture of height × width × RGB bytes.
    Picture(&'a [u8]),
    /// A board describes itself.
    Info(Info<'a>),
    /// A board replies to a picture.
    Result(Outcome<'a>),
    /// A board cannot do what the PC asked for.
    Error {
        /// The reason, for programs.
        code: ErrorCode,
        /// The reason, for people.
        text: &'a str,
    },
}

/// A description of a board and of the pictures that it accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Info<'a> {
    /// Version of the protocol that the board speaks: [`VERSION`](crate::VERSION).
    pub version: u32,
    /// Height and width of the pictures that the board accepts, in pixels.
    pub image: [u32; 2],
    /// Number of logits in a result.
    pub classes: u32,
    /// Length of the longest payload that the board accepts, in bytes.
    pub longest: u32,
    /// How pictures are resized for this model before the crop.
    pub resizing: Resizing,
    /// Whether the whole picture is resized to `image`, whatever its shape is, so that nothing is cropped.
    pub is_squashed: bool,
    /// Share of the resized picture's shorter side that the crop keeps, 0 to 1.
    pub crop: f32,
    /// Name of the board.
    pub board: &'a str,
    /// Description that the model carries.
    pub model: &'a str,
}

/// How pictures are resized for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// A triangle filter in both directions, antialiased.
    Bilinear,
    /// Cubic convolution in both directions, antialiased.
    Bicubic,
}

/// The result for a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'a> {
    /// Time of the forward pass, in microseconds.
    pub latency_us: u32,
    /// Logits that the model computed.
    pub logits: Logits<'a>,
    /// The most probable classes, most probable first. A model without a classifier has none.
    pub top: heapless::Vec<Guess<'a>, TOP>,
}

/// One of the most probable classes of a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess<'a> {
    /// Index of the class.
    pub index: u32,
    /// Probability of the class, 0 to 1.
    pub probability: f32,
    /// Name of the class; empty if the model carries no names.
    pub label: &'a str,
}

/// Logits in the form that they have in a frame: four bytes each, at any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logits<'a>(&'a [u8]);

impl<'a> Logits<'a> {
    /// Borrows logits for a frame that is to be sent. Every bit is kept.
    #[cfg(target_endian = "little")]
    pub fn new(values: &'a [f32]) -> Self {
        // The cast cannot fail, because bytes need no alignment and a number is a whole number of bytes.
        Self(bytemuck::try_cast_slice(values).unwrap_or_default())
    }

    /// Returns the number of logits.
    pub fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Returns whether there are no logits.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Returns the logits, every bit as it was sent.
    pub fn iter(self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        let (chunks, _) = self.0.as_chunks();
        chunks.iter().map(|&bytes| f32::from_le_bytes(bytes))
    }
}

/// The reason why a board cannot do what the PC asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// 1: the frame's checksum does not match. Send it again.
    Damaged,
    /// 2: the payload is longer than the board accepts.
    TooLong,
    /// 3: a board does not accept this kind of frame, or the payload is malformed.
    Unexpected,
    /// 4: the picture does not have the size that the model reads.
    PictureSize,
    /// 5: the board could not compute.
    Internal,
    /// A code of a newer version of the protocol.
    Other(u32),
}

impl ErrorCode {
    fn to_u32(self) -> u32 {
        match self {
            Self::Damaged => 1,
            Self::TooLong => 2,
            Self::Unexpected => 3,
            Self::PictureSize => 4,
            Self::Internal => 5,
            Self::Other(code) => code,
        }
    }

    fn from_u32(code: u32) -> Self {
        match code {
            1 => Self::Damaged,
            2 => Self::TooLong,
            3 => Self::Unexpected,
            4 => Self::PictureSize,
            5 => Self::Internal,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged => f.write_str("damaged on the line"),
            Self::TooLong => f.write_str("too long"),
            Self::Unexpected => f.write_str("unexpected"),
            Self::PictureSize => f.write_str("wrong picture size"),
            Self::Internal => f.write_str("internal error"),
            Self::Other(code) => write!(f, "error {code}"),
        }
    }
}

mod kind {
    pub const HELLO: u32 = 1;
    pub const PICTURE: u32 = 2;
    pub const INFO: u32 = 3;
    pub const RESULT: u32 = 4;
    pub const ERROR: u32 = 5;
}

/// Is added to the number of a resizing where the whole picture is resized to the model's size. A PC that does not know
/// it takes the frame for malformed, so that it never sends a picture that is prepared in the wrong way.
const SQUASHED: u32 = 2;

/// A function that receives the parts of a payload in order. It returns `None` if it has no room for one.
type Sink<'s> = dyn FnMut(&[u8]) -> Option<()> + 's;

impl<'a> Message<'a> {
    /// Writes the whole frame to the start of `buffer` and returns it, or `None` if the buffer is too short.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let (header, rest) = buffer.split_first_chunk_mut::<HEADER_LEN>()?;
        let mut length = 0;
        self.write(&mut |part| {
            rest.get_mut(length..)?.get_mut(..part.len())?.copy_from_slice(part);
            length += part.len();
            Some(())
        })?;
        let (payload, rest) = rest.split_at_mut_checked(length)?;
        let fields = Header { kind: self.kind(), length: u32::try_from(length).ok()? };
        *rest.first_chunk_mut()? = fields.checksum(payload).to_le_bytes();
        *header = fields.to_bytes();
        buffer.get(..OVERHEAD + length)
    }

    /// Returns the length of the whole frame in bytes.
    pub fn encoded_len(&self) -> usize {
        let mut length = OVERHEAD;
        // This sink has room for everything.
        let _ = self.write(&mut |part| {
            length += part.len();
            Some(())
        });
        length
    }

    fn kind(&self) -> u32 {
        match self {
            Self::Hello => kind::HELLO,
            Self::Picture(_) => kind::PICTURE,
            Self::Info(_) => kind::INFO,
            Self::Result(_) => kind::RESULT,
            Self::Error { .. } => kind::ERROR,
        }
    }

    fn write(&self, sink: &mut Sink) -> Option<()> {
        match self {
            Self::Hello => Some(()),
            Self::Picture(bytes) => sink(bytes),
            Self::Info(info) => info.write(sink),
            Self::Result(outcome) => outcome.write(sink),
            Self::Error { code, text } => {
                sink(&code.to_u32().to_le_bytes())?;
                write_text(text, sink)
            }
        }
    }

    /// Reads a payload. Returns `None` if there is no such kind of frame, and `Some(None)` if the payload is malformed.
    pub(crate) fn parse(kind: u32, payload: &'a [u8]) -> Option<Option<Self>> {
        let mut reader = Reader(payload);
        let message = match kind {
            kind::HELLO => Some(Self::Hello),
            kind::PICTURE => return Some(Some(Self::Picture(payload))),
            kind::INFO => Info::read(&mut reader).map(Self::Info),
            kind::RESULT => Outcome::read(&mut reader).map(Self::Result),
            kind::ERROR => reader.error(),
            _ => return None,
        };
        Some(message.filter(|_| reader.0.is_empty()))
    }
}

impl<'a> Info<'a> {
    fn write(&self, sink: &mut Sink) -> Option<()> {
        let resizing = match self.resizing {
            Resizing::Bilinear => 0,
            Resizing::Bicubic => 1,
        };
        let resizing = resizing + if self.is_squashed { SQUASHED } else { 0 };
        let [height, width] = self.image;
        for value in [self.version, height, width, self.classes, self.longest, resizing] {
            sink(&value.to_le_bytes())?;
        }
        sink(&self.crop.to_le_bytes())?;
        write_text(self.board, sink)?;
        write_text(self.model, sink)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let (version, image) = (reader.u32()?, [reader.u32()?, reader.u32()?]);
        let (classes, longest, resizing) = (reader.u32()?, reader.u32()?, reader.u32()?);
        Some(Self {
            version,
            image,
            classes,
            longest,
            resizing: match resizing & !SQUASHED {
                0 => Resizing::Bilinear,
                1 => Resizing::Bicubic,
                _ => return None,
            },
            is_squashed: resizing & SQUASHED != 0,
            crop: reader.f32()?,
            board: reader.text()?,
            model: reader.text()?,
        })
    }
}

impl<'a> Outcome<'a> {
    fn write(&self, sink: &mut Sink) -> Option<()> {
        sink(&self.latency_us.to_le_bytes())?;
        sink(&(self.logits.len() as u32).to_le_bytes())?;
        sink(self.logits.0)?;
        sink(&(self.top.len() as u32).to_le_bytes())?;
        for guess in &self.top {
            sink(&guess.index.to_le_bytes())?;
            sink(&guess.probability.to_le_bytes())?;
            write_text(guess.label, sink)?;
        }
        Some(())
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let latency_us = reader.u32()?;
        let count = reader.u32()? as usize;
        let logits = Logits(reader.bytes(count.checked_mul(4)?)?);
        let mut top = heapless::Vec::new();
        for _ in 0..reader.u32()? {
            let guess = Guess { index: reader.u32()?, probability: reader.f32()?, label: reader.text()? };
            top.push(guess).ok()?;
        }
        Some(Self { latency_us, logits, top })
    }
}

fn write_text(text: &str, sink: &mut Sink) -> Option<()> {
    sink(&(text.len() as u32).to_le_bytes())?;
    sink(text.as_bytes())
}

/// The part of a payload that has not been read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    fn f32(&mut self) -> Option<f32> {
        self.u32().map(f32::from_bits)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.u32()? as usize;
        core::str::from_utf8(self.bytes(length)?).ok()
    }

    fn error(&mut self) -> Option<Message<'a>> {
        Some(Message::Error { code: ErrorCode::from_u32(self.u32()?), text: self.text()? })
    }
}
