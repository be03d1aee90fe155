//! Goes from an initramfs to replies on the line, with a small model of random weights.

#[path = "../../../runtime/examples/random_model/model.rs"]
mod model;

use std::cell::Cell;

use model::{random, random_model};
use resmlp_protocol::{Decoder, ErrorCode, Message};
use resmlp_raspberry_pi::{Arena, Classifier, Clock, Failure, Payload, PayloadError, Server, core_clock, measure};
use resmlp_runtime::{AlignedBytes, Dims, Engine, Kernels, Layout, ModelError, Serial, WeightStorage};

const DIMS: Dims = Dims {
    weights: WeightStorage::Int8,
    image: [16, 8],
    patch: 4,
    dim: 12,
    hidden: 24,
    depth: 2,
    outputs: 7,
    has_head: true,
    has_gains: false,
    layout: Layout::DEFAULT,
};

const PICTURE: usize = 16 * 8 * 3;

/// Returns a model followed by `bytes`.
fn initramfs(bytes: &[u8]) -> AlignedBytes {
    let model = random_model(&DIMS);
    let mut file = AlignedBytes::zeroed(model.len() + bytes.len());
    file[..model.len()].copy_from_slice(&model);
    file[model.len()..].copy_from_slice(bytes);
    file
}

fn pictures(count: usize) -> Vec<u8> {
    random(9).take(count * PICTURE).map(|value| value as u8).collect()
}

/// A clock that counts how often it is read. A thousand readings are a second.
#[derive(Default)]
struct Counting {
    ticks: Cell<u64>,
    alive: Cell<u64>,
}

