//! Defines where everything lies in a packed file. The reader and the writer share these definitions, which `FORMAT.md`
//! describes in words.
//!
//! A file consists of a header, the labels, the provenance, and the tensors, whose positions follow from the header's
//! dimensions and the lengths of the two texts. The file stores no offsets, so tensors cannot overlap, leave holes or
//! lie outside the file.

pub use crate::activation::Activation;
pub use crate::preprocessing::{Fit, Preprocessing, Resize};
pub use crate::storage::{Arithmetic, WeightStorage};

/// The first eight bytes of every packed model.
pub const MAGIC: [u8; 8] = *b"RESMLP\r\n";
/// The latest version of format and numerics. A model that makes no use of it is written as [`OLDEST_VERSION`].
pub const VERSION: u32 = 3;
/// The oldest version that this code reads. Its models compute the exact GELU on cropped pictures.
pub const OLDEST_VERSION: u32 = 2;
/// Every tensor starts at a multiple of this number of bytes.
pub const ALIGNMENT: usize = 64;
/// Length of the header in bytes.
pub const HEADER_LEN: usize = 128;
/// Number of entries of a GELU table.
pub const GELU_ENTRIES: usize = 256;
/// Largest magnitude of a floating-point multiplier in a file. No trained network needs more, and the limit keeps what
/// one layer adds to the residual stream finite.
pub const MAX_MULTIPLIER: f32 = (1u32 << 30) as f32;
/// Upper bound (exclusive) of fixed-point multipliers, which are fractions of 2^31. They are thus less than 1/2, and
/// twice a multiplier still fits into an `i32`.
pub const MAX_FIXED: i32 = 1 << 30;
/// Largest number of classes, channels, hidden units, blocks, tokens, pixels in a row or column, and numbers in a
/// patch.
pub const MAX_LENGTH: usize = 1 << 15;

/// Byte offsets of the header's fields. All numbers are little-endian.
pub mod field {
    #![allow(missing_docs)]
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    /// CRC-32 (IEEE) of all bytes of the file except these four.
    pub const CHECKSUM: usize = 12;
    pub const FILE_LEN: usize = 16;
    pub const PRECISION: usize = 24;
    pub const IMAGE_HEIGHT: usize = 28;
    pub const IMAGE_WIDTH: usize = 32;
    pub const PATCH: usize = 36;
    pub const DIM: usize = 40;
    pub const HIDDEN: usize = 44;
    pub const DEPTH: usize = 48;
    pub const OUTPUTS: usize = 52;
    pub const HAS_HEAD: usize = 56;
    pub const ROWS: usize = 60;
    pub const COLUMNS: usize = 64;
    pub const GROUP: usize = 68;
    pub const OFFSET: usize = 72;
    pub const RESIZE: usize = 76;
    pub const CROP: usize = 80;
    pub const MEAN: usize = 84;
    pub const STD: usize = 96;
    pub const LABELS_LEN: usize = 108;
    pub const PROVENANCE_LEN: usize = 112;
    pub const HAS_GAINS: usize = 116;
    /// The activation of the channel MLPs, from version 3 on. The bytes are zero in version 2.
    pub const ACTIVATION: usize = 120;
    /// How pictures are fitted into the network's input, from version 3 on. The bytes are zero in version 2.
    pub const FIT: usize = 124;
}

/// Returns the version that a model with this activation and fit is written as: the oldest one that can express them,
/// so that older readers read every model that they can compute.
pub fn version_for(activation: Activation, fit: Fit) -> u32 {
    match (activation, fit) {
        (Activation::Gelu, Fit::Crop) => OLDEST_VERSION,
        _ => VERSION,
    }
}

