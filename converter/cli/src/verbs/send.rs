//! `resmlp send`: lets a board on a serial line classify pictures.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use resmlp_cli::board_link::{BoardInfo, BoardLink, PATIENCE};
use resmlp_cli::error::{Error, Result};
use resmlp_command_line::Guess;
use resmlp_picture::Picture;
use serde::Serialize;

use super::report::shown;

/// Longest time that a single read waits.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Args {
    /// Serial line to the board, such as /dev/ttyUSB0
    #[arg(long, value_name = "DEVICE")]
    port: PathBuf,

    /// Speed of the line in bits a second
    #[arg(long, value_name = "N", default_value_t = resmlp_protocol::BAUD, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: u32,

    /// Seconds to wait for the board's answer before a picture is sent again; a large network on a slow core needs more
    #[arg(long, value_name = "N", default_value_t = PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,

    /// Pictures to classify (JPEG, PNG or BMP)
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

/// The report of `send`. With `--json` the object has these fields, and `board` and `model` of [`BoardInfo`].
#[derive(Serialize)]
pub struct Outcome {
    /// The serial line.
    #[serde(serialize_with = "shown")]
    port: PathBuf,
    #[serde(flatten)]
    board: BoardInfo,
    /// One entry for each picture, in the order of the command line.
    results: Vec<Classified>,
}

/// The result for one picture.
#[derive(Serialize)]
struct Classified {
    /// Path of the picture.
    #[serde(serialize_with = "shown")]
    image: PathBuf,
    /// Time that the board's forward pass took, in milliseconds.
    latency_ms: f64,
    /// Logits of all classes, or the embedding.
    logits: Vec<f32>,
    /// The most probable classes, most probable first; empty for an embedding model.
    top: Vec<Guess>,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    // All pictures are read before anything is sent, so that an unreadable one costs no time on the line.
    let pictures: Vec<Picture> = args.images.iter().map(|path| Ok(Picture::open(path)?)).collect::<Result<_>>()?;
    let name = args.port.to_string_lossy();
    let opened = serialport::new(name, args.baud).timeout(READ_TIMEOUT).open();
    let port = opened.map_err(|error| Error::file(&args.port, error.to_string()))?;
    let mut link = BoardLink::new(port, &args.port, args.baud).with_patience(Duration::from_secs(args.patience));
    let board = link.hello()?;
    let mut results = Vec::new();
    for (image, picture) in args.images.iter().zip(&pictures) {
        let answer = link.classify(&board, &board.preprocess.apply(picture)?)?;
        let (latency_ms, logits, top) = (answer.latency_ms, answer.logits, answer.top);
        results.push(Classified { image: image.clone(), latency_ms, logits, top });
    }
    Ok(Outcome { port: args.port.clone(), board, results })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for result in &self.results {
            writeln!(f, "{}  {:.3} ms", result.image.display(), result.latency_ms)?;
            for guess in &result.top {
                writeln!(f, "  {:5.1} %  {}", guess.probability * 100.0, guess.name())?;
            }
            if result.top.is_empty() {
                writeln!(f, "  embedding of {} channels (--json prints it)", result.logits.len())?;
            }
        }
        write!(f, "board: {}; model: {}", self.board.board, self.board.model)
    }
}