impl Clock for Counting {
    fn ticks(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    fn frequency(&self) -> u64 {
        1000
    }

    fn cycles(&self) -> u64 {
        7 * self.ticks.get()
    }

    fn alive(&self) {
        self.alive.set(self.alive.get() + 1);
    }
}

#[test]
fn the_clock_is_measured_by_counting_cycles() {
    let clock = Counting::default();
    assert_eq!(core_clock(&clock), 7 * 1000);
    // It counts for ten ticks, a hundredth of a second, and no longer.
    assert_eq!(clock.ticks.get(), 11);
}

#[test]
fn a_model_and_the_pictures_after_it_are_separated() {
    let pixels = pictures(2);
    let file = initramfs(&[&pixels, [1, 2, 3].as_slice()].concat());
    let payload = Payload::parse(&file).unwrap();
    assert_eq!(payload.pictures().collect::<Vec<_>>(), pixels.chunks(PICTURE).collect::<Vec<_>>());
    assert_eq!((payload.leftover, payload.model.dims()), (3, &DIMS));
}

#[test]
fn payloads_that_are_cut_off_or_damaged_are_refused() {
    let file = initramfs(&[]);
    let failure = |bytes: &[u8]| {
        let mut copy = AlignedBytes::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        Payload::parse(&copy).map(|_| ()).map_err(|error| (Failure::from(error), error))
    };
    for length in (0..file.len()).step_by(61) {
        assert!(failure(&file[..length]).is_err_and(|(failure, _)| failure == Failure::CutOff), "{length} bytes");
    }
    for at in (0..file.len()).step_by(61) {
        let mut damaged = file.to_vec();
        damaged[at] ^= 4;
        assert!(failure(&damaged).is_err(), "byte {at}");
    }
    let zeros = failure(&vec![0; file.len()]);
    assert_eq!(zeros, Err((Failure::Damaged, PayloadError::Model(ModelError::NotAModel))));
}

/// Returns the replies to `line`, which arrives byte by byte and is followed by `silence` polls without a byte.
fn replies(line: &[u8], silence: usize) -> Vec<u8> {
    let file = initramfs(&[]);
    let mut memory = vec![0; 1 << 20];
    let mut arena = Arena::new(&mut memory);
    let payload = Payload::parse(&file).unwrap();
    let engine = Engine::new(payload.model, Kernels::scalar(), Serial).unwrap();
    let mut classifier = Classifier::new(engine, &mut arena).unwrap();
    let mut server = Server::new("a board", 500, &classifier, &mut arena).unwrap();
    let clock = Counting::default();
    let bytes = line.iter().copied().map(Some).chain(std::iter::repeat_n(None, silence));
    let mut sent = Vec::new();
    for byte in bytes {
        sent.extend_from_slice(server.poll(byte, &mut classifier, &clock).unwrap_or_default());
    }
    sent
}

fn frame(message: &Message) -> Vec<u8> {
    let mut buffer = vec![0; message.encoded_len()];
    message.encode(&mut buffer).unwrap();
    buffer
}

fn for_each_message(sent: &[u8], mut each: impl FnMut(Message)) {
    let mut buffer = vec![0; 10_000];
    let mut decoder = Decoder::new(&mut buffer);
    assert_eq!(decoder.push(sent), sent.len());
    while let Some(message) = decoder.take() {
        each(message.unwrap());
    }
}

#[test]
fn pictures_are_answered_with_what_the_engine_computes() {
    let pixels = pictures(3);
    let pictures = pixels.chunks(PICTURE).map(|picture| frame(&Message::Picture(picture)));
    let line: Vec<u8> = [frame(&Message::Hello)].into_iter().chain(pictures).flatten().collect();
    let file = initramfs(&[]);
    let model = Payload::parse(&file).unwrap().model;
    let engine = Engine::new(model, Kernels::scalar(), Serial).unwrap();
    let mut expected = pixels.chunks(PICTURE).map(|picture| {
        let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; DIMS.outputs]);
        engine.run(picture, &mut scratch, &mut logits).unwrap();
        logits
    });
    let mut results = 0;
    for_each_message(&replies(&line, 0), |message| match message {
        Message::Info(info) => {
            assert_eq!((info.image, info.classes, info.longest), ([16, 8], 7, PICTURE as u32));
            assert_eq!(info.board, "a board");
        }
        Message::Result(outcome) => {
            let logits: Vec<f32> = outcome.logits.iter().collect();
            assert_eq!(Some(logits), expected.next());
            assert_eq!(outcome.top.len(), 5);
            assert!(outcome.top.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
            results += 1;
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(results, 3);
}

#[test]
fn requests_that_cannot_be_served_are_answered_with_the_reason() {
    let mut damaged = frame(&Message::Picture(&pictures(1)));
    damaged[20] ^= 1;
    for (frame, expected) in [
        (frame(&Message::Picture(&[0; PICTURE - 1])), ErrorCode::PictureSize),
        (frame(&Message::Picture(&[0; PICTURE + 1])), ErrorCode::TooLong),
        (frame(&Message::Error { code: ErrorCode::Internal, text: "" }), ErrorCode::Unexpected),
        (damaged, ErrorCode::Damaged),
    ] {
        let mut codes = Vec::new();
        for_each_message(&replies(&frame, 0), |message| match message {
            Message::Error { code, .. } => codes.push(code),
            other => panic!("{other:?}"),
        });
        assert_eq!(codes, [expected]);
    }
}

#[test]
fn an_incomplete_frame_is_forgotten_after_half_a_second() {
    let hello = frame(&Message::Hello);
    let line = [&hello[..19], &[0; 1]].concat();
    assert!(replies(&line[..19], 600).is_empty());
    // The frame was dropped, so its last byte completes nothing.
    let answered = |pause: usize| {
        let file = initramfs(&[]);
        let mut memory = vec![0; 1 << 20];
        let mut arena = Arena::new(&mut memory);
        let engine = Engine::new(Payload::parse(&file).unwrap().model, Kernels::scalar(), Serial).unwrap();
        let mut classifier = Classifier::new(engine, &mut arena).unwrap();
        let mut server = Server::new("a board", 500, &classifier, &mut arena).unwrap();
        let clock = Counting::default();
        let (last, first) = hello.split_last().unwrap();
        let pause = std::iter::repeat_n(None, pause);
        let bytes = first.iter().copied().map(Some).chain(pause).chain([Some(*last)]);
        bytes.filter(|&byte| server.poll(byte, &mut classifier, &clock).is_some()).count()
    };
    assert_eq!([answered(400), answered(600)], [1, 0]);
}

#[test]
fn measuring_keeps_the_watchdog_fed_and_times_every_stage() {
    let file = initramfs(&[]);
    let mut memory = vec![0; 1 << 20];
    let mut arena = Arena::new(&mut memory);
    let engine = Engine::new(Payload::parse(&file).unwrap().model, Kernels::scalar(), Serial).unwrap();
    let mut classifier = Classifier::new(engine, &mut arena).unwrap();
    let clock = Counting::default();
    let picture = pictures(1);
    let cold = classifier.run(&picture, &clock, &mut |_| {}).unwrap();
    let measured = measure(&mut classifier, &picture, cold, &clock, 4, &mut arena).unwrap();
    assert_eq!((measured.runs.len(), measured.stages.len()), (4, 2 * DIMS.depth + 2));
    assert!(measured.runs.iter().all(|run| run.ticks == 1 && run.cycles == 7));
    // The first stage has one tick more, because the clock is also read at the beginning of the run.
    assert_eq!(measured.stages.iter().map(|stage| stage.ticks).collect::<Vec<_>>(), [2, 1, 1, 1, 1, 1]);
    // There are one cold run, three to warm up, four timed ones, and four timed by stage, of six stages each.
    assert_eq!(clock.alive.get(), 12 * 6);
}
