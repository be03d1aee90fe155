//! `resmlp image`: makes a card image from which a Raspberry Pi boots into a model.

use std::fmt;
use std::path::{Path, PathBuf};

use resmlp_cli::card::{self, Board, Parts};
use resmlp_cli::error::Result;
use resmlp_cli::output;
use serde::Serialize;

use super::report::{grouped, shown, table};

#[derive(clap::Args)]
pub struct Args {
    /// Machine that boots from the card
    #[arg(long)]
    board: Board,

    /// Packed model that the machine runs
    #[arg(long, value_name = "FILE")]
    model: PathBuf,

    /// Folder with the machine's boot files and device trees, such as /boot/firmware of Raspberry Pi OS; may be given
    /// several times
    #[arg(long, value_name = "DIR", required = true)]
    boot_files: Vec<PathBuf>,

    /// Bare-metal program that runs the model, as `cargo xtask pi` builds it
    #[arg(long, value_name = "FILE", default_value = "target/device/kernel8.img")]
    kernel: PathBuf,

    /// Picture (JPEG, PNG or BMP) that the machine classifies after its start; may be given several times
    #[arg(long, value_name = "IMAGE")]
    picture: Vec<PathBuf>,

    /// Card image to write, which dd or Raspberry Pi Imager copies onto a card
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

/// What `image` reports. With `--json` these are the fields of the object.
#[derive(Serialize)]
pub struct Outcome {
    /// Path of the card image.
    #[serde(serialize_with = "shown")]
    output: PathBuf,
    /// Machine that boots from the card.
    board: Board,
    /// Length of the card image.
    bytes: u64,
    /// The files on the card.
    files: Vec<File>,
}

/// A file on the card.
#[derive(Serialize)]
struct File {
    /// Name in the root folder.
    name: String,
    /// Length of the file.
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
