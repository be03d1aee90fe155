//! Card images that a Raspberry Pi boots a model from: a partition table, and in one FAT32 partition the boot files,
//! the kernel, the model and `config.txt`.

mod boards;
mod disk;

use std::path::{Path, PathBuf};

pub use boards::{Board, CONFIG, KERNEL, MODEL};
pub use disk::CardFile;
use resmlp_picture::{Picture, Preprocess};
use resmlp_runtime::{AlignedBytes, Arithmetic, Model, ModelError, repack};

use crate::error::{Error, Result};
use crate::output::write_atomically;

/// Largest kernel and largest model, in bytes: more is no such file.
const MAX_KERNEL: u64 = 16 << 20;
const MAX_MODEL: u64 = 1 << 30;

/// Where the parts of a card come from.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The machine that the card is for.
    pub board: Board,
    /// A packed model.
    pub model: &'a Path,
    /// The bare-metal program, as a raw image.
    pub kernel: &'a Path,
    /// Folders with the board's boot files, the first that has a file winning.
    pub boot_files: &'a [PathBuf],
    /// Pictures that the board classifies by itself when it has started.
    pub pictures: &'a [PathBuf],
}

/// Everything that goes onto the card, in the order in which it is written.
///
/// # Errors
/// Name the file that is missing or is not what it should be.
pub fn files(parts: &Parts) -> Result<Vec<CardFile>> {
    let model = model_and_pictures(parts)?;
    if !parts.kernel.exists() {
        return Err(Error::file(parts.kernel, "no such file; build it with `cargo xtask pi`"));
    }
    let kernel = read(parts.kernel, MAX_KERNEL)?;
    if kernel.is_empty() || kernel.starts_with(b"\x7fELF") {
        let found = if kernel.is_empty() { "an empty file" } else { "an ELF file" };
        let message = format!("{found}, expected the raw image that `cargo xtask pi` builds");
        return Err(Error::file(parts.kernel, message));
    }
    let boot = parts.board.boot_files(parts.boot_files)?;
    let config = parts.board.config(&boot);
    let mut files = Vec::new();
    for path in boot {
        files.push(CardFile { name: boards::name_on_card(&path), bytes: read(&path, MAX_KERNEL)? });
    }
    for (name, bytes) in [(CONFIG, config.into_bytes()), (KERNEL, kernel), (MODEL, model)] {
        files.push(CardFile { name: name.to_owned(), bytes });
    }
    Ok(files)
}

/// Writes the card's image to `output`, whole or not at all; the same files give the same bytes. Returns its length.
pub fn write(files: &[CardFile], output: &Path) -> Result<u64> {
    let image = disk::image(files).map_err(|error| Error::io(output, error))?;
    write_atomically(output, &image)?;
    Ok(image.len() as u64)
}

/// The model, laid out for the board's kernels, and behind it the pictures as its engine takes them: what the kernel finds
/// as its initial file system. On the board nothing is rearranged any more.
fn model_and_pictures(parts: &Parts) -> Result<Vec<u8>> {
    let failed = |error: ModelError| Error::file(parts.model, error.to_string());
    let bytes = AlignedBytes::from(&*read(parts.model, MAX_MODEL)?);
    let model = Model::parse(&bytes).map_err(failed)?;
    let layout = parts.board.target().layout();
    // 16-bit models have one layout for all kernels.
    let is_other = model.dims().arithmetic() == Arithmetic::Int8 && model.dims().layout != layout;
    let rearranged = is_other.then(|| repack(&model, layout)).transpose().map_err(failed)?;
    let mut contents = rearranged.as_deref().unwrap_or(&bytes).to_vec();
    let preprocess = Preprocess::of(&model);
    for picture in parts.pictures {
        contents.extend(preprocess.apply(&Picture::open(picture)?)?);
    }
    Ok(contents)
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io(path, error))?;
    if !metadata.is_file() || metadata.len() > most {
        return Err(Error::file(path, format!("{} bytes, expected a file of at most {most}", metadata.len())));
    }
    std::fs::read(path).map_err(|error| Error::io(path, error))
}
