//! What frames say: to bytes and back.

use core::fmt;

use crate::frame::{HEADER_LEN, Header, OVERHEAD};

/// Most best classes of a result.
pub const TOP: usize = 5;

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
pub enum Message<'a> {
    /// A PC asks what the board is.
    Hello,
    /// A PC's picture: height × width × RGB bytes.
    Picture(&'a [u8]),
    /// A board says what it is.
    Info(Info<'a>),
    /// A board's reply to a picture.
    Result(Outcome<'a>),
    /// A board cannot do what it was asked.
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        text: &'a str,
    },
}

/// What a board is and takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Info<'a> {
    /// Of the protocol: [`VERSION`](crate::VERSION).
    pub version: u32,
    /// Height and width of the pictures it takes, pixels.
    pub image: [u32; 2],
    /// Number of logits.
    pub classes: u32,
    /// The longest payload that it takes, bytes.
    pub longest: u32,
    /// How pictures are resized for this model before the crop.
    pub resizing: Resizing,
    /// Which share of the resized picture's shorter side is kept.
    pub crop: f32,
    /// The board's name.
    pub board: &'a str,
    /// What the model says of itself.
    pub model: &'a str,
}

/// How pictures are resized for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resizing {
    /// Linear in both directions, antialiased.
    Bilinear,
    /// Cubic in both directions, antialiased.
    Bicubic,
}

/// What a board sees in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome<'a> {
    /// Of the forward pass, microseconds.
    pub latency_us: u32,
    /// What the model computes.
    pub logits: Logits<'a>,
    /// The best classes, best first; none from a model without a classifier.
    pub top: heapless::Vec<Guess<'a>, TOP>,
}

/// One of the best classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guess<'a> {
    /// The class.
    pub index: u32,
    /// 0 to 1.
    pub probability: f32,
    /// The class's name; empty where the model carries none.
    pub label: &'a str,
}

/// Numbers as they lie in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Logits<'a>(&'a [u8]);

impl<'a> Logits<'a> {
    /// For a frame to be sent; all bits are kept.
    #[cfg(target_endian = "little")]
    pub fn new(values: &'a [f32]) -> Self {
        // Numbers are always whole bytes.
        Self(bytemuck::try_cast_slice(values).unwrap_or_default())
    }

    /// How many.
    pub fn len(self) -> usize {
        self.0.len() / 4
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The numbers, every bit as it was sent.
    pub fn iter(self) -> impl ExactSizeIterator<Item = f32> + use<'a> {
        let (chunks, _) = self.0.as_chunks();
        chunks.iter().map(|&bytes| f32::from_le_bytes(bytes))
    }
}

/// Why a board does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// 1: the frame's checksum does not match. Send it again.
    Damaged,
    /// 2: the payload is longer than the board takes.
    TooLong,
    /// 3: no kind of frame that a board takes, or its payload is not as it should be.
    Unexpected,
    /// 4: the picture has not the model's size.
    PictureSize,
    /// 5: the board could not compute.
    Internal,
    /// Codes of a newer version.
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

/// Takes parts of a payload in their order; `None` where it takes no more.
type Sink<'s> = dyn FnMut(&[u8]) -> Option<()> + 's;

impl<'a> Message<'a> {
    /// Writes the whole frame to the start of `buffer` and returns it; `None` where the buffer is too short.
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

    /// Bytes of the frame.
    pub fn encoded_len(&self) -> usize {
        let mut length = OVERHEAD;
        // This sink takes everything.
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

    /// `None` where there is no such kind; `Some(None)` where the payload is not as that kind's should be.
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
        let [height, width] = self.image;
        for value in [self.version, height, width, self.classes, self.longest, resizing] {
            sink(&value.to_le_bytes())?;
        }
        sink(&self.crop.to_le_bytes())?;
        write_text(self.board, sink)?;
        write_text(self.model, sink)
    }

    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        Some(Self {
            version: reader.u32()?,
            image: [reader.u32()?, reader.u32()?],
            classes: reader.u32()?,
            longest: reader.u32()?,
            resizing: match reader.u32()? {
                0 => Resizing::Bilinear,
                1 => Resizing::Bicubic,
                _ => return None,
            },
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

/// What is left of a payload.
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
