//! Talks to a board over a serial line in the frames of `resmlp-protocol`.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use resmlp_command_line::Guess;
use resmlp_picture::{Fit, Preprocess, ResizeMode};
use resmlp_protocol::{Decoder, ErrorCode, FrameError, Message, OVERHEAD, Resizing, VERSION};
use serde::Serialize;

use crate::error::{Error, Result};

/// Longest payload that is accepted from a board. The logits and labels of the largest model fit.
const LONGEST_PAYLOAD: usize = 1 << 20;

/// Longest picture that a board may ask for, in bytes. At the line's default speed it takes half an hour.
const LONGEST_PICTURE: usize = 16 << 20;

/// Default time that a board may take to answer, in addition to the time that the frame takes on the line.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Number of times that a message is sent before the line is given up.
const ATTEMPTS: usize = 3;

/// Number of bits on the line for each byte: a start bit, eight data bits and a stop bit.
const BITS_PER_BYTE: u64 = 10;

/// The description that a board gives of itself.
#[derive(Clone, Debug, Serialize)]
pub struct BoardInfo {
    /// Name of the board.
    pub board: String,
    /// Description of its model.
    pub model: String,
    /// Settings with which pictures are prepared for the board.
    #[serde(skip)]
    pub preprocess: Preprocess,
    /// Length of the longest picture that the board accepts, in bytes.
    #[serde(skip)]
    pub longest: usize,
}

/// The board's result for a picture.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Time that the board's forward pass took, in milliseconds.
    pub latency_ms: f64,
    /// Logits, or the embedding.
    pub logits: Vec<f32>,
    /// The most probable classes, most probable first; empty for an embedding model.
    pub top: Vec<Guess>,
}

/// An open line to a board. A read of `P` waits for a fraction of a second and then fails with [`ErrorKind::TimedOut`].
pub struct BoardLink<'p, P> {
    port: P,
    /// Name of the line in messages.
    path: &'p Path,
    /// Speed of the line in bits a second.
    baud: u32,
    /// Time that the board may take to answer.
    patience: Duration,
    /// Memory for the frame that is being received.
    buffer: Vec<u8>,
}

/// A reason why an attempt brought no answer.
enum Failure {
    /// Noise on the line or silence. Another attempt may succeed.
    Noise(String),
    /// An error that another attempt would repeat.
    Final(Error),
}

impl<'p, P: Read + Write> BoardLink<'p, P> {
    /// Creates a link over `port`, a line of `baud` bits a second. Errors name `path`.
    pub fn new(port: P, path: &'p Path, baud: u32) -> Self {
        Self { port, path, baud, patience: PATIENCE, buffer: vec![0; LONGEST_PAYLOAD + OVERHEAD] }
    }

    /// Sets the time that the board may take to answer.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks the board for its description.
    ///
    /// # Errors
    /// Returns an error where the board does not answer, speaks another version of the protocol, or asks for impossible
    /// pictures.
    pub fn hello(&mut self) -> Result<BoardInfo> {
        let path = self.path.to_owned();
        self.ask(&Message::Hello, &mut |answer| match answer {
            Message::Info(info) if info.version != VERSION => {
                let (found, expected) = (info.version, VERSION);
                Err(Error::file(
                    &path,
                    format!("the board speaks version {found} of the protocol, expected {expected}"),
                ))
            }
            Message::Info(info) => {
                let resize = match info.resizing {
                    Resizing::Bilinear => ResizeMode::Bilinear,
                    Resizing::Bicubic => ResizeMode::Bicubic,
                };
                let image = info.image.map(|side| side as usize);
                // Mean and standard deviation are folded into the model's first layer.
                let fit = if info.is_squashed { Fit::Squash } else { Fit::Crop };
                let preprocess = Preprocess { resize, fit, crop: info.crop, mean: [0.0; 3], std: [1.0; 3], image };
                preprocess.validate().map_err(|error| {
                    Error::file(&path, format!("the board asks for pictures that cannot be made: {error}"))
                })?;
                if 3 * image[0] * image[1] > LONGEST_PICTURE {
                    let [height, width] = image;
                    let asked = format!("the board asks for pictures of {height} × {width} pixels");
                    let expected = format!("expected at most {LONGEST_PICTURE} bytes, three for each pixel");
                    return Err(Error::file(&path, format!("{asked}, {expected}")));
                }
                let (board, model) = (info.board.to_owned(), info.model.to_owned());
                Ok(Some(BoardInfo { board, model, preprocess, longest: info.longest as usize }))
            }
            _ => Ok(None),
        })
    }

