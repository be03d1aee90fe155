//! The only place that knows where things lie in a packed file; reader and writer share it. See `FORMAT.md`.
//!
//! A file is a header, the labels, the provenance, and then tensors whose positions follow from the header's dimensions
//! alone. No offset is stored, so none can be wrong: there is nothing that could overlap, leave a hole or point
//! outside.

pub use crate::activation::Activation;
pub use crate::storage::{Arithmetic, WeightStorage};

/// First eight bytes of every packed model.
pub const MAGIC: [u8; 8] = *b"RESMLP\r\n";
/// The latest version of format and numerics. A model that makes no use of it is written as [`OLDEST_VERSION`].
pub const VERSION: u32 = 3;
/// The oldest version that this code reads. Its models compute the exact GELU.
pub const OLDEST_VERSION: u32 = 2;
/// Every tensor starts at a multiple of this many bytes.
pub const ALIGNMENT: usize = 64;
/// Length of the header in bytes.
pub const HEADER_LEN: usize = 128;
/// Entries of a GELU table.
pub const GELU_ENTRIES: usize = 256;
/// Largest magnitude of a multiplier in a file: more is no trained network's, and what one layer adds stays finite.
pub const MAX_MULTIPLIER: f32 = (1u32 << 30) as f32;
/// Fixed-point multipliers, fractions of 2^31, are below it: under 1/2, so that twice a multiplier is an `i32` too.
pub const MAX_FIXED: i32 = 1 << 30;
/// Largest number of classes, channels, hidden units, blocks, tokens, pixels in a row or column, and numbers in a
/// patch.
pub const MAX_LENGTH: usize = 1 << 15;

/// Byte offsets of the header's fields; all are little-endian.
pub mod field {
    #![allow(missing_docs)]
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8;
    /// CRC-32 (IEEE) of all the file's bytes but these four.
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
    /// From version 3 on; zero before.
    pub const ACTIVATION: usize = 120;
    /// From here to the header's end: zeros.
    pub const RESERVED: usize = 124;
}

/// Returns the version that a model with this activation is written as: the oldest one that can express it, so that
/// older readers read every model that they can compute.
pub fn version_for(activation: Activation) -> u32 {
    if activation == Activation::Gelu { OLDEST_VERSION } else { VERSION }
}

/// Interpolation of the picture before it enters the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Antialiased triangle filter.
    Bilinear,
    /// Antialiased cubic filter with a = -0.5.
    Bicubic,
}

/// How a picture becomes the network's input. The runtime takes ready `u8` pixels; this is for who makes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocessing {
    /// Interpolation.
    pub resize: Resize,
    /// The shorter side is resized to `image / crop` before the centre is cut out.
    pub crop: f32,
    /// Mean that was subtracted in training, of pixels in 0..1; folded into the stem already.
    pub mean: [f32; 3],
    /// Standard deviation that was divided by in training; folded into the stem already.
    pub std: [f32; 3],
}

/// How matrices are cut into panels, which is what the kernels of one instruction set read without rearranging.
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
    /// Neighbouring `k` that lie together.
    pub group: u32,
    /// 0 or 128: added to every 8-bit activation when it is stored (as `u8`), for instructions that want one operand
    /// unsigned.
    pub offset: u32,
}

impl Layout {
    /// For `i8` dot products of four: a sensible default for every CPU.
    pub const DEFAULT: Self = Self { rows: 8, columns: 12, group: 4, offset: 0 };
    /// For 64-bit ARM with matrix multiplication.
    pub const I8MM: Self = Self { rows: 8, columns: 12, group: 8, offset: 0 };
    /// For x86-64 with AVX-VNNI, which wants one operand unsigned.
    pub const AVX_VNNI: Self = Self { rows: 8, columns: 12, group: 4, offset: 128 };
    /// For x86-64 with AVX-512 VNNI, which wants the same.
    pub const VNNI: Self = Self { rows: 8, columns: 48, group: 4, offset: 128 };
    /// For x86-64 with AMX: left panels of one row, so that a left matrix lies row after row.
    pub const AMX: Self = Self { rows: 1, columns: 32, group: 4, offset: 128 };
    /// For 64-bit ARM without dot products.
    pub const NEON: Self = Self { rows: 4, columns: 4, group: 16, offset: 0 };
    /// For Cortex-M with the DSP extension.
    pub const DSP: Self = Self { rows: 3, columns: 2, group: 4, offset: 0 };
    /// For 16-bit floating-point models.
    pub const F16: Self = Self { rows: 8, columns: 8, group: 1, offset: 0 };

