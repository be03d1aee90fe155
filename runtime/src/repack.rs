//! Rearranges a model's weights once, when it is loaded, for kernels that read panels of another shape.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result as IoResult};
use std::vec;
use std::vec::Vec;

use crate::format::{ALIGNMENT, Arithmetic, Dims, Layout, Map, Shape, Slot, field};
use crate::kernels::Kernels;
use crate::model::{Model, ModelError, checksum};

/// Longest file that is read, in bytes: about thirty times the largest published network.
const LONGEST: u64 = 4 << 30;

/// Bytes that start at a multiple of [`ALIGNMENT`], as [`Model::parse`] requires.
pub struct AlignedBytes {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    /// Allocates `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        let mut memory = vec![0; len + ALIGNMENT - 1];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        memory.truncate(start + len);
        Self { memory, start }
    }

    /// Reads the contents of an open file into memory without an intermediate copy.
    ///
    /// # Errors
    /// Returns an error if the file is not a regular file or cannot be read, if it is longer than 4 GiB or shorter than
    /// its metadata says, or if memory does not suffice.
    pub fn read(mut file: File) -> IoResult<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        let len = metadata.len();
        if len > LONGEST {
            return Err(Error::new(ErrorKind::FileTooLarge, "longer than 4 GiB: no model"));
        }
        let len = usize::try_from(len).map_err(Error::other)?;
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve_exact(len.checked_add(ALIGNMENT - 1).ok_or(ErrorKind::OutOfMemory)?)?;
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        memory.resize(start + len, 0);
        let mut bytes = Self { memory, start };
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Changes the length: removes bytes at the end and releases their memory, or appends zeros.
    fn resize(&mut self, len: usize) {
        let (kept, room) = (self.len().min(len), len + ALIGNMENT - 1);
        self.memory.truncate(self.start + kept);
        self.memory.shrink_to(self.start + room);
        self.memory.reserve_exact(room.saturating_sub(self.memory.len()));
        self.memory.resize(room, 0);
        // Shrinking and reserving may have moved the allocation, so the aligned start has to be found again.
        let start = self.memory.as_ptr().align_offset(ALIGNMENT);
        self.memory.copy_within(self.start..self.start + kept, start);
        self.memory.truncate(start + kept);
        self.memory.resize(start + len, 0);
        self.start = start;
    }
}

impl From<&[u8]> for AlignedBytes {
    fn from(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

impl core::ops::Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.start..).unwrap_or(&[])
    }
}

impl core::ops::DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..).unwrap_or(&mut [])
    }
}

/// Returns a copy of the model with its weights in panels of `layout`. Its results are the same, bit for bit.
///
/// # Errors
/// Returns [`ModelError::Field`] if the model's weights cannot be stored in such panels. A floating-point model, for
/// example, needs a group of 1 and an offset of 0.
pub fn repack(model: &Model, layout: Layout) -> Result<AlignedBytes, ModelError> {
    repack_in_place(AlignedBytes::from(model.bytes()), layout)
}

/// Rearranges a model as [`repack`] does, but in the memory of `bytes`. The model is never held twice: the extra memory
/// is about that of the largest tensor plus what additional padding takes.
///
/// # Errors
/// Returns the errors of [`Model::parse`] and of [`repack`].
pub fn repack_in_place(mut bytes: AlignedBytes, layout: Layout) -> Result<AlignedBytes, ModelError> {
    let model = Model::parse(&bytes)?;
    let old = *model.dims();
    let new = Dims { layout, ..old };
    let texts = [model.label_text(), model.provenance()].map(str::len);
    let map = |dims: &Dims| dims.is_valid().then(|| Map::new(dims, texts[0], texts[1])).flatten();
    let no_map = ModelError::Field { name: "dimensions" };
    let (from, to) = map(&old).zip(map(&new)).ok_or(no_map)?;
    let mut tensors: Vec<(Slot, usize)> =
        Slot::ALL.iter().flat_map(|&slot| (0..blocks(slot, &old)).map(move |block| (slot, block))).collect();
    tensors.sort_by_key(|&(slot, block)| to.range(slot, block).start);

    // The old tensors move towards the end, far enough that writing a new tensor never overwrites the old tensor that
    // it is made from.
    let reach = |&(slot, block): &_| to.range(slot, block).end.saturating_sub(from.range(slot, block).start);
    let distance = tensors.iter().map(reach).max().unwrap_or(0);
    let mut written = from.range(Slot::StemWeights, 0).start;
    let old_len = bytes.len();
    bytes.resize(old_len + distance);
    bytes.copy_within(written..old_len, written + distance);
    for (slot, block) in tensors {
        let [source, target] = [&from, &to].map(|map| map.range(slot, block));
        let (before, behind) = bytes.split_at_mut(source.start + distance);
        before.get_mut(written..target.end).unwrap_or(&mut []).fill(0);
        written = target.end;
        let source = behind.get(..source.len()).unwrap_or(&[]);
        rearrange(slot, [&old, &new], source, before.get_mut(target).unwrap_or(&mut []));
    }
    bytes.resize(to.file_len());
    bytes.get_mut(written..).unwrap_or(&mut []).fill(0);
    correct_biases(&new, &to, layout.offset.wrapping_sub(old.layout.offset) as i32, &mut bytes);
    write_layout(layout, &mut bytes);
    Ok(bytes)
}