    /// Lets the board classify a prepared picture.
    ///
    /// # Errors
    /// Returns an error where the picture is too long for the board, or the board does not answer or reports an error.
    pub fn classify(&mut self, board: &BoardInfo, pixels: &[u8]) -> Result<Answer> {
        if pixels.len() > board.longest {
            let message = format!("the board accepts pictures of up to {} bytes, not {}", board.longest, pixels.len());
            return Err(Error::file(self.path, message));
        }
        self.ask(&Message::Picture(pixels), &mut |answer| match answer {
            Message::Result(outcome) => {
                let guess = |guess: &resmlp_protocol::Guess| Guess {
                    index: guess.index as usize,
                    label: (!guess.label.is_empty()).then(|| guess.label.to_owned()),
                    probability: f64::from(guess.probability),
                };
                Ok(Some(Answer {
                    latency_ms: f64::from(outcome.latency_us) / 1e3,
                    logits: outcome.logits.iter().collect(),
                    top: outcome.top.iter().map(guess).collect(),
                }))
            }
            _ => Ok(None),
        })
    }

    /// Sends a message, several times if necessary, until `understand` returns a value for an answer.
    fn ask<T>(&mut self, message: &Message, understand: &mut dyn FnMut(Message) -> Result<Option<T>>) -> Result<T> {
        let mut frame = vec![0; message.encoded_len()];
        let too_long = || Error::file(self.path, "the message is longer than 4 GiB");
        let frame = message.encode(&mut frame).ok_or_else(too_long)?.to_vec();
        let mut problem = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 && matches!(message, Message::Picture(_)) {
                self.settle();
            }
            match self.attempt(&frame, understand) {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Noise(noise)) => problem = noise,
            }
        }
        Err(Error::file(self.path, format!("{problem}, {ATTEMPTS} times")))
    }

    /// Asks the board for its description and ignores everything that arrives before it. Otherwise an answer that comes
    /// too late could pass for the answer to the next picture. Silence here is no error.
    fn settle(&mut self) {
        let mut frame = [0; OVERHEAD];
        if let Some(hello) = Message::Hello.encode(&mut frame) {
            let hello = hello.to_vec();
            let _ = self.attempt(&hello, &mut |answer| Ok(matches!(answer, Message::Info(_)).then_some(())));
        }
    }

    /// Sends a frame once and waits for an answer for which `understand` returns a value.
    fn attempt<T>(
        &mut self,
        frame: &[u8],
        understand: &mut dyn FnMut(Message) -> Result<Option<T>>,
    ) -> std::result::Result<T, Failure> {
        let path = self.path;
        let failed = |error: io::Error| Failure::Final(Error::io(path, error));
        let on_the_line = Duration::from_secs(frame.len() as u64 * BITS_PER_BYTE) / self.baud.max(1);
        let end = Instant::now() + on_the_line + self.patience;
        send(&mut self.port, frame, end).map_err(failed)?;
        let mut decoder = Decoder::new(&mut self.buffer);
        let mut received = [0; 4096];
        while Instant::now() < end {
            let count = match self.port.read(&mut received) {
                Ok(0) => return Err(Failure::Final(Error::file(path, "the other end closed the line"))),
                Ok(count) => count,
                Err(error) if is_waiting(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            let mut bytes = &received[..count];
            while !bytes.is_empty() {
                bytes = &bytes[decoder.push(bytes)..];
                while let Some(answer) = decoder.take() {
                    if let Some(answer) = answered(answer, path, understand)? {
                        return Ok(answer);
                    }
                }
            }
        }
        let seconds = self.patience.as_secs_f32();
        Err(Failure::Noise(format!(
            "the board does not answer in {seconds} s: check that its program is running and that the line is connected, or \
             give a slow board more time with --patience"
        )))
    }
}

/// Returns what `understand` returns for a frame: `None` where the frame answers something else.
fn answered<T>(
    frame: std::result::Result<Message, FrameError>,
    path: &Path,
    understand: &mut dyn FnMut(Message) -> Result<Option<T>>,
) -> std::result::Result<Option<T>, Failure> {
    match frame {
        Ok(Message::Error { code: ErrorCode::Damaged, .. }) | Err(FrameError::Damaged) => {
            Err(Failure::Noise("frames are damaged on the line".to_owned()))
        }
        Ok(Message::Error { code, text }) => {
            Err(Failure::Final(Error::file(path, format!("the board reports: {code}: {text}"))))
        }
        Ok(answer) => understand(answer).map_err(Failure::Final),
        Err(error) => Err(Failure::Final(Error::file(path, format!("the board's frame cannot be read: {error}")))),
    }
}

/// Writes a whole frame before `end`.
fn send(port: &mut impl Write, mut frame: &[u8], end: Instant) -> io::Result<()> {
    while !frame.is_empty() {
        match port.write(frame) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => frame = &frame[count..],
            // The line is slower than this program, so the system's buffer is full.
            Err(error) if is_waiting(&error) && Instant::now() < end => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns whether an error only says that nothing has happened yet.
fn is_waiting(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