    /// Whether panels of this shape can be built and read.
    pub fn is_valid(&self) -> bool {
        let bounded = |v: u32| (1..=64).contains(&v);
        bounded(self.rows) && bounded(self.columns) && bounded(self.group) && matches!(self.offset, 0 | 128)
    }

    /// Position of element `(r, k)` in panels of `panel` rows over `k_len` padded columns.
    pub fn index(&self, panel: usize, k_len: usize, r: usize, k: usize) -> usize {
        // Neither is ever zero; to limit them tells the compiler so, which then leaves no panic in.
        let [panel, group] = [panel, self.group as usize].map(|v| v.max(1));
        (r / panel) * panel * k_len + (k / group) * panel * group + (r % panel) * group + k % group
    }
}

/// Everything about a model that decides where its bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// How the weights are stored.
    pub weights: WeightStorage,
    /// Height and width of the picture, pixels; multiples of `patch`.
    pub image: [usize; 2],
    /// Edge of a patch, pixels.
    pub patch: usize,
    /// Channels.
    pub dim: usize,
    /// Hidden width of the channel MLP.
    pub hidden: usize,
    /// Residual blocks.
    pub depth: usize,
    /// Classes, or `dim` for an embedding model.
    pub outputs: usize,
    /// Whether there is a classifier.
    pub has_head: bool,
    /// Whether some channels of the residual stream are rescaled in the blocks.
    pub has_gains: bool,
    /// Shape of the panels.
    pub layout: Layout,
}

impl Dims {
    /// Returns the arithmetic that the weights are made for.
    pub fn arithmetic(&self) -> Arithmetic {
        self.weights.arithmetic()
    }

    /// Number of patches.
    pub fn tokens(&self) -> usize {
        let patch = self.patch.max(1);
        (self.image[0] / patch) * (self.image[1] / patch)
    }

    /// Values of a patch, three colours a pixel, flattened as (row, column, colour).
    pub fn patch_len(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Multiply-accumulate operations of one forward pass.
    pub fn macs(&self) -> u64 {
        let [n, d, h] = [self.tokens(), self.dim, self.hidden].map(|v| v as u64);
        let head = if self.has_head { self.outputs as u64 * d } else { 0 };
        n * d * self.patch_len() as u64 + self.depth as u64 * (n * n * d + 2 * n * d * h) + head
    }

    /// Whether every dimension is in the range that the format and its 32-bit sums allow.
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

    /// `extent` rounded up so that whole panels and whole groups fit.
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

    /// What channels and hidden units come in multiples of, as they are columns of one product and `k` of the next.
    pub(crate) fn hidden_step(&self) -> usize {
        lcm(self.layout.columns, self.layout.group) as usize
    }

    /// The extent without padding.
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

/// A side of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Tokens as the `k` of the patch mixing.
    Tokens,
    /// Tokens as rows of the patch mixing's result.
    TokenRows,
    /// Values of a patch.
    Patch,
    /// Channels.
    Dim,
    /// Hidden units.
    Hidden,
    /// Classes, or channels of an embedding.
    Outputs,
}

/// What a tensor's elements are and how they are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A weight matrix that is the left operand: panels of `Layout::rows`.
    Left(Extent, Extent),
    /// A weight matrix that is the right operand, transposed: panels of `Layout::columns`.
    Right(Extent, Extent),
    /// One value an element of the extent.
    Vector(Element, Extent),
    /// A GELU table: 256 bytes, then the index shift in one byte.
    Gelu,
}

/// Element type of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// Two's complement, 32 bits.
    I32,
    /// An `i32` in 8-bit arithmetic and an `f32` in floating-point arithmetic: a bias has the units of the sum.
    Bias,
    /// In 8-bit arithmetic an `i32`, a fraction of 2^31 below [`MAX_FIXED`]; in floating-point arithmetic an `f32`.
    Fixed,
    /// Two's complement, 16 bits.
    I16,
    /// Two's complement, 8 bits.
    I8,
}

