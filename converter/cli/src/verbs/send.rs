//! `resmlp send`: has pictures classified by a board on a serial line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use resmlp_cli::board_link::{BoardInfo, BoardLink, PATIENCE};
use resmlp_cli::classifier::Guess;
use resmlp_cli::error::{Error, Result};
use resmlp_picture::Picture;
use serde::Serialize;

use super::report::shown;

/// Longest wait of a single read; the line is given up after several.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub struct Args {
    /// The serial line to the board
    #[arg(long, value_name = "DEVICE")]
    port: PathBuf,

    /// Bits a second
    #[arg(long, value_name = "N", default_value_t = resmlp_protocol::BAUD, value_parser = clap::value_parser!(u32).range(300..=4_000_000))]
    baud: u32,

    /// Seconds that the board may take for a picture before it is sent again; more for a large network on a slow core
    #[arg(long, value_name = "N", default_value_t = PATIENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,

    /// Pictures: JPEG, PNG or BMP
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

#[derive(Serialize)]
pub struct Outcome {
    #[serde(serialize_with = "shown")]
    port: PathBuf,
    #[serde(flatten)]
    board: BoardInfo,
    results: Vec<Classified>,
}

/// One picture's result; an embedding model has no `top`.
#[derive(Serialize)]
struct Classified {
    #[serde(serialize_with = "shown")]
    image: PathBuf,
    latency_ms: f64,
    logits: Vec<f32>,
    top: Vec<Guess>,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    // Before anything is sent: a picture that cannot be read is the user's to mend.
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
                let label = guess.label.clone().unwrap_or_else(|| format!("class {}", guess.index));
                writeln!(f, "  {:5.1} %  {label}", guess.probability * 100.0)?;
            }
            if result.top.is_empty() {
                writeln!(f, "  embedding of {} channels (--json prints it)", result.logits.len())?;
            }
        }
        write!(f, "board: {}; model: {}", self.board.board, self.board.model)
    }
}
