//! Tests of `resmlp send` over a pseudo-terminal. A simulated board at its other end has the same engine and protocol.
#![cfg(unix)]

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use resmlp_cli::board_link::BoardLink;
use resmlp_protocol::{Decoder, ErrorCode, FrameError, Info, Logits, Message, Outcome, Resizing, VERSION};
use resmlp_runtime::{AlignedBytes, Engine, Fit, Kernels, Model, Resize, Serial, top};
use serde_json::Value;
use serialport::{SerialPort, TTYPort};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn resmlp(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_resmlp")).args(words).output().unwrap()
}

fn json(words: &[&str]) -> Value {
    let output = resmlp(words);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A simulated board at the other end of a line.
struct SimulatedBoard<'m> {
    engine: Engine<'m, Serial>,
    /// Number of pictures that the board reports as damaged.
    damaged: usize,
    /// Whether the board reports that pictures have a wrong size.
    refuses: bool,
    /// Time that the board waits before it answers the first picture.
    late: Option<Duration>,
}

impl<'m> SimulatedBoard<'m> {
    fn new(bytes: &'m AlignedBytes) -> Self {
        let engine = Engine::new(Model::parse(bytes).unwrap(), Kernels::scalar(), Serial);
        Self { engine: engine.unwrap(), damaged: 0, refuses: false, late: None }
    }

