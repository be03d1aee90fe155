//! Talks to a board over a serial line, in the frames of `resmlp-protocol`.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use resmlp_picture::{Preprocess, ResizeMode};
use resmlp_protocol::{Decoder, ErrorCode, FrameError, Message, OVERHEAD, Resizing, VERSION};
use serde::Serialize;

use crate::classifier::Guess;
use crate::error::{Error, Result};

/// Longest payload that is taken from a board: the logits and labels of the largest model fit.
const LONGEST_PAYLOAD: usize = 1 << 20;

/// Time that a board may take to answer, beside what the frame takes on the line, where nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How often something is sent before the line is given up.
const ATTEMPTS: usize = 3;

/// Bits on the line for each byte: a start bit and a stop bit stand around its eight.
const BITS_PER_BYTE: u64 = 10;

/// What a board says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct BoardInfo {
    /// Its name.
    pub board: String,
    /// What its model says of itself.
    pub model: String,
    /// How pictures are prepared for it.
    #[serde(skip)]
    pub preprocess: Preprocess,
    /// The longest picture that it takes, bytes.
    #[serde(skip)]
    pub longest: usize,
}

/// What a board sees in a picture.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Of the forward pass.
    pub latency_ms: f64,
    /// What the model computes.
    pub logits: Vec<f32>,
    /// The best classes, best first; none from a model without a classifier.
    pub top: Vec<Guess>,
}

/// An open line. `P` waits for bytes no longer than a fraction of a second, then fails with [`ErrorKind::TimedOut`].
pub struct BoardLink<'p, P> {
    port: P,
    /// For messages.
    path: &'p Path,
    baud: u32,
    patience: Duration,
    buffer: Vec<u8>,
}

/// Why a board was not understood.
enum Failure {
    /// Worth another attempt.
    Noise(String),
    /// Not.
    Final(Error),
}

impl<'p, P: Read + Write> BoardLink<'p, P> {
    /// Over `port`, which the user calls `path` and which has this many bits a second.
    pub fn new(port: P, path: &'p Path, baud: u32) -> Self {
        Self { port, path, baud, patience: PATIENCE, buffer: vec![0; LONGEST_PAYLOAD + OVERHEAD] }
    }

    /// The same, waiting this long for an answer.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks what the board is.
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
                // Mean and deviation are in the model's first layer.
                let preprocess = Preprocess { resize, crop: info.crop, mean: [0.0; 3], std: [1.0; 3], image };
                preprocess.validate().map_err(|error| Error::file(&path, format!("the board wants: {error}")))?;
                let (board, model) = (info.board.to_owned(), info.model.to_owned());
                Ok(Some(BoardInfo { board, model, preprocess, longest: info.longest as usize }))
            }
            _ => Ok(None),
        })
    }

    /// Has a picture of the board's size classified.
    pub fn classify(&mut self, board: &BoardInfo, pixels: &[u8]) -> Result<Answer> {
        if pixels.len() > board.longest {
            let message = format!("the board takes pictures of up to {} bytes, not {}", board.longest, pixels.len());
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

    /// Sends a message until `understand` makes something of an answer.
    fn ask<T>(&mut self, message: &Message, understand: &mut dyn FnMut(Message) -> Result<Option<T>>) -> Result<T> {
        let mut frame = vec![0; message.encoded_len()];
        let too_long = || Error::file(self.path, "a message longer than 4 GiB");
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

    /// Asks what the board is, and takes no notice of what it says before that: an answer that came too late would otherwise
    /// pass for the next picture's. A board that says nothing is no worse off.
    fn settle(&mut self) {
        let mut frame = [0; OVERHEAD];
        if let Some(hello) = Message::Hello.encode(&mut frame) {
            let hello = hello.to_vec();
            let _ = self.attempt(&hello, &mut |answer| Ok(matches!(answer, Message::Info(_)).then_some(())));
        }
    }

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
                Ok(0) => return Err(Failure::Final(Error::file(path, "the line was closed"))),
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
            "the board does not answer in {seconds} s: is its program running, and the line connected \
             (a slow one wants a longer --patience)"
        )))
    }
}

/// What `understand` makes of a frame; `None` for one that answers something else.
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
            Err(Failure::Final(Error::file(path, format!("the board says: {code}: {text}"))))
        }
        Ok(answer) => understand(answer).map_err(Failure::Final),
        Err(error) => Err(Failure::Final(Error::file(path, format!("from the board: {error}")))),
    }
}

fn send(port: &mut impl Write, mut frame: &[u8], end: Instant) -> io::Result<()> {
    while !frame.is_empty() {
        match port.write(frame) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => frame = &frame[count..],
            // The line is slower than we are.
            Err(error) if is_waiting(&error) && Instant::now() < end => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_waiting(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
