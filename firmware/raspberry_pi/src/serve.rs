//! Answers frames from the serial line.

use resmlp_protocol::{Decoder, ErrorCode, FrameError, Message, OVERHEAD};
use resmlp_runtime::ParallelFor;

use crate::arena::Arena;
use crate::classify::Classifier;
use crate::clock::Clock;

/// The state between two bytes of the line.
#[derive(Debug)]
pub struct Server<'m> {
    board: &'static str,
    decoder: Decoder<'m>,
    reply: &'m mut [u8],
    /// Ticks at which the last byte arrived.
    last: u64,
    /// An incomplete frame is dropped after this many milliseconds of silence.
    silence: u32,
}

impl<'m> Server<'m> {
    /// Creates a server with memory from `arena`, or returns `None` if there is too little. An incomplete frame is
    /// dropped after `silence` milliseconds without a byte.
    pub fn new<P: ParallelFor>(
        board: &'static str,
        silence: u32,
        classifier: &Classifier<'m, P>,
        arena: &mut Arena<'m>,
    ) -> Option<Self> {
        let decoder = Decoder::new(arena.zeros(classifier.picture_length() + OVERHEAD)?);
        let reply = arena.zeros(classifier.longest_reply())?;
        Some(Self { board, decoder, reply, last: 0, silence })
    }

    /// Returns whether a frame has begun and not ended. Further bytes may arrive at any time then.
    pub fn is_receiving(&self) -> bool {
        self.decoder.is_waiting()
    }

    /// Takes a byte of the line, or `None` if none has arrived, and returns the reply if one is due.
    pub fn poll<P: ParallelFor, C: Clock>(
        &mut self,
        byte: Option<u8>,
        classifier: &mut Classifier<P>,
        clock: &C,
    ) -> Option<&[u8]> {
        let now = clock.ticks();
        let silence = clock.frequency().saturating_mul(u64::from(self.silence)) / 1000;
        match byte {
            Some(byte) => {
                self.last = now;
                self.decoder.push(&[byte]);
            }
            None if now.wrapping_sub(self.last) > silence => self.decoder.reset(),
            None => return None,
        }
        let message = self.decoder.take()?;
        reply(message, self.board, classifier, clock, self.reply)
    }
}

/// Answers one message. Returns `None` if the reply does not fit the buffer.
fn reply<'b, P: ParallelFor, C: Clock>(
    message: Result<Message, FrameError>,
    board: &str,
    classifier: &mut Classifier<P>,
    clock: &C,
    buffer: &'b mut [u8],
) -> Option<&'b [u8]> {
    let error = |code, text| Message::Error { code, text };
    let reply = match message {
        Ok(Message::Hello) => Message::Info(classifier.info(board)),
        Ok(Message::Picture(picture)) if picture.len() == classifier.picture_length() => {
            match classifier.run(picture, clock, &mut |_| {}) {
                Ok(time) => {
                    let latency = u32::try_from(time.microseconds(clock)).unwrap_or(u32::MAX);
                    Message::Result(classifier.outcome(latency))
                }
                Err(_) => error(ErrorCode::Internal, "the forward pass did not run"),
            }
        }
        Ok(Message::Picture(_)) => error(ErrorCode::PictureSize, "expected height x width x 3 bytes, as info says"),
        Ok(_) => error(ErrorCode::Unexpected, "boards send such frames, and take hello and picture"),
        Err(FrameError::Damaged) => error(ErrorCode::Damaged, "the frame's checksum does not match"),
        Err(FrameError::TooLong { .. }) => error(ErrorCode::TooLong, "longer than a picture of the model's size"),
        Err(FrameError::Kind(_)) => error(ErrorCode::Unexpected, "unknown kind of frame"),
        Err(FrameError::Payload { .. }) => error(ErrorCode::Unexpected, "malformed payload"),
    };
    reply.encode(buffer)
}
