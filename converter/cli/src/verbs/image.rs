//! `resmlp image`: a card image that a Raspberry Pi boots a model from.

use std::fmt;
use std::path::{Path, PathBuf};

use resmlp_cli::card::{self, Board, Parts};
use resmlp_cli::error::Result;
use resmlp_cli::output;
use serde::Serialize;

use super::report::{grouped, shown, table};

#[derive(clap::Args)]
pub struct Args {
    /// The machine that the card is for
    #[arg(long)]
    board: Board,

    /// Packed model
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// Folder with the board's boot files: of the package raspi-firmware, and its .dtb files; may be given several times
    #[arg(long, value_name = "DIR", required = true)]
    boot_files: Vec<PathBuf>,

    /// The program that runs the model, as `cargo xtask pi` builds it
    #[arg(long, value_name = "FILE", default_value = "target/device/kernel8.img")]
    kernel: PathBuf,

    /// A picture (JPEG, PNG or BMP) that the board classifies when it has started; may be given several times
    #[arg(long, value_name = "IMAGE")]
    picture: Vec<PathBuf>,

    /// The card's image, for dd or Raspberry Pi Imager
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Serialize)]
pub struct Outcome {
    #[serde(serialize_with = "shown")]
    output: PathBuf,
    board: Board,
    bytes: u64,
    files: Vec<File>,
}

#[derive(Serialize)]
struct File {
    name: String,
    bytes: usize,
}

pub fn execute(args: &Args) -> Result<Outcome> {
    let Args { board, model, boot_files, kernel, picture: pictures, output } = args;
    let inputs: Vec<&Path> = [model, kernel].into_iter().chain(pictures).map(PathBuf::as_path).collect();
    output::check(output, &inputs)?;
    let files = card::files(&Parts { board: *board, model, kernel, boot_files, pictures })?;
    let bytes = card::write(&files, output)?;
    let files = files.into_iter().map(|file| File { name: file.name, bytes: file.bytes.len() }).collect();
    Ok(Outcome { output: output.clone(), board: *board, bytes, files })
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            ("card image", format!("{}, {} bytes", self.output.display(), grouped(self.bytes))),
            ("board", self.board.name().to_owned()),
        ];
        rows.extend(
            self.files.iter().map(|file| (file.name.as_str(), format!("{} bytes", grouped(file.bytes as u64)))),
        );
        f.write_str(&table(&rows))
    }
}