/// How matrices are cut into panels, so that the kernels of one instruction set read them in sequence.
///
/// A matrix with `k` columns is cut into panels of `R` rows; element `(r, k)` lies in its panel at
/// `(k / group) * R * group + (r % R) * group + k % group`. `R` is `rows` for the left operand of a product
/// and `columns` for the right one (which is stored transposed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Rows of a left panel.
    pub rows: u32,
    /// Columns of a right panel.
    pub columns: u32,
    /// Number of consecutive `k` that lie next to each other.
    pub group: u32,
    /// Added to every 8-bit activation when it is stored: 0, or 128 for instructions with one unsigned (`u8`) operand.
    pub offset: u32,
}

impl Layout {
    /// For instructions that add up four products of `i8`. This is a sensible default for every CPU.
    pub const DEFAULT: Self = Self { rows: 8, columns: 12, group: 4, offset: 0 };
    /// For 64-bit ARM with 8-bit matrix multiplication (FEAT_I8MM).
    pub const I8MM: Self = Self { rows: 8, columns: 12, group: 8, offset: 0 };
    /// For x86-64 with AVX-VNNI, whose dot products have one unsigned operand.
    pub const AVX_VNNI: Self = Self { rows: 8, columns: 12, group: 4, offset: 128 };
    /// For x86-64 with AVX-512 VNNI, whose dot products have one unsigned operand.
    pub const VNNI: Self = Self { rows: 8, columns: 48, group: 4, offset: 128 };
    /// For x86-64 with AMX. Left panels have one row, so that a left matrix is stored row by row.
    pub const AMX: Self = Self { rows: 1, columns: 32, group: 4, offset: 128 };
    /// For 64-bit ARM without dot product instructions.
    pub const NEON: Self = Self { rows: 4, columns: 4, group: 16, offset: 0 };
    /// For Cortex-M with the DSP extension.
    pub const DSP: Self = Self { rows: 3, columns: 2, group: 4, offset: 0 };
    /// For models with 16-bit floating-point weights, on every CPU.
    pub const F16: Self = Self { rows: 8, columns: 8, group: 1, offset: 0 };

    /// Returns whether panels of this shape can be built and read.
    pub fn is_valid(&self) -> bool {
        let bounded = |v: u32| (1..=64).contains(&v);
        bounded(self.rows) && bounded(self.columns) && bounded(self.group) && matches!(self.offset, 0 | 128)
    }

    /// Returns the position of element `(r, k)` in panels of `panel` rows over `k_len` padded columns.
    pub fn index(&self, panel: usize, k_len: usize, r: usize, k: usize) -> usize {
        // Neither is ever zero. `max` tells the compiler so, and it leaves out the panic for a division by zero.
        let [panel, group] = [panel, self.group as usize].map(|v| v.max(1));
        (r / panel) * panel * k_len + (k / group) * panel * group + (r % panel) * group + k % group
    }
}

/// Everything about a model that determines where its tensors lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// How the weights are stored.
    pub weights: WeightStorage,
    /// Height and width of the picture, pixels; multiples of `patch`.
    pub image: [usize; 2],
    /// Height and width of a patch, pixels.
    pub patch: usize,
    /// Channels.
    pub dim: usize,
    /// Hidden width of the channel MLP.
    pub hidden: usize,
    /// Residual blocks.
    pub depth: usize,
    /// Classes, or `dim` for an embedding model.
    pub outputs: usize,
    /// Whether the model ends in a classifier.
    pub has_head: bool,
    /// Whether the blocks rescale channels of the residual stream.
    pub has_gains: bool,
    /// Shape of the panels.
    pub layout: Layout,
}

impl Dims {
    /// Returns the arithmetic that computes products with the weights.
    pub fn arithmetic(&self) -> Arithmetic {
        self.weights.arithmetic()
    }

    /// Returns the number of patches.
    pub fn tokens(&self) -> usize {
        let patch = self.patch.max(1);
        (self.image[0] / patch) * (self.image[1] / patch)
    }

