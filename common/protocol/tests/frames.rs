//! Sends frames over lines that lose and damage bytes, and sends bytes that are not frames.

use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use resmlp_protocol::{
    Decoder, ErrorCode, FrameError, Guess, Info, Logits, MAGIC, Message, OVERHEAD, Outcome, Resizing,
};

/// Length of the longest payload that the decoder accepts in these tests, in bytes.
const LIMIT: usize = 600;

fn encoded(message: &Message) -> Vec<u8> {
    let mut buffer = vec![0; message.encoded_len()];
    assert_eq!(message.encode(&mut buffer).map(<[u8]>::len), Some(buffer.len()));
    buffer
}

/// Returns a frame of any kind, with any payload, and with the right checksums.
fn of_kind(kind: u32, payload: &[u8]) -> Vec<u8> {
    let fields = [&MAGIC[..], &kind.to_le_bytes(), &(payload.len() as u32).to_le_bytes()].concat();
    let checksum = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
    [&fields[..], &checksum(&fields), payload, &checksum(&[&fields, payload].concat())].concat()
}

/// Decodes `line`, received `step` bytes at a time, and returns the bytes of each message or the error in it.
fn received(line: &[u8], step: usize) -> Vec<Result<Vec<u8>, FrameError>> {
    let mut buffer = [0; LIMIT + OVERHEAD];
    let mut decoder = Decoder::new(&mut buffer);
    let mut found = Vec::new();
    for chunk in line.chunks(step) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let count = decoder.push(rest);
            assert!(count > 0, "no room after everything was taken");
            rest = &rest[count..];
            while let Some(outcome) = decoder.take() {
                found.push(outcome.map(|message| encoded(&message)));
            }
        }
    }
    found
}

fn messages<'a>(logits: &'a [f32], text: &'a str) -> [Message<'a>; 5] {
    let guess = |index| Guess { index, probability: 0.25, label: text };
    [
        Message::Hello,
        Message::Picture(&[1, 2, 3, 0xa7, b'R', b'M', b'L', 0]),
        Message::Info(Info {
            version: 1,
            image: [224, 192],
            classes: 1000,
            longest: 150_528,
            resizing: Resizing::Bicubic,
            is_squashed: false,
            crop: 0.9,
            board: text,
            model: "",
        }),
        Message::Result(Outcome {
            latency_us: 1234,
            logits: Logits::new(logits),
            top: [guess(3), guess(7)].into_iter().collect(),
        }),
        Message::Error { code: ErrorCode::Other(77), text },
    ]
}

#[test]
fn a_frame_is_laid_out_as_documented() {
    let bytes = encoded(&Message::Error { code: ErrorCode::PictureSize, text: "no" });
    assert_eq!(bytes[..4], MAGIC);
    assert_eq!(bytes[4..12], [5, 0, 0, 0, 10, 0, 0, 0]);
    assert_eq!(bytes[12..16], crc32fast::hash(&bytes[..12]).to_le_bytes());
    assert_eq!(bytes[16..26], [4, 0, 0, 0, 2, 0, 0, 0, b'n', b'o']);
    assert_eq!(bytes[26..], crc32fast::hash(&[&bytes[..12], &bytes[16..26]].concat()).to_le_bytes());
}

#[test]
fn squashing_is_a_resizing_of_its_own() {
    let [_, _, Message::Info(info), ..] = messages(&[], "") else { panic!("no info") };
    for (resizing, is_squashed, code) in [
        (Resizing::Bilinear, false, 0u32),
        (Resizing::Bicubic, false, 1),
        (Resizing::Bilinear, true, 2),
        (Resizing::Bicubic, true, 3),
    ] {
        let message = Message::Info(Info { resizing, is_squashed, ..info });
        let frame = encoded(&message);
        assert_eq!(frame[16 + 20..][..4], code.to_le_bytes());
        let mut buffer = [0; LIMIT + OVERHEAD];
        let mut decoder = Decoder::new(&mut buffer);
        decoder.push(&frame);
        assert_eq!(decoder.take(), Some(Ok(message)));
        // Its numbers end at 3.
        let payload = [&frame[16..36], &4u32.to_le_bytes(), &frame[40..frame.len() - 4]].concat();
        assert!(matches!(received(&of_kind(3, &payload), 64)[..], [Err(_)]));
    }
}

#[test]
fn logits_keep_every_bit() {
    let bits = [0x8000_0000, 0x7fc0_1234, 1, 0xff80_0000];
    let values = bits.map(f32::from_bits);
    let frame = encoded(&messages(&values, "")[3]);
    let mut buffer = [0; 200];
    let mut decoder = Decoder::new(&mut buffer);
    assert_eq!(decoder.push(&frame), frame.len());
    let Some(Ok(Message::Result(outcome))) = decoder.take() else { panic!("no result") };
    assert_eq!(outcome.logits.len(), 4);
    assert!(outcome.logits.iter().map(f32::to_bits).eq(bits));
}

#[test]
fn a_payload_that_does_not_fit_is_refused_and_the_next_frame_is_found() {
    let line = [encoded(&Message::Picture(&[0; LIMIT + 1])), encoded(&Message::Hello)].concat();
    let too_long = FrameError::TooLong { length: LIMIT as u32 + 1, limit: LIMIT };
    assert_eq!(received(&line, 64), [Err(too_long), Ok(encoded(&Message::Hello))]);
    assert_eq!(Message::Hello.encode(&mut [0; OVERHEAD - 1]), None);
}

