//! A trained ResMLP as its authors wrote it: nothing is folded, and every number is an `f32`.
//!
//! Every reader of checkpoints makes a [`Network`] and every later stage starts from one, whatever the checkpoint's
//! file format and dialect.

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
    /// Creates a matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self { rows, cols, data: vec![0.0; rows * cols] }
    }

    /// Returns row `r`, `[cols]`.
    pub fn row(&self, r: usize) -> &[f32] {
        &self.data[r * self.cols..][..self.cols]
    }

    /// Returns row `r`, `[cols]`, to be changed.
    pub fn row_mut(&mut self, r: usize) -> &mut [f32] {
        &mut self.data[r * self.cols..][..self.cols]
    }
}

/// A linear layer, `y = weight · x + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Weights, `[out, in]`.
    pub weight: Matrix,
    /// Bias, `[out]`; zeros where the checkpoint has none.
    pub bias: Vec<f32>,
}

/// An Aff (arXiv 2105.03404, section 2): `y = alpha ⊙ x + beta`, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// Factor of each channel, `[dim]`.
    pub alpha: Vec<f32>,
    /// Summand of each channel, `[dim]`.
    pub beta: Vec<f32>,
}

/// The implementation that a checkpoint comes from. Implementations differ in the names and shapes of their tensors,
/// and some compute another function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// facebookresearch/deit, and DINO's ResMLP.
    Deit,
    /// timm's `MlpMixer` with `ResBlock`.
    Timm,
    /// lucidrains/res-mlp-pytorch.
    Lucidrains,
    /// rishikksh20/ResMLP-pytorch.
    Rishikksh20,
    /// An ONNX graph that is recognised by its structure alone.
    Onnx,
}

impl Dialect {
    /// Returns the name that the command line and its JSON use.
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

/// The place where the Affs of a block act. The two public families of implementations differ in it, and so compute
/// different functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AffinePlacement {
    /// Inside the branch, `x += γ · layer(Aff(x))`, as deit, timm and lucidrains have it.
    Branch,
    /// On the residual stream, `x = Aff(x); x += γ · layer(x)`, as rishikksh20 has it.
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

/// A length of a network that exceeds what the packed format allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network has {length} {what}, expected at most {MAX_LENGTH}")]
pub struct LengthError {
    /// Length that was found.
    pub length: usize,
    /// Name of what is counted, in the plural.
    pub what: &'static str,
}

/// A trained ResMLP.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Implementation that the checkpoint comes from.
    pub dialect: Dialect,
    /// Place where the Affs act.
    pub placement: AffinePlacement,
    /// Activation of the channel MLPs.
    pub activation: Activation,
    /// Height and width of the picture in pixels; both are multiples of `patch`.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Patch embedding, `[dim, 3 · patch²]`; a patch is flattened as (colour, row, column).
    pub stem: Linear,
    /// The residual blocks, which all have the same shapes.
    pub blocks: Vec<Block>,
    /// Aff before the mean over patches, `[dim]`.
    pub final_affine: Affine,
    /// Classifier, `[classes, dim]`; `None` for an embedding model.
    pub head: Option<Linear>,
}

impl Network {
    /// Returns the number of patches (tokens).
    pub fn tokens(&self) -> usize {
        (self.image[0] / self.patch) * (self.image[1] / self.patch)
    }

    /// Returns the number of channels.
    pub fn dim(&self) -> usize {
        self.stem.weight.rows
    }

    /// Returns the width of the channel MLPs' hidden layer.
    pub fn hidden(&self) -> usize {
        self.blocks.first().map_or(0, |b| b.expand.weight.rows)
    }

    /// Returns the length of the result: the number of classes, or of channels for an embedding model.
    pub fn outputs(&self) -> usize {
        self.head.as_ref().map_or(self.dim(), |h| h.weight.rows)
    }

    /// Checks that no length exceeds [`MAX_LENGTH`], which the packed format and its 32-bit sums allow.
    ///
    /// # Errors
    /// Returns the first length that is too large.
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

    /// Returns the number of trained parameters. A bias that the checkpoint leaves out counts too.
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

    /// Returns the number of multiply-accumulate operations of one forward pass, which are those of the linear layers.
    pub fn macs(&self) -> u64 {
        let weights = |linear: &Linear| linear.weight.data.len() as u64;
        let (tokens, dim) = (self.tokens() as u64, self.dim() as u64);
        let block = |b: &Block| weights(&b.mix) * dim + (weights(&b.expand) + weights(&b.contract)) * tokens;
        let blocks: u64 = self.blocks.iter().map(block).sum();
        weights(&self.stem) * tokens + blocks + self.head.as_ref().map_or(0, weights)
    }
}
