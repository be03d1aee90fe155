//! A trained ResMLP as its authors wrote it: nothing folded, everything `f32`.
//!
//! Every reader ends here and every later stage starts here, whatever file format and dialect the checkpoint had.

use resmlp_runtime::format::MAX_LENGTH;

use crate::activation::Activation;

/// A dense row-major `f32` matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// Number of rows (output features of a linear layer).
    pub rows: usize,
    /// Number of columns (input features of a linear layer).
    pub cols: usize,
    /// `rows * cols` values, row after row.
    pub data: Vec<f32>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Row `r`, `cols` values.
    pub fn row(&self, r: usize) -> &[f32] {
        &self.data[r * self.cols..][..self.cols]
    }

    /// Row `r`, `cols` values.
    pub fn row_mut(&mut self, r: usize) -> &mut [f32] {
        &mut self.data[r * self.cols..][..self.cols]
    }
}

/// `y = weight · x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Matrix,
    /// `[out]`; zeros where the checkpoint has none.
    pub bias: Vec<f32>,
}

/// `y = alpha ⊙ x + beta`, one pair a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// `[dim]`.
    pub alpha: Vec<f32>,
    /// `[dim]`.
    pub beta: Vec<f32>,
}

/// Where a checkpoint comes from. The names and shapes of its tensors differ, and so may its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// facebookresearch/deit (and DINO's ResMLP).
    Deit,
    /// timm's `MlpMixer` with `ResBlock`.
    Timm,
    /// lucidrains/res-mlp-pytorch.
    Lucidrains,
    /// rishikksh20/ResMLP-pytorch.
    Rishikksh20,
    /// An ONNX graph recognised by its structure alone.
    Onnx,
}

impl Dialect {
    /// The dialect's name for people and for `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deit => "deit",
            Self::Timm => "timm",
            Self::Lucidrains => "lucidrains",
            Self::Rishikksh20 => "rishikksh20",
            Self::Onnx => "onnx",
        }
    }
}

/// What the Affs of a block act on: the two public families compute different functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinePlacement {
    /// `x += γ · layer(Aff(x))`: deit, timm, lucidrains.
    Branch,
    /// `x = Aff(x); x += γ · layer(x)`: rishikksh20.
    Stream,
}

/// One residual block.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Aff before the patch mixing, `[dim]`.
    pub mix_affine: Affine,
    /// Linear layer across patches, `[tokens, tokens]`.
    pub mix: Linear,
    /// LayerScale of the patch mixing, `[dim]`.
    pub mix_scale: Vec<f32>,
    /// Aff before the channel MLP, `[dim]`.
    pub mlp_affine: Affine,
    /// First layer of the channel MLP, `[hidden, dim]`.
    pub expand: Linear,
    /// Second layer of the channel MLP, `[dim, hidden]`.
    pub contract: Linear,
    /// LayerScale of the channel MLP, `[dim]`.
    pub mlp_scale: Vec<f32>,
}

/// A network has more of something than the packed format allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{length} {what}; expected at most {MAX_LENGTH}")]
pub struct LengthError {
    /// How many there are.
    pub length: usize,
    /// What is counted, in the plural.
    pub what: &'static str,
}

/// A trained ResMLP.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Where the checkpoint comes from.
    pub dialect: Dialect,
    /// What the Affs act on.
    pub placement: AffinePlacement,
    /// What the channel MLPs apply to their hidden units.
    pub activation: Activation,
    /// Height and width of the picture in pixels; both are multiples of `patch`.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Patch embedding, `[dim, 3 · patch · patch]`; a patch is flattened as (channel, row, column).
    pub stem: Linear,
    /// The residual blocks; all have the same shapes.
    pub blocks: Vec<Block>,
    /// Aff before the mean over patches, `[dim]`.
    pub final_affine: Affine,
    /// Classifier, `[classes, dim]`; an embedding model has none.
    pub head: Option<Linear>,
}

impl Network {
    /// Number of patches (tokens).
    pub fn tokens(&self) -> usize {
        (self.image[0] / self.patch) * (self.image[1] / self.patch)
    }

    /// Number of channels.
    pub fn dim(&self) -> usize {
        self.stem.weight.rows
    }

    /// Width of the channel MLP's hidden layer.
    pub fn hidden(&self) -> usize {
        self.blocks.first().map_or(0, |b| b.expand.weight.rows)
    }

    /// Length of the result: classes, or channels for an embedding model.
    pub fn outputs(&self) -> usize {
        self.head.as_ref().map_or(self.dim(), |h| h.weight.rows)
    }

    /// Checks that no length exceeds [`MAX_LENGTH`], which the packed format and its 32-bit sums allow.
    ///
    /// # Errors
    /// Names the first length that is too large.
    pub fn check_lengths(&self) -> Result<(), LengthError> {
        let [height, width] = self.image;
        for (length, what) in [
            (self.head.as_ref().map_or(0, |head| head.weight.rows), "classes"),
            (self.dim(), "channels"),
            (self.hidden(), "hidden units"),
            (self.blocks.len(), "blocks"),
            (self.tokens(), "patches"),
            (self.stem.weight.cols, "numbers a patch (3 · patch · patch)"),
            (height, "rows of pixels"),
            (width, "columns of pixels"),
        ] {
            if length > MAX_LENGTH {
                return Err(LengthError { length, what });
            }
        }
        Ok(())
    }

    /// Number of trained parameters; a bias that the checkpoint leaves out counts as its zeros.
    pub fn parameters(&self) -> usize {
        let linear = |l: &Linear| l.weight.data.len() + l.bias.len();
        let affine = |a: &Affine| a.alpha.len() + a.beta.len();
        let block = |b: &Block| {
            let affines = affine(&b.mix_affine) + affine(&b.mlp_affine);
            let linears = linear(&b.mix) + linear(&b.expand) + linear(&b.contract);
            affines + linears + b.mix_scale.len() + b.mlp_scale.len()
        };
        linear(&self.stem)
            + self.blocks.iter().map(block).sum::<usize>()
            + affine(&self.final_affine)
            + self.head.as_ref().map_or(0, linear)
    }

    /// Multiply-accumulate operations of one forward pass, in the linear layers.
    pub fn macs(&self) -> u64 {
        let weights = |linear: &Linear| linear.weight.data.len() as u64;
        let (tokens, dim) = (self.tokens() as u64, self.dim() as u64);
        let block = |b: &Block| weights(&b.mix) * dim + (weights(&b.expand) + weights(&b.contract)) * tokens;
        let blocks: u64 = self.blocks.iter().map(block).sum();
        weights(&self.stem) * tokens + blocks + self.head.as_ref().map_or(0, weights)
    }
}