#[test]
fn unknown_kinds_and_malformed_payloads_are_named() {
    let with = |kind, payload: &[u8]| received(&of_kind(kind, payload), 7);
    assert_eq!(with(6, &[1]), [Err(FrameError::Kind(6))]);
    for (kind, payload) in [
        (1, &[0][..]),                                      // a hello with a payload
        (3, &[0; 8]),                                       // an info cut short
        (4, &[0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]), // four billion logits
        (4, &[0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]), // four billion best classes
        (5, &[1, 0, 0, 0, 1, 0, 0, 0, 0xff]),               // a text that is not UTF-8
        (5, &[1, 0, 0, 0, 255, 255, 255, 255]),             // a text longer than its frame
    ] {
        assert_eq!(with(kind, payload), [Err(FrameError::Payload { kind })], "{payload:?}");
    }
}

#[test]
fn more_than_five_best_classes_are_refused() {
    let mut payload = vec![0; 12];
    payload[8] = 6;
    payload.extend([0; 6 * 12]);
    assert_eq!(received(&of_kind(4, &payload), 100), [Err(FrameError::Payload { kind: 4 })]);
}

#[test]
fn a_frame_that_fills_the_buffer_leaves_room_for_the_next() {
    let frame = encoded(&Message::Picture(&[7; 44]));
    let mut buffer = [0; 64];
    let mut decoder = Decoder::new(&mut buffer);
    let line = frame.repeat(3);
    let taken = line.iter().filter(|byte| decoder.push(&[**byte]) == 1 && decoder.take().is_some());
    assert_eq!(taken.count(), 3);
}

#[test]
fn a_reset_forgets_an_incomplete_frame() {
    let mut buffer = [0; 64];
    let mut decoder = Decoder::new(&mut buffer);
    let hello = encoded(&Message::Hello);
    decoder.push(&hello[..19]);
    assert_eq!(decoder.take(), None);
    assert!(decoder.is_waiting());
    decoder.reset();
    assert!(!decoder.is_waiting());
    decoder.push(&hello[19..]);
    assert_eq!(decoder.take(), None);
    decoder.push(&hello);
    assert_eq!(decoder.take(), Some(Ok(Message::Hello)));
}

/// After a frame that was cut off, the next frame's header may lie where the decoder expects twelve bytes of payload
/// and a checksum.
#[test]
fn a_frame_that_was_cut_off_and_the_next_one_do_not_make_a_frame() {
    for length in 0..64 {
        let frame = encoded(&Message::Picture(&vec![0; length]));
        for next in
            [&frame, &encoded(&Message::Hello), &encoded(&Message::Error { code: ErrorCode::Internal, text: "" })]
        {
            // If the missing bytes are the next frame's first bytes, the frame is whole.
            for cut in (0..frame.len()).filter(|&cut| !next.starts_with(&frame[cut..])) {
                let line = [&frame[..cut], next, &frame].concat();
                let found: Vec<_> = received(&line, 7).into_iter().filter_map(Result::ok).collect();
                assert_eq!(found, [next.clone(), frame.clone()], "{length} bytes, cut at {cut}");
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, rng_seed: RngSeed::Fixed(0), ..Config::with_cases(1000) })]

    #[test]
    fn whatever_is_sent_arrives(
        logits in vec(any::<f32>(), 0..100),
        text in "\\PC{0,30}",
        picture in vec(any::<u8>(), 0..LIMIT),
        step in 1usize..100,
    ) {
        let mut frames: Vec<Vec<u8>> = messages(&logits, &text).iter().map(encoded).collect();
        frames.push(encoded(&Message::Picture(&picture)));
        let expected: Vec<_> = frames.iter().cloned().map(Ok).collect();
        prop_assert_eq!(received(&frames.concat(), step), expected);
    }

    /// The garbage often looks like the beginning of a frame.
    #[test]
    fn a_frame_is_found_after_garbage(
        garbage in vec(prop_oneof![Just(0xa7), Just(b'R'), Just(b'M'), Just(b'L'), any::<u8>()], 0..200),
        text in "\\PC{0,30}",
        step in 1usize..300,
    ) {
        let frame = encoded(&Message::Error { code: ErrorCode::Internal, text: &text });
        prop_assert_eq!(received(&[garbage, frame.clone()].concat(), step), [Ok(frame)]);
    }

    #[test]
    fn a_repeated_picture_is_found_after_one_that_was_cut_off(
        picture in vec(any::<u8>(), 1..LIMIT),
        cut in any::<prop::sample::Index>(),
        step in 1usize..300,
    ) {
        let frame = encoded(&Message::Picture(&picture));
        let line = [&frame[..cut.index(frame.len())], &frame].concat();
        let found = received(&line, step);
        prop_assert_eq!(found.last(), Some(&Ok(frame)));
        prop_assert!(found.iter().rev().skip(1).all(|outcome| *outcome == Err(FrameError::Damaged)));
    }

    /// A checksum of 32 bits finds every error of up to three bits in frames of this length.
    #[test]
    fn flipped_bits_are_noticed_and_the_next_frame_found(
        picture in vec(any::<u8>(), 0..200),
        flips in vec(any::<prop::sample::Index>(), 1..4),
        step in 1usize..300,
    ) {
        let frame = encoded(&Message::Picture(&picture));
        let mut damaged = frame.clone();
        let bits: std::collections::HashSet<usize> = flips.iter().map(|flip| flip.index(8 * frame.len())).collect();
        for bit in bits {
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        let found = received(&[damaged, frame.clone()].concat(), step);
        prop_assert_eq!(found.last(), Some(&Ok(frame)));
        prop_assert!(found.iter().rev().skip(1).all(Result::is_err));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(line in vec(any::<u8>(), 0..3000), step in 1usize..3000) {
        received(&line, step);
    }
}
