//! A packed model: a file's bytes are validated once, and reading tensors from them cannot fail afterwards.

mod padding;

use core::fmt;

use bytemuck::AnyBitPattern;

use crate::format::{
    ALIGNMENT, Activation, Arithmetic, Dims, Element, Fit, GELU_ENTRIES, HEADER_LEN, Layout, MAGIC, MAX_FIXED,
    MAX_MULTIPLIER, Map, OLDEST_VERSION, Preprocessing, Resize, Shape, Slot, VERSION, WeightStorage, field,
};

/// A validated view of a packed model's bytes.
#[derive(Clone, Debug)]
pub struct Model<'m> {
    bytes: &'m [u8],
    dims: Dims,
    map: Map,
    activation: Activation,
    preprocessing: Preprocessing,
    labels: &'m str,
    provenance: &'m str,
}

/// The reason why some bytes are not a packed model that can be used.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum ModelError {
    /// The bytes are fewer than a header has.
    TooShort {
        /// Bytes found.
        found: usize,
    },
    /// The bytes do not begin with the format's magic number.
    NotAModel,
    /// The file has an older or newer format version.
    Version {
        /// Version found.
        found: u32,
    },
    /// The file was cut off, or something was appended to it.
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes that the header promises.
        expected: u64,
    },
    /// The file is damaged: its checksum does not match its bytes.
    Checksum {
        /// Checksum of the bytes.
        found: u32,
        /// Checksum that the header states.
        expected: u32,
    },
    /// The bytes do not start at a multiple of [`ALIGNMENT`].
    Misaligned,
    /// The model's weights are in panels of a shape that the kernels do not read.
    Layout {
        /// Name of the kernels.
        kernels: &'static str,
    },
    /// A field of the header has a value outside its range.
    Field {
        /// Name of the field.
        name: &'static str,
    },
    /// A tensor has a value outside its range, or padding that is not zero.
    Tensor {
        /// The tensor.
        slot: Slot,
        /// The tensor's residual block, counted from 0. It is 0 for a tensor outside the blocks.
        block: usize,
    },
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooShort { found } => {
                write!(f, "{found} bytes are too short for a model: expected {HEADER_LEN} or more")
            }
            Self::NotAModel => write!(f, "not a packed ResMLP model (it does not start with 'RESMLP')"),
            Self::Version { found } => {
                write!(f, "format version {found}, expected {OLDEST_VERSION} to {VERSION}: convert the network again")
            }
            Self::Length { found, expected } => {
                write!(f, "{found} bytes long, expected {expected}: cut off or damaged")
            }
            Self::Checksum { found, expected } => write!(f, "checksum {found:08x}, expected {expected:08x}: damaged"),
            Self::Misaligned => write!(f, "the model's bytes must start at a multiple of {ALIGNMENT}"),
            Self::Layout { kernels } => write!(f, "the weights are not laid out for the {kernels} kernels"),
            Self::Field { name } => write!(f, "header field '{name}' is out of range"),
            Self::Tensor { slot, block } => {
                write!(f, "tensor {slot:?} of block {block} has a value out of range or padding that is not zero")
            }
        }
    }
}

impl core::error::Error for ModelError {}

impl<'m> Model<'m> {
    /// Validates `bytes`, which must start at a multiple of [`ALIGNMENT`], and returns a view of them. Nothing is
    /// copied.
    ///
    /// # Errors
    /// Returns an error if any header field, tensor or padding byte violates the format: see [`ModelError`].
    pub fn parse(bytes: &'m [u8]) -> Result<Self, ModelError> {
        let (header, rest) =
            bytes.split_first_chunk::<HEADER_LEN>().ok_or(ModelError::TooShort { found: bytes.len() })?;
        let header = Header(header);
        if header.bytes::<8>(field::MAGIC) != MAGIC {
            return Err(ModelError::NotAModel);
        }
        let version = header.u32(field::VERSION);
        if !(OLDEST_VERSION..=VERSION).contains(&version) {
            return Err(ModelError::Version { found: version });
        }
        let file_len = u64::from_le_bytes(header.bytes(field::FILE_LEN));
        if bytes.len() as u64 != file_len {
            return Err(ModelError::Length { found: bytes.len(), expected: file_len });
        }
        let (found, expected) = (checksum(bytes), header.u32(field::CHECKSUM));
        if found != expected {
            return Err(ModelError::Checksum { found, expected });
        }
        if bytes.as_ptr().align_offset(ALIGNMENT) != 0 {
            return Err(ModelError::Misaligned);
        }
        let dims = header.dims()?;
        let activation = header.activation()?;
        let preprocessing = header.preprocessing()?;
        let [labels_len, provenance_len] = [field::LABELS_LEN, field::PROVENANCE_LEN].map(|at| header.u32(at) as usize);
        let map = Map::new(&dims, labels_len, provenance_len).ok_or(ModelError::Field { name: "dimensions" })?;
        if map.file_len() != bytes.len() {
            return Err(ModelError::Length { found: bytes.len(), expected: map.file_len() as u64 });
        }
        let (labels, rest) = text(rest, labels_len, "labels")?;
        let (provenance, rest) = text(rest, provenance_len, "provenance")?;
        let texts_end = bytes.len() - rest.len();
        let gap = rest.get(..texts_end.next_multiple_of(ALIGNMENT) - texts_end).unwrap_or(&[]);
        if gap.iter().any(|&b| b != 0) {
            return Err(ModelError::Field { name: "padding" });
        }
        if !labels.is_empty() && lines(labels).count() != dims.outputs {
            return Err(ModelError::Field { name: "labels" });
        }
        let model = Self { bytes, dims, map, activation, preprocessing, labels, provenance };
        model.check_tensors()?;
        Ok(model)
    }