    /// Returns the number of values in a patch, which is flattened as (row, column, colour) with three colours per
    /// pixel.
    pub fn patch_len(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Returns the number of multiply-accumulate operations of one forward pass.
    pub fn macs(&self) -> u64 {
        let [n, d, h] = [self.tokens(), self.dim, self.hidden].map(|v| v as u64);
        let head = if self.has_head { self.outputs as u64 * d } else { 0 };
        n * d * self.patch_len() as u64 + self.depth as u64 * (n * n * d + 2 * n * d * h) + head
    }

    /// Returns whether every dimension is in the range that the format and its 32-bit sums allow.
    pub fn is_valid(&self) -> bool {
        let bounded = |v: usize| (1..=MAX_LENGTH).contains(&v);
        let [height, width] = self.image;
        [height, width, self.patch, self.dim, self.hidden, self.depth, self.outputs].into_iter().all(bounded)
            && height % self.patch == 0
            && width % self.patch == 0
            && bounded(self.tokens())
            && bounded(self.patch_len())
            && (self.has_head || self.outputs == self.dim)
            && self.layout.is_valid()
            && (self.arithmetic() == Arithmetic::Int8 || (self.layout.group == 1 && self.layout.offset == 0))
    }

    /// Returns the length of `extent` rounded up to whole panels and whole groups.
    pub fn padded(&self, extent: Extent) -> usize {
        let Layout { rows, columns, group, .. } = self.layout;
        let step = match extent {
            Extent::TokenRows => rows,
            Extent::Tokens | Extent::Patch => group,
            Extent::Dim | Extent::Hidden => self.hidden_step() as u32,
            Extent::Outputs => columns,
        };
        self.exact(extent).next_multiple_of((step as usize).max(1))
    }

    /// Returns the number that padded channels and hidden units are multiples of. They are columns of one product and
    /// `k` of the next, so both the panel's columns and the group must divide them.
    pub(crate) fn hidden_step(&self) -> usize {
        lcm(self.layout.columns, self.layout.group) as usize
    }

    /// Returns the length of `extent` without padding.
    pub fn exact(&self, extent: Extent) -> usize {
        match extent {
            Extent::Tokens | Extent::TokenRows => self.tokens(),
            Extent::Patch => self.patch_len(),
            Extent::Dim => self.dim,
            Extent::Hidden => self.hidden,
            Extent::Outputs => self.outputs,
        }
    }
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

/// What one side of a tensor counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Tokens as the `k` of the patch mixing's product.
    Tokens,
    /// Tokens as rows of the patch mixing's result.
    TokenRows,
    /// Values of a patch.
    Patch,
    /// Channels.
    Dim,
    /// Hidden units.
    Hidden,
    /// Classes, or the channels of an embedding.
    Outputs,
}

/// The type of a tensor's elements and their arrangement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A weight matrix of these rows and columns that is a left operand, in panels of `Layout::rows` rows.
    Left(Extent, Extent),
    /// A transposed weight matrix that is a right operand, in panels of `Layout::columns` rows. The extents are those
    /// of the transposed matrix.
    Right(Extent, Extent),
    /// One value for each element of the extent.
    Vector(Element, Extent),
    /// A GELU table of 256 bytes, followed by one byte with the index shift.
    Gelu,
}

/// Element type of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// Two's complement, 32 bits.
    I32,
    /// An `i32` in 8-bit arithmetic and an `f32` in floating-point arithmetic, because a bias has the type of the sum.
    Bias,
    /// In 8-bit arithmetic, an `i32` from 0 to below [`MAX_FIXED`] that is a fraction of 2^31. In floating-point
    /// arithmetic, an `f32`.
    Fixed,
    /// Two's complement, 16 bits.
    I16,
    /// Two's complement, 8 bits.
    I8,
}

/// Which models contain a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    Always,
    Int8,
    Head,
    Int8Head,
    Gains,
}

