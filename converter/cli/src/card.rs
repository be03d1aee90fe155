//! Makes card images from which a Raspberry Pi boots into a model. The image has a partition table and one FAT32
//! partition, which holds the boot files, the kernel, the model and `config.txt`.

mod boards;
mod disk;

use std::path::{Path, PathBuf};

pub use boards::Board;
use boards::{CONFIG, KERNEL, MODEL};
pub use disk::CardFile;
use resmlp_picture::{Picture, Preprocess};
use resmlp_runtime::{AlignedBytes, Arithmetic, Model, ModelError, repack};

use crate::error::{Error, Result};
use crate::output::write_atomically;

/// Largest kernel or boot file in bytes. A longer file is taken for a mistake.
const MAX_KERNEL: u64 = 16 << 20;
/// Largest model in bytes. A longer file is taken for a mistake.
const MAX_MODEL: u64 = 1 << 30;

/// The files from which a card is made.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// Machine that boots from the card.
    pub board: Board,
    /// Packed model.
    pub model: &'a Path,
    /// Bare-metal program, as a raw image.
    pub kernel: &'a Path,
    /// Folders with the board's boot files. A file is taken from the first folder that has it.
    pub boot_files: &'a [PathBuf],
    /// Pictures that the board classifies by itself after its start.
    pub pictures: &'a [PathBuf],
}

/// Returns all files of the card in the order in which they are written.
///
/// # Errors
/// Returns an error that names the file which is missing or has other contents than expected.
pub fn files(parts: &Parts) -> Result<Vec<CardFile>> {
    let model = model_and_pictures(parts)?;
    if !parts.kernel.exists() {
        return Err(Error::file(parts.kernel, "no such file; build it with `cargo xtask pi`"));
    }
    let kernel = read(parts.kernel, MAX_KERNEL)?;
    if kernel.is_empty() || kernel.starts_with(b"\x7fELF") {
        let found = if kernel.is_empty() { "an empty file" } else { "an ELF file" };
        let message = format!("this is {found}, expected the raw image that `cargo xtask pi` builds");
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

/// Writes the card's image to `output`, completely or not at all, and returns its length. The same files give the same
/// bytes.
///
/// # Errors
/// Returns an error where a name does not fit FAT or the image cannot be written.
pub fn write(files: &[CardFile], output: &Path) -> Result<u64> {
    let image = disk::image(files).map_err(|error| Error::io(output, error))?;
    write_atomically(output, &image)?;
    Ok(image.len() as u64)
}

/// Returns the contents of the file that the kernel finds as its initial file system: the model, laid out for the
/// board's kernels so that nothing is rearranged on the board, and behind it the prepared pictures.
fn model_and_pictures(parts: &Parts) -> Result<Vec<u8>> {
    let failed = |error: ModelError| Error::file(parts.model, error.to_string());
    let bytes = AlignedBytes::from(&*read(parts.model, MAX_MODEL)?);
    let model = Model::parse(&bytes).map_err(failed)?;
    let layout = parts.board.target().layout();
    // All kernels read the same layout of a 16-bit model.
    let is_other = model.dims().arithmetic() == Arithmetic::Int8 && model.dims().layout != layout;
    let rearranged = is_other.then(|| repack(&model, layout)).transpose().map_err(failed)?;
    let mut contents = rearranged.as_deref().unwrap_or(&bytes).to_vec();
    let preprocess = Preprocess::of(&model);
    for picture in parts.pictures {
        contents.extend(preprocess.apply(&Picture::open(picture)?)?);
    }
    Ok(contents)
}

/// Reads a regular file of at most `most` bytes.
fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let bytes = resmlp_files::read(path, most + 1).map_err(|error| Error::io(path, error))?;
    if bytes.len() as u64 > most {
        return Err(Error::file(path, format!("found more than {most} bytes, expected no more")));
    }
    Ok(bytes)
}