/// Returns the model in the layout that `kernels` read, and whether it had to be rearranged for that. Floating-point
/// models are never rearranged, because all kernels read the same layout of theirs.
///
/// # Errors
/// Returns the errors of [`Model::parse`].
pub fn repack_for(bytes: AlignedBytes, kernels: &Kernels) -> Result<(AlignedBytes, bool), ModelError> {
    let dims = *Model::parse(&bytes)?.dims();
    match kernels.layout().filter(|&layout| dims.arithmetic() == Arithmetic::Int8 && layout != dims.layout) {
        Some(layout) => Ok((repack_in_place(bytes, layout)?, true)),
        None => Ok((bytes, false)),
    }
}

/// Subtracts `moved · Σ weights` of each row from its bias, because the offset of the activations has grown by `moved`.
fn correct_biases(dims: &Dims, map: &Map, moved: i32, bytes: &mut [u8]) {
    for (weights, bias) in SUMS_AND_BIASES.into_iter().filter(|_| moved != 0) {
        for block in 0..blocks(weights, dims) {
            let panels = bytes.get(map.range(weights, block)).unwrap_or(&[]);
            let sums: Vec<i32> = row_sums(weights, dims, panels).collect();
            let bias = bytes.get_mut(map.range(bias, block)).unwrap_or(&mut []).as_chunks_mut().0;
            for (bias, sum) in bias.iter_mut().zip(sums) {
                *bias = i32::from_le_bytes(*bias).wrapping_sub(moved.wrapping_mul(sum)).to_le_bytes();
            }
        }
    }
}

/// Writes the header's fields for the layout, the file's length and the checksum.
fn write_layout(layout: Layout, bytes: &mut [u8]) {
    let len = bytes.len() as u64;
    copy(&len.to_le_bytes(), bytes, field::FILE_LEN);
    let Layout { rows, columns, group, offset } = layout;
    for (at, value) in [(field::ROWS, rows), (field::COLUMNS, columns), (field::GROUP, group), (field::OFFSET, offset)]
    {
        copy(&value.to_le_bytes(), bytes, at);
    }
    let crc = checksum(bytes);
    copy(&crc.to_le_bytes(), bytes, field::CHECKSUM);
}

/// The weights of each layer, with the tensor that corrects their sums for [`Layout::offset`].
const SUMS_AND_BIASES: [(Slot, Slot); 5] = [
    (Slot::StemWeights, Slot::StemBias),
    (Slot::MixWeights, Slot::MixRowCorrection),
    (Slot::ExpandWeights, Slot::ExpandBias),
    (Slot::ContractWeights, Slot::ContractBias),
    (Slot::HeadWeights, Slot::HeadCorrection),
];

fn blocks(slot: Slot, dims: &Dims) -> usize {
    if slot.is_per_block() { dims.depth } else { 1 }
}

fn copy(from: &[u8], to: &mut [u8], at: usize) {
    to.iter_mut().skip(at).zip(from).for_each(|(to, from)| *to = *from);
}

/// Copies the elements of a tensor, without its padding, from the `old` layout to the `new` one.
fn rearrange(slot: Slot, [old, new]: [&Dims; 2], source: &[u8], target: &mut [u8]) {
    match slot.shape() {
        Shape::Left(rows, k) | Shape::Right(rows, k) => {
            for row in 0..old.exact(rows) {
                let [from, to] = [old, new].map(|dims| positions(slot, dims, row).take(old.exact(k)));
                for (from, to) in from.zip(to) {
                    old.weights.copy((source, from), (target, to));
                }
            }
        }
        Shape::Vector(element, extent) => {
            copy(source.get(..element.size() * old.exact(extent)).unwrap_or(&[]), target, 0);
        }
        Shape::Gelu => copy(source, target, 0),
    }
}

/// Returns the positions of the elements of row `row` of a matrix in its panels.
fn positions(slot: Slot, dims: &Dims, row: usize) -> impl Iterator<Item = usize> + use<> {
    let (panel, k) = match slot.shape() {
        Shape::Left(_, k) => (dims.layout.rows as usize, dims.padded(k)),
        Shape::Right(_, k) => (dims.layout.columns as usize, dims.padded(k)),
        Shape::Vector(..) | Shape::Gelu => (1, 0),
    };
    let group = dims.layout.group as usize;
    let first = dims.layout.index(panel, k, row, 0);
    (0..k / group).map(move |g| first + g * panel * group).flat_map(move |start| start..start + group)
}

/// Returns the sum of the 8-bit weights of each row.
fn row_sums<'a>(slot: Slot, dims: &'a Dims, panels: &'a [u8]) -> impl Iterator<Item = i32> + use<'a> {
    let rows = match slot.shape() {
        Shape::Left(rows, _) | Shape::Right(rows, _) => dims.exact(rows),
        Shape::Vector(..) | Shape::Gelu => 0,
    };
    let weight = |at| dims.weights.integer(panels, at);
    (0..rows).map(move |row| positions(slot, dims, row).map(weight).sum())
}