    /// Answers messages until `stop` is set.
    fn serve(&mut self, mut port: TTYPort, stop: &AtomicBool) {
        let (mut memory, mut bytes) = (vec![0; 1 << 20], [0; 1000]);
        let mut decoder = Decoder::new(&mut memory);
        while !stop.load(Ordering::Relaxed) {
            let Ok(count) = port.read(&mut bytes) else {
                // Nothing has arrived, or nobody has opened the other end yet.
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            let mut received = &bytes[..count];
            while !received.is_empty() {
                received = &received[decoder.push(received)..];
                while let Some(frame) = decoder.take() {
                    port.write_all(b"[a board may print text between frames]\r\n").unwrap();
                    port.write_all(&self.answer(frame)).unwrap();
                }
            }
        }
    }

    fn answer(&mut self, frame: Result<Message, FrameError>) -> Vec<u8> {
        let encoded = |message: Message| {
            let mut buffer = vec![0; message.encoded_len()];
            message.encode(&mut buffer).unwrap().to_vec()
        };
        let model = self.engine.model();
        match frame {
            Ok(Message::Hello) => encoded(Message::Info(Info {
                version: VERSION,
                image: model.dims().image.map(|side| side as u32),
                classes: model.dims().outputs as u32,
                longest: 1 << 20,
                resizing: match model.preprocessing().resize {
                    Resize::Bilinear => Resizing::Bilinear,
                    Resize::Bicubic => Resizing::Bicubic,
                },
                is_squashed: model.preprocessing().fit == Fit::Squash,
                crop: model.preprocessing().crop,
                board: "simulated board",
                model: "some model",
            })),
            Ok(Message::Picture(_)) if self.damaged > 0 => {
                self.damaged -= 1;
                encoded(Message::Error { code: ErrorCode::Damaged, text: "checksum" })
            }
            Ok(Message::Picture(_)) if self.refuses => {
                encoded(Message::Error { code: ErrorCode::PictureSize, text: "expected 9 bytes" })
            }
            Ok(Message::Picture(pixels)) => {
                self.late.take().into_iter().for_each(std::thread::sleep);
                let (mut scratch, mut logits) = (vec![0; self.engine.scratch_len()], vec![0.0; model.dims().outputs]);
                self.engine.run(pixels, &mut scratch, &mut logits).unwrap();
                let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
                let guess = |(index, logit): (usize, f32)| resmlp_protocol::Guess {
                    index: index as u32,
                    probability: logit.exp() / sum,
                    label: model.labels().nth(index).unwrap_or_default(),
                };
                let top = top::<5>(&logits).into_iter().map(guess).collect();
                encoded(Message::Result(Outcome { latency_us: 1234, logits: Logits::new(&logits), top }))
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Sends two pictures to a simulated board. Returns the output of `resmlp send`, and the JSON of `resmlp run` with the
/// same model and pictures.
fn send(prepare: impl FnOnce(&mut SimulatedBoard), words: &[&str]) -> (Output, Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures/safetensors/deit-f32.safetensors");
    fs::write(path("labels.txt"), "ant\nbee\ncat\ndog\neel\n").unwrap();
    let convert = resmlp(&[
        "convert",
        fixture.to_str().unwrap(),
        "--precision=f16",
        "--labels",
        &path("labels.txt"),
        "-o",
        &path("m.rmlp"),
        "--crop=0.8",
    ]);
    assert!(convert.status.success(), "{}", text(&convert.stderr));
    for seed in [1, 2] {
        let pixel = |x, y| image::Rgb([(x * 9 + seed) as u8, (y * 7 + 90 * seed) as u8, (x * y * seed) as u8]);
        image::RgbImage::from_fn(40, 30, pixel).save(path(&format!("{seed}.png"))).unwrap();
    }
    let (one, two) = (path("1.png"), path("2.png"));
    let expected = json(&["run", &path("m.rmlp"), &one, &two, "--kernels=scalar", "--json"]);

    let model = AlignedBytes::from(&*fs::read(path("m.rmlp")).unwrap());
    let mut board = SimulatedBoard::new(&model);
    prepare(&mut board);
    let (mut theirs, mut ours) = TTYPort::pair().unwrap();
    ours.set_exclusive(false).unwrap();
    theirs.set_timeout(Duration::from_millis(20)).unwrap();
    let name = ours.name().unwrap();
    // The program opens this end exclusively. The line exists as long as the board's end is open.
    drop(ours);
    let stop = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| board.serve(theirs, &stop));
        let output = resmlp(&[&["send", "--port", &name, &one, &two], words].concat());
        stop.store(true, Ordering::Relaxed);
        output
    });
    (output, expected)
}

#[test]
fn the_boards_answer_is_the_desktops() {
    // The first picture arrives damaged twice.
    let (output, expected) = send(|board| board.damaged = 2, &["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["board"], &found["model"]), (&"simulated board".into(), &"some model".into()));
    let [found, expected] = [&found, &expected].map(|value| value["results"].as_array().unwrap());
    assert_eq!(found.len(), 2);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!((&found["image"], &found["logits"]), (&expected["image"], &expected["logits"]));
        assert_eq!(found["latency_ms"], 1.234);
        let best = &found["top"][0];
        assert_eq!((&best["label"], &best["index"]), (&expected["top"][0]["label"], &expected["top"][0]["index"]));
        let [ours, theirs] = [best, &expected["top"][0]].map(|guess| guess["probability"].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
        assert!(best["label"].is_string() && found["top"].as_array().unwrap().len() == 5);
    }
    assert_ne!(found[0]["logits"], found[1]["logits"]);
}

#[test]
fn people_read_labels() {
    let (output, expected) = send(|_| {}, &["--baud", "9600"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let found = text(&output.stdout);
    let label = expected["results"][0]["top"][0]["label"].as_str().unwrap();
    assert!(found.lines().nth(1).unwrap().ends_with(&format!(" %  {label}")), "{found}");
    assert!(found.contains("1.234 ms") && found.ends_with("board: simulated board; model: some model\n"), "{found}");
}

#[test]
fn a_boards_error_is_told() {
    let (output, _) = send(|board| board.refuses = true, &[]);
    assert_eq!(output.status.code(), Some(1));
    let found = text(&output.stderr);
    assert!(found.contains("the board reports: wrong picture size: expected 9 bytes"), "{found}");
    let (output, _) = send(|board| board.damaged = 3, &[]);
    assert!(text(&output.stderr).contains("damaged on the line, 3 times"), "{}", text(&output.stderr));
}

#[test]
fn patience_is_the_users() {
    let (_theirs, mut ours) = TTYPort::pair().unwrap();
    ours.set_exclusive(false).unwrap();
    let name = ours.name().unwrap();
    drop(ours);
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/pictures/horse.png");
    let start = Instant::now();
    let output = resmlp(&["send", "--port", &name, "--patience", "1", picture.to_str().unwrap()]);
    assert!(text(&output.stderr).contains("does not answer in 1 s: "), "{}", text(&output.stderr));
    assert!(start.elapsed() < Duration::from_secs(25));
    let output = resmlp(&["send", "--port", &name, "--patience", "0", picture.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn what_is_no_line_is_told() {
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo/pictures/horse.png");
    let output = resmlp(&["send", "--port", "/nowhere/ttyUSB0", picture.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: /nowhere/ttyUSB0: "), "{}", text(&output.stderr));
    let output = resmlp(&["send", "--port", "/nowhere/ttyUSB0", "missing.png"]);
    assert!(text(&output.stderr).contains("missing.png"), "{}", text(&output.stderr));
}

#[test]
fn an_answer_that_comes_too_late_is_not_the_next_pictures() {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures/safetensors/deit-f32.safetensors");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.rmlp");
    let convert =
        resmlp(&["convert", fixture.to_str().unwrap(), "--precision=f16", "-o", path.to_str().unwrap(), "--crop=1"]);
    assert!(convert.status.success(), "{}", text(&convert.stderr));
    let model = AlignedBytes::from(&*fs::read(&path).unwrap());
    let mut board = SimulatedBoard::new(&model);
    let len = board.engine.model().dims().image.iter().product::<usize>() * 3;
    let pictures = [vec![10; len], (0..len).map(|i| i as u8).collect()];
    let expected = pictures.clone().map(|picture| {
        let mut logits = vec![0.0; board.engine.model().dims().outputs];
        board.engine.run(&picture, &mut vec![0; board.engine.scratch_len()], &mut logits).unwrap();
        logits
    });
    board.late = Some(Duration::from_millis(400));
    let (mut theirs, mut ours) = TTYPort::pair().unwrap();
    theirs.set_timeout(Duration::from_millis(20)).unwrap();
    ours.set_timeout(Duration::from_millis(20)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| board.serve(theirs, &stop));
        let mut link = BoardLink::new(ours, Path::new("tty"), 1_000_000).with_patience(Duration::from_millis(300));
        let info = link.hello().unwrap();
        let found = pictures.map(|picture| link.classify(&info, &picture).map(|answer| answer.logits));
        stop.store(true, Ordering::Relaxed);
        assert_eq!(found.map(Result::unwrap), expected);
    });
}

/// A line on which these bytes arrive and then nothing.
struct Line(Cursor<Vec<u8>>);

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.0.read(buffer)? {
            0 => {
                std::thread::sleep(Duration::from_millis(1));
                Err(std::io::ErrorKind::TimedOut.into())
            }
            count => Ok(count),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_silent_or_babbling_line_is_given_up() {
    for bytes in [vec![], b"login: ".repeat(1000), vec![0xa7; 5000]] {
        let start = Instant::now();
        let link = BoardLink::new(Line(Cursor::new(bytes)), Path::new("tty"), 115_200);
        let error = link.with_patience(Duration::from_millis(20)).hello().unwrap_err().to_string();
        assert!(
            error.starts_with("tty: the board does not answer in 0.02 s") && error.ends_with(", 3 times"),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_board_that_asks_for_absurd_pictures_is_refused() {
    let hello = |image: [u32; 2]| {
        let (resizing, crop) = (Resizing::Bilinear, 1.0);
        let (board, model) = ("\x1b[2Jboard", "model");
        let longest = u32::MAX;
        let info = Message::Info(Info {
            version: VERSION,
            image,
            classes: 7,
            longest,
            resizing,
            is_squashed: false,
            crop,
            board,
            model,
        });
        let mut frame = vec![0; info.encoded_len()];
        let frame = info.encode(&mut frame).unwrap().to_vec();
        let link = BoardLink::new(Line(Cursor::new(frame)), Path::new("tty"), 115_200);
        link.with_patience(Duration::from_millis(20)).hello()
    };
    assert_eq!(hello([2000, 2000]).unwrap().preprocess.image, [2000, 2000]);
    let error = hello([16_384, 16_384]).unwrap_err().to_string();
    assert!(error.contains("16384 × 16384 pixels, expected at most 16777216 bytes"), "{error}");
    assert!(hello([u32::MAX, u32::MAX]).unwrap_err().to_string().contains("pictures that cannot be made"));
}