    /// Returns the model's shapes.
    pub fn dims(&self) -> &Dims {
        &self.dims
    }

    /// Returns the activation of the channel MLPs.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Returns how a picture has to be prepared for this model.
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Returns the name of each class, in order. The iterator is empty if the model carries no labels.
    pub fn labels(&self) -> impl Iterator<Item = &'m str> + use<'m> {
        lines(self.labels)
    }

    #[cfg(feature = "std")]
    pub(crate) fn label_text(&self) -> &'m str {
        self.labels
    }

    /// Returns the JSON text in which the converter recorded where the model comes from.
    pub fn provenance(&self) -> &'m str {
        self.provenance
    }

    /// Returns the bytes of the whole file.
    pub fn bytes(&self) -> &'m [u8] {
        self.bytes
    }

    /// Returns the elements of the tensor in `slot` of block `block`.
    pub(crate) fn tensor<T: AnyBitPattern>(&self, slot: Slot, block: usize) -> &'m [T] {
        // Neither fallback is ever taken: `parse` has checked that the map fits the file, and every tensor is aligned.
        let bytes = self.bytes.get(self.map.range(slot, block)).unwrap_or(&[]);
        bytemuck::try_cast_slice(bytes).unwrap_or(&[])
    }

    fn check_tensors(&self) -> Result<(), ModelError> {
        for &slot in Slot::ALL {
            let blocks = if slot.is_per_block() { self.dims.depth } else { 1 };
            for block in 0..blocks {
                if !self.tensor_is_valid(slot, block) || !self.padding_is_zero(slot, block) {
                    return Err(ModelError::Tensor { slot, block });
                }
            }
        }
        Ok(())
    }

    fn tensor_is_valid(&self, slot: Slot, block: usize) -> bool {
        let int8 = self.dims.arithmetic() == Arithmetic::Int8;
        match slot.shape() {
            Shape::Left(..) | Shape::Right(..) => self.dims.weights.are_valid(self.tensor(slot, block)),
            Shape::Vector(Element::F32, _) => self.multipliers_are_valid(slot, block),
            Shape::Vector(Element::Fixed, _) if int8 => {
                self.tensor::<i32>(slot, block).iter().all(|m| (0..MAX_FIXED).contains(m))
            }
            Shape::Vector(Element::Fixed, _) => self.multipliers_are_valid(slot, block),
            Shape::Vector(Element::Bias, _) => int8 || self.multipliers_are_valid(slot, block),
            Shape::Vector(Element::I16, _) => self.tensor::<i16>(slot, block).iter().all(|&m| m >= 0),
            Shape::Vector(Element::I32 | Element::I8, _) => true,
            Shape::Gelu if int8 => self.gelu(block).is_some_and(|(_, shift)| shift <= 7),
            Shape::Gelu => true,
        }
    }

    fn multipliers_are_valid(&self, slot: Slot, block: usize) -> bool {
        self.tensor::<f32>(slot, block).iter().fold(true, |ok, &m| ok & (m.abs() <= MAX_MULTIPLIER))
    }

    /// Returns the GELU table of block `block` and the right shift that turns `|x|` into an index of the table.
    pub(crate) fn gelu(&self, block: usize) -> Option<(&'m [u8; GELU_ENTRIES], u32)> {
        let (table, shift) = self.tensor::<u8>(Slot::GeluTable, block).split_first_chunk()?;
        Some((table, u32::from(*shift.first()?)))
    }
}