/// Which models have a tensor.
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
        /// The tensors of a file in the order in which they lie there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Slot { $($(#[$doc])* $name),* }

        impl Slot {
            /// Every slot, in file order.
            pub const ALL: &'static [Slot] = &[$(Slot::$name),*];

            /// Element type and extents.
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
    /// Patch embedding.
    StemWeights: Right(Dim, Patch), Always;
    /// Added to the sums.
    StemBias: Vector(Bias, Dim), Always;
    /// Sums to stream units.
    StemScale: Vector(F32, Dim), Always;
    /// Stream to 8 bits, before the patch mixing.
    MixInputScale: Vector(F32, Dim), Int8;
    /// Added after that scaling.
    MixInputOffset: Vector(F32, Dim), Int8;
    /// The linear layer across patches.
    MixWeights: Left(TokenRows, Tokens), Always;
    /// `-offset * Σ weights` of each row.
    MixRowCorrection: Vector(I32, TokenRows), Int8;
    /// Scale of each row of the weights.
    MixRowScale: Vector(F32, TokenRows), Always;
    /// Exact row sums of the weights before rounding.
    MixRowSum: Vector(F32, TokenRows), Always;
    /// Bias of the layer.
    MixRowBias: Vector(F32, TokenRows), Always;
    /// The stream is multiplied by it before the patch mixing is added.
    MixStreamGain: Vector(F32, Dim), Gains;
    /// Gain of each channel.
    MixScale: Vector(F32, Dim), Always;
    /// Gain of the row sums.
    MixSumGain: Vector(F32, Dim), Always;
    /// Gain of the layer's bias.
    MixBiasGain: Vector(F32, Dim), Always;
    /// Stream to 8 bits, before the channel MLP.
    MlpInputScale: Vector(F32, Dim), Int8;
    /// Added after that scaling.
    MlpInputOffset: Vector(F32, Dim), Int8;
    /// First layer of the channel MLP.
    ExpandWeights: Right(Hidden, Dim), Always;
    /// Added to the sums.
    ExpandBias: Vector(Bias, Hidden), Always;
    /// Sums to GELU units.
    ExpandScale: Vector(Fixed, Hidden), Always;
    /// `relu(x) - gelu(x)` over `|x|`, in GELU units.
    GeluTable: Gelu, Int8;
    /// GELU units to 8 bits, as a fraction of 2^15.
    HiddenScale: Vector(I16, Hidden), Int8;
    /// Zero point of the 8-bit hidden activations.
    HiddenZero: Vector(I8, Hidden), Int8;
    /// Second layer of the channel MLP.
    ContractWeights: Right(Dim, Hidden), Always;
    /// The stream is multiplied by it before the channel MLP is added.
    MlpStreamGain: Vector(F32, Dim), Gains;
    /// Added to the sums.
    ContractBias: Vector(Bias, Dim), Always;
    /// Sums to stream units.
    ContractScale: Vector(F32, Dim), Always;
    /// Sum over tokens to 16 bits.
    HeadInputScale: Vector(F32, Dim), Int8Head;
    /// Added after that scaling.
    HeadInputOffset: Vector(F32, Dim), Int8Head;
    /// The classifier.
    HeadWeights: Right(Outputs, Dim), Head;
    /// `-offset * Σ weights` of each class.
    HeadCorrection: Vector(I32, Outputs), Int8Head;
    /// Sums to logits; for an embedding, sum over tokens to output.
    HeadScale: Vector(F32, Outputs), Always;
    /// Bias of the logits, or of the embedding.
    HeadBias: Vector(F32, Outputs), Always;
}

const FIRST_OF_BLOCK: usize = Slot::MixInputScale as usize;
const FIRST_OF_HEAD: usize = Slot::HeadInputScale as usize;

impl Slot {
    /// Bytes of this tensor without the padding to the next one; `None` if that is more than memory could hold.
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

    /// Whether every block has one.
    pub fn is_per_block(self) -> bool {
        (FIRST_OF_BLOCK..FIRST_OF_HEAD).contains(&(self as usize))
    }
}

impl Element {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Element::F32 | Element::I32 | Element::Bias | Element::Fixed => 4,
            Element::I16 => 2,
            Element::I8 => 1,
        }
    }
}

/// Where each tensor lies: computed from the dimensions, by the reader and the writer alike.
#[derive(Clone, Debug)]
pub struct Map {
    starts: [usize; Slot::ALL.len()],
    lens: [usize; Slot::ALL.len()],
    block_len: usize,
    file_len: usize,
}

impl Map {
    /// Lays out a file; `None` where it would not fit an address space.
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

    /// Length of the file in bytes.
    pub fn file_len(&self) -> usize {
        self.file_len
    }

    /// The bytes of `slot` in block `block` (which is ignored for what is not in a block).
    pub fn range(&self, slot: Slot, block: usize) -> core::ops::Range<usize> {
        let index = slot as usize;
        let [start, len] = [&self.starts, &self.lens].map(|v| v.get(index).copied().unwrap_or(0));
        let start = if slot.is_per_block() { start + block * self.block_len } else { start };
        start..start + len
    }
}
