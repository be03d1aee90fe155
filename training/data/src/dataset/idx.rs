//! IDX files, the format of MNIST and Fashion-MNIST: grey pictures of one size in one file, their labels in another.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use resmlp_picture::Picture;

use super::entry::{Entry, OVERHEAD};
use super::{Found, Options, Parts, require_memory};
use crate::error::{DataError, Result};

/// First four bytes of a file of pictures: bytes in three dimensions.
const PICTURES: u32 = 0x0803;

/// First four bytes of a file of labels: bytes in one dimension.
const LABELS: u32 = 0x0801;

/// Most rows and columns of a picture.
const MOST: u32 = 65_500;

/// The files of pictures of a data set's parts.
pub struct Files {
    training: PathBuf,
    held_out: Option<PathBuf>,
}

/// Returns the IDX files of a folder, or `None` if it has no such files of pictures.
///
/// The training part is the file that begins with `train`, and the held-out part the one that begins with `t10k` or
/// `test`. If a folder has only one file of pictures, that is the training part.
pub fn files_in(folder: &Path) -> Result<Option<Files>> {
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(|error| DataError::io(folder, error))? {
        let path = entry.map_err(|error| DataError::io(folder, error))?.path();
        if name_of(&path).contains("idx3") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let beginning = |starts: &[&str]| paths.iter().find(|path| starts.iter().any(|s| name_of(path).starts_with(s)));
    let training = beginning(&["train"]).or(if paths.len() == 1 { paths.first() } else { None });
    match (training, paths.first()) {
        (Some(training), _) => {
            let held_out = beginning(&["t10k", "test"]).filter(|path| *path != training);
            Ok(Some(Files { training: training.clone(), held_out: held_out.cloned() }))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err(DataError::format(
            folder,
            "several IDX files of pictures and none that begins with \"train\"; name the file to use",
        )),
    }
}

impl Files {
    /// Creates the list of a single file of pictures.
    pub fn of_pictures(path: &Path) -> Result<Self> {
        Ok(Self { training: path.to_owned(), held_out: None })
    }

    /// Reads the pictures and labels of all parts. The classes are the numbers from 0 to the largest label.
    pub fn read(&self, options: &Options) -> Result<Parts> {
        let training = read_part(&self.training, options)?;
        let held_out = self.held_out.as_ref().map(|path| read_part(path, options)).transpose()?;
        Ok(Parts { training, held_out })
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns the file of labels that belongs to a file of pictures, with or without compression.
fn labels_beside(path: &Path) -> Result<PathBuf> {
    let name = name_of(path).replace("images", "labels").replace("idx3", "idx1");
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    let candidates = [path.with_file_name(plain), path.with_file_name(format!("{plain}.gz"))];
    candidates.iter().find(|candidate| candidate.is_file()).cloned().ok_or_else(|| {
        DataError::format(path, format!("its labels are missing, expected the file {plain} or {plain}.gz beside it"))
    })
}

fn read_part(path: &Path, options: &Options) -> Result<Found> {
    let mut pictures = Idx::open(path, PICTURES)?;
    let [count, height, width] = [pictures.dimension()?, pictures.dimension()?, pictures.dimension()?];
    if !(1..=MOST).contains(&height) || !(1..=MOST).contains(&width) {
        let message = format!("found pictures of {height} × {width} pixels, expected 1 to {MOST} pixels a side");
        return Err(DataError::format(path, message));
    }
    let pixels = u64::from(height) * u64::from(width);
    require_memory(path, u64::from(count).saturating_mul(3 * pixels + OVERHEAD), options)?;
    let label_path = labels_beside(path)?;
    let mut labels = Idx::open(&label_path, LABELS)?;
    let labelled = labels.dimension()?;
    if labelled != count {
        let message = format!("found {labelled} labels, expected {count}, one for each picture of {}", path.display());
        return Err(DataError::format(label_path, message));
    }
    let labels = labels.bytes(count.into())?;
    let mut found = Found::default();
    for (index, label) in labels.into_iter().enumerate() {
        let grey = pictures.bytes(pixels)?;
        let rgb = grey.into_iter().flat_map(|value| [value; 3]).collect();
        let picture = Picture::from_rgb(height, width, rgb).ok_or_else(|| DataError::format(path, "no pixels"))?;
        let name = format!("{}#{index}", path.display());
        found.pictures.push((label.into(), Entry::in_memory(name, picture)));
    }
    let classes = found.pictures.iter().map(|(label, _)| label + 1).max().unwrap_or(0);
    found.classes = (0..classes).map(|class| class.to_string()).collect();
    pictures.require_end()?;
    Ok(found)
}

/// An open IDX file.
struct Idx {
    path: PathBuf,
    reader: Box<dyn Read>,
}

impl Idx {
    /// Opens a file, which may be compressed by gzip, and checks its first four bytes.
    fn open(path: &Path, expected: u32) -> Result<Self> {
        let file: File = resmlp_files::open(path).map_err(|error| DataError::io(path, error))?;
        let plain = BufReader::new(file);
        let reader: Box<dyn Read> = match path.extension() {
            Some(extension) if extension == "gz" => Box::new(BufReader::new(GzDecoder::new(plain))),
            _ => Box::new(plain),
        };
        let mut idx = Self { path: path.to_owned(), reader };
        let found = idx.dimension()?;
        if found != expected {
            let message = format!("begins with the bytes {found:08x}, expected {expected:08x}; not such an IDX file");
            return Err(DataError::format(path, message));
        }
        Ok(idx)
    }

    /// Reads the next number of the header.
    fn dimension(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes).map_err(|error| self.damaged(&error))?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// Reads the next `count` bytes. Memory grows with what the file has, not with what its header says.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let outcome = (&mut self.reader).take(count).read_to_end(&mut bytes);
        outcome.map_err(|error| self.damaged(&error))?;
        if (bytes.len() as u64) < count {
            return Err(self.damaged(&"the file is shorter than its header says"));
        }
        Ok(bytes)
    }

    /// Refuses a file that goes on.
    fn require_end(&mut self) -> Result<()> {
        match self.bytes(1) {
            Ok(_) => Err(self.damaged(&"the file is longer than its header says")),
            Err(_) => Ok(()),
        }
    }

    fn damaged(&self, reason: &dyn std::fmt::Display) -> DataError {
        DataError::format(&self.path, format!("not a whole IDX file: {reason}"))
    }
}