/// Returns the CRC-32 (IEEE) of a model's bytes, leaving out the header field that stores it.
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(bytes.get(..field::CHECKSUM).unwrap_or(&[]));
    crc.update(bytes.get(field::CHECKSUM + 4..).unwrap_or(&[]));
    crc.finalize()
}

fn text<'a>(bytes: &'a [u8], len: usize, name: &'static str) -> Result<(&'a str, &'a [u8]), ModelError> {
    let (text, rest) = bytes.split_at_checked(len).ok_or(ModelError::Field { name })?;
    Ok((core::str::from_utf8(text).map_err(|_| ModelError::Field { name })?, rest))
}

/// Returns the lines of a text. A `\n` ends each line, and is optional after the last one. `str::lines` contains a
/// panic that the compiler cannot rule out; this function contains none.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.as_bytes();
    core::iter::from_fn(move || {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let (line, behind) = rest.split_at_checked(end).filter(|_| !rest.is_empty())?;
        rest = behind.get(1..).unwrap_or_default();
        core::str::from_utf8(line).ok()
    })
}

struct Header<'m>(&'m [u8; HEADER_LEN]);

impl Header<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0.get(at..).and_then(|b| b.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.bytes(at))
    }

    fn f32(&self, at: usize) -> f32 {
        f32::from_le_bytes(self.bytes(at))
    }

    fn flag(&self, at: usize, name: &'static str) -> Result<bool, ModelError> {
        match self.u32(at) {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ModelError::Field { name }),
        }
    }

    fn dims(&self) -> Result<Dims, ModelError> {
        let size = |at| self.u32(at) as usize;
        let dims = Dims {
            weights: WeightStorage::from_code(self.u32(field::PRECISION))
                .ok_or(ModelError::Field { name: "precision" })?,
            image: [size(field::IMAGE_HEIGHT), size(field::IMAGE_WIDTH)],
            patch: size(field::PATCH),
            dim: size(field::DIM),
            hidden: size(field::HIDDEN),
            depth: size(field::DEPTH),
            outputs: size(field::OUTPUTS),
            has_head: self.flag(field::HAS_HEAD, "has_head")?,
            has_gains: self.flag(field::HAS_GAINS, "has_gains")?,
            layout: Layout {
                rows: self.u32(field::ROWS),
                columns: self.u32(field::COLUMNS),
                group: self.u32(field::GROUP),
                offset: self.u32(field::OFFSET),
            },
        };
        // Version 2 has neither field.
        let zeros = self.u32(field::VERSION) != OLDEST_VERSION || self.bytes(field::ACTIVATION) == [0; 8];
        match (dims.is_valid(), zeros) {
            (false, _) => Err(ModelError::Field { name: "dimensions" }),
            (_, false) => Err(ModelError::Field { name: "reserved" }),
            _ => Ok(dims),
        }
    }

    /// Returns the activation. In files of version 2 its bytes are reserved, and zero stands for the exact GELU.
    fn activation(&self) -> Result<Activation, ModelError> {
        Activation::from_code(self.u32(field::ACTIVATION)).ok_or(ModelError::Field { name: "activation" })
    }

    fn preprocessing(&self) -> Result<Preprocessing, ModelError> {
        let triple = |at: usize| [0, 4, 8].map(|i| self.f32(at + i));
        let preprocessing = Preprocessing {
            resize: match self.u32(field::RESIZE) {
                0 => Resize::Bilinear,
                1 => Resize::Bicubic,
                _ => return Err(ModelError::Field { name: "resize" }),
            },
            fit: Fit::from_code(self.u32(field::FIT)).ok_or(ModelError::Field { name: "fit" })?,
            crop: self.f32(field::CROP),
            mean: triple(field::MEAN),
            std: triple(field::STD),
        };
        let Preprocessing { crop, mean, std, .. } = preprocessing;
        let sane = |v: &f32| v.is_finite() && v.abs() <= 256.0;
        if !(crop > 0.0 && crop <= 1.0) {
            return Err(ModelError::Field { name: "crop" });
        }
        if !mean.iter().all(sane) || !std.iter().all(|v| sane(v) && *v > 0.0) {
            return Err(ModelError::Field { name: "mean and std" });
        }
        Ok(preprocessing)
    }
}