macro_rules! slots {
    ($($(#[$doc:meta])* $name:ident: $shape:expr, $presence:ident;)*) => {
        /// The tensors of a file, in file order.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Slot { $($(#[$doc])* $name),* }

        impl Slot {
            /// Every slot, in file order.
            pub const ALL: &'static [Slot] = &[$(Slot::$name),*];

            /// Returns the tensor's element type and extents.
            pub fn shape(self) -> Shape {
                use {Element::*, Extent::*, Shape::*};
                match self { $(Slot::$name => $shape),* }
            }

            fn presence(self) -> Presence {
                match self { $(Slot::$name => Presence::$presence),* }
            }
        }
    };
}

slots! {
    /// Weights of the patch embedding.
    StemWeights: Right(Dim, Patch), Always;
    /// Bias that is added to the sums of the patch embedding.
    StemBias: Vector(Bias, Dim), Always;
    /// Factor that converts the sums of the patch embedding to the units of the residual stream.
    StemScale: Vector(F32, Dim), Always;
    /// Factor that scales the residual stream to 8 bits before the patch mixing.
    MixInputScale: Vector(F32, Dim), Int8;
    /// Offset that is added after scaling by `MixInputScale`.
    MixInputOffset: Vector(F32, Dim), Int8;
    /// Weights of the linear layer across patches.
    MixWeights: Left(TokenRows, Tokens), Always;
    /// `-offset * Σ weights` of each row, which corrects the sums for [`Layout::offset`].
    MixRowCorrection: Vector(I32, TokenRows), Int8;
    /// Scale of each row of the patch mixing's weights.
    MixRowScale: Vector(F32, TokenRows), Always;
    /// Exact sum of each row of the patch mixing's weights, before they were rounded.
    MixRowSum: Vector(F32, TokenRows), Always;
    /// Bias of each row of the patch mixing.
    MixRowBias: Vector(F32, TokenRows), Always;
    /// Factor of the residual stream before the patch mixing is added to it.
    MixStreamGain: Vector(F32, Dim), Gains;
    /// Factor of the patch mixing's product in each channel.
    MixScale: Vector(F32, Dim), Always;
    /// Factor of `MixRowSum` in each channel.
    MixSumGain: Vector(F32, Dim), Always;
    /// Factor of `MixRowBias` in each channel.
    MixBiasGain: Vector(F32, Dim), Always;
    /// Factor that scales the residual stream to 8 bits before the channel MLP.
    MlpInputScale: Vector(F32, Dim), Int8;
    /// Offset that is added after scaling by `MlpInputScale`.
    MlpInputOffset: Vector(F32, Dim), Int8;
    /// Weights of the first layer of the channel MLP.
    ExpandWeights: Right(Hidden, Dim), Always;
    /// Bias that is added to the sums of the first layer.
    ExpandBias: Vector(Bias, Hidden), Always;
    /// Factor that converts the sums of the first layer to the units of the GELU's input.
    ExpandScale: Vector(Fixed, Hidden), Always;
    /// `relu(x) - gelu(x)` over `|x|`, in GELU units.
    GeluTable: Gelu, Int8;
    /// Factor that converts the GELU's output to 8 bits, as a fraction of 2^15.
    HiddenScale: Vector(I16, Hidden), Int8;
    /// Zero point of the 8-bit hidden activations.
    HiddenZero: Vector(I8, Hidden), Int8;
    /// Weights of the second layer of the channel MLP.
    ContractWeights: Right(Dim, Hidden), Always;
    /// Factor of the residual stream before the channel MLP is added to it.
    MlpStreamGain: Vector(F32, Dim), Gains;
    /// Bias that is added to the sums of the second layer.
    ContractBias: Vector(Bias, Dim), Always;
    /// Factor that converts the sums of the second layer to the units of the residual stream.
    ContractScale: Vector(F32, Dim), Always;
    /// Factor that scales the sum over tokens to 16 bits before the classifier.
    HeadInputScale: Vector(F32, Dim), Int8Head;
    /// Offset that is added after scaling by `HeadInputScale`.
    HeadInputOffset: Vector(F32, Dim), Int8Head;
    /// Weights of the classifier.
    HeadWeights: Right(Outputs, Dim), Head;
    /// `-offset * Σ weights` of each class, which corrects the sums for [`Layout::offset`].
    HeadCorrection: Vector(I32, Outputs), Int8Head;
    /// Factor that converts the classifier's sums to logits. For an embedding, it converts the sum over tokens to the
    /// output.
    HeadScale: Vector(F32, Outputs), Always;
    /// Bias of the logits, or of the embedding.
    HeadBias: Vector(F32, Outputs), Always;
}

const FIRST_OF_BLOCK: usize = Slot::MixInputScale as usize;
const FIRST_OF_HEAD: usize = Slot::HeadInputScale as usize;

impl Slot {
    /// Returns the size of this tensor in bytes, without the padding to the next one, or `None` if it overflows a
    /// `usize`.
    pub fn len(self, dims: &Dims) -> Option<usize> {
        let int8 = dims.arithmetic() == Arithmetic::Int8;
        let present = match self.presence() {
            Presence::Always => true,
            Presence::Int8 => int8,
            Presence::Head => dims.has_head,
            Presence::Int8Head => int8 && dims.has_head,
            Presence::Gains => dims.has_gains,
        };
        if !present {
            return Some(0);
        }
        match self.shape() {
            Shape::Left(rows, k) | Shape::Right(rows, k) => {
                dims.weights.len(dims.padded(rows).checked_mul(dims.padded(k))?)
            }
            Shape::Vector(element, extent) => dims.padded(extent).checked_mul(element.size()),
            Shape::Gelu => Some(GELU_ENTRIES + 1),
        }
    }

    /// Returns whether every residual block has such a tensor.
    pub fn is_per_block(self) -> bool {
        (FIRST_OF_BLOCK..FIRST_OF_HEAD).contains(&(self as usize))
    }
}

impl Element {
    /// Returns the size of one element in bytes.
    pub const fn size(self) -> usize {
        match self {
            Element::F32 | Element::I32 | Element::Bias | Element::Fixed => 4,
            Element::I16 => 2,
            Element::I8 => 1,
        }
    }
}

/// The position of each tensor, which the reader and the writer both compute from the dimensions.
#[derive(Clone, Debug)]
pub struct Map {
    starts: [usize; Slot::ALL.len()],
    lens: [usize; Slot::ALL.len()],
    block_len: usize,
    file_len: usize,
}

impl Map {
    /// Lays out a file. Returns `None` if its length would overflow a `usize`.
    pub fn new(dims: &Dims, labels_len: usize, provenance_len: usize) -> Option<Self> {
        let aligned = |n: usize| n.checked_next_multiple_of(ALIGNMENT);
        let mut map = Map { starts: [0; _], lens: [0; _], block_len: 0, file_len: 0 };
        let mut at = aligned(HEADER_LEN.checked_add(labels_len)?.checked_add(provenance_len)?)?;
        let mut block_start = 0;
        for ((slot, start), len) in Slot::ALL.iter().zip(&mut map.starts).zip(&mut map.lens) {
            if *slot as usize == FIRST_OF_BLOCK {
                block_start = at;
            }
            if *slot as usize == FIRST_OF_HEAD {
                map.block_len = at.checked_sub(block_start)?;
                at = map.block_len.checked_mul(dims.depth)?.checked_add(block_start)?;
            }
            *start = at;
            *len = slot.len(dims)?;
            at = aligned(at.checked_add(*len)?)?;
        }
        map.file_len = at;
        Some(map)
    }

    /// Returns the length of the file in bytes.
    pub fn file_len(&self) -> usize {
        self.file_len
    }

    /// Returns the byte range of `slot` in block `block`. The block is ignored for a tensor outside the blocks.
    pub fn range(&self, slot: Slot, block: usize) -> core::ops::Range<usize> {
        let index = slot as usize;
        let [start, len] = [&self.starts, &self.lens].map(|v| v.get(index).copied().unwrap_or(0));
        let start = if slot.is_per_block() { start + block * self.block_len } else { start };
        start..start + len
    }
}
