//! The place of every tensor in the vector of parameters, and its name in timm.

use std::ops::Range;

use resmlp_network::{Activation, Affine, AffinePlacement, Block, Dialect, Linear, Matrix, Network};

/// The sizes of a network, and the function that it computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Height and width of the picture in pixels.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Number of channels.
    pub dim: usize,
    /// Width of the channel MLPs' hidden layer.
    pub hidden: usize,
    /// Number of residual blocks.
    pub depth: usize,
    /// Number of classes; `None` for an embedding model, whose result is the mean over the patches.
    pub classes: Option<usize>,
    /// Activation of the channel MLPs.
    pub activation: Activation,
    /// Place where the Affs act.
    pub placement: AffinePlacement,
}

/// Reasons for which no network can have a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A length is zero.
    #[error("the network has no {0}; every length must be at least 1")]
    Zero(&'static str),
    /// The patches do not cover the picture.
    #[error(
        "a picture of {width} × {height} pixels cannot be cut into patches of {patch} × {patch}; both sides must be \
         multiples of {patch}"
    )]
    Patch {
        /// Width of the picture in pixels.
        width: usize,
        /// Height of the picture in pixels.
        height: usize,
        /// Edge of a patch in pixels.
        patch: usize,
    },
}

impl Shape {
    /// Returns the shape of a network.
    pub fn of(network: &Network) -> Self {
        Self {
            image: network.image,
            patch: network.patch,
            dim: network.dim(),
            hidden: network.hidden(),
            depth: network.blocks.len(),
            classes: network.head.as_ref().map(|head| head.weight.rows),
            activation: network.activation,
            placement: network.placement,
        }
    }

    /// Checks that a network can have this shape.
    ///
    /// # Errors
    /// Returns an error if a length is zero or a side of the picture is no multiple of the patch.
    pub fn check(&self) -> Result<(), ShapeError> {
        let [height, width] = self.image;
        for (length, what) in [
            (height, "rows of pixels"),
            (width, "columns of pixels"),
            (self.patch, "pixels in a patch"),
            (self.dim, "channels"),
            (self.hidden, "hidden units"),
            (self.depth, "blocks"),
            (self.classes.unwrap_or(1), "classes"),
        ] {
            if length == 0 {
                return Err(ShapeError::Zero(what));
            }
        }
        if height.is_multiple_of(self.patch) && width.is_multiple_of(self.patch) {
            Ok(())
        } else {
            Err(ShapeError::Patch { width, height, patch: self.patch })
        }
    }

    /// Returns the number of patches (tokens).
    pub fn tokens(&self) -> usize {
        (self.image[0] / self.patch) * (self.image[1] / self.patch)
    }

    /// Returns the number of values in a patch.
    pub fn patch_len(&self) -> usize {
        3 * self.patch * self.patch
    }

    /// Returns the number of values in a picture.
    pub fn picture_len(&self) -> usize {
        3 * self.image[0] * self.image[1]
    }

    /// Returns the length of the result: the number of classes, or of channels for an embedding model.
    pub fn outputs(&self) -> usize {
        self.classes.unwrap_or(self.dim)
    }
}

/// Role of a tensor in the network. Optimisers treat kinds differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Weights of a linear layer. They alone decay.
    Weight,
    /// Bias of a linear layer.
    Bias,
    /// Factors of an Aff.
    Alpha,
    /// Summands of an Aff.
    Beta,
    /// Factors of a LayerScale.
    Scale,
}

/// A tensor in the vector of parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorAt {
    /// Name in timm's state dict.
    pub name: String,
    /// Lengths of its dimensions in timm's state dict.
    pub shape: Vec<usize>,
    /// Its role in the network.
    pub kind: Kind,
    /// Its place in the vector.
    pub range: Range<usize>,
}

/// The places of a linear layer's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinearAt {
    /// Weights, `[out, in]`.
    pub weight: Range<usize>,
    /// Bias, `[out]`.
    pub bias: Range<usize>,
}

/// The places of an Aff's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffineAt {
    /// Factors, `[dim]`.
    pub alpha: Range<usize>,
    /// Summands, `[dim]`.
    pub beta: Range<usize>,
}

/// The places of a block's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockAt {
    /// Aff before the patch mixing.
    pub mix_affine: AffineAt,
    /// Linear layer across patches, `[tokens, tokens]`.
    pub mix: LinearAt,
    /// LayerScale of the patch mixing, `[dim]`.
    pub mix_scale: Range<usize>,
    /// Aff before the channel MLP.
    pub mlp_affine: AffineAt,
    /// First layer of the channel MLP, `[hidden, dim]`.
    pub expand: LinearAt,
    /// Second layer of the channel MLP, `[dim, hidden]`.
    pub contract: LinearAt,
    /// LayerScale of the channel MLP, `[dim]`.
    pub mlp_scale: Range<usize>,
}

/// The place of every tensor of a network in the vector of its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Sizes of the network.
    pub shape: Shape,
    /// Every tensor, in the order of the vector.
    pub tensors: Vec<TensorAt>,
    /// Patch embedding, `[dim, 3 · patch²]`; a patch is flattened as (colour, row, column).
    pub stem: LinearAt,
    /// The residual blocks.
    pub blocks: Vec<BlockAt>,
    /// Aff before the mean over patches.
    pub final_affine: AffineAt,
    /// Classifier, `[classes, dim]`.
    pub head: Option<LinearAt>,
}

impl Layout {
    /// Lays out the parameters of a network.
    pub fn new(shape: Shape) -> Self {
        let mut tensors = Tensors(Vec::new());
        let (tokens, dim, hidden, patch) = (shape.tokens(), shape.dim, shape.hidden, shape.patch);
        let stem = LinearAt {
            weight: tensors.add("stem.proj.weight", &[dim, 3, patch, patch], Kind::Weight),
            bias: tensors.add("stem.proj.bias", &[dim], Kind::Bias),
        };
        let blocks = (0..shape.depth)
            .map(|index| {
                let name = |rest: &str| format!("blocks.{index}.{rest}");
                BlockAt {
                    mix_affine: tensors.affine(&name("norm1"), dim),
                    mix: tensors.linear(&name("linear_tokens"), tokens, tokens),
                    mix_scale: tensors.add(&name("ls1"), &[dim], Kind::Scale),
                    mlp_affine: tensors.affine(&name("norm2"), dim),
                    expand: tensors.linear(&name("mlp_channels.fc1"), hidden, dim),
                    contract: tensors.linear(&name("mlp_channels.fc2"), dim, hidden),
                    mlp_scale: tensors.add(&name("ls2"), &[dim], Kind::Scale),
                }
            })
            .collect();
        let final_affine = tensors.affine("norm", dim);
        let head = shape.classes.map(|classes| tensors.linear("head", classes, dim));
        Self { shape, tensors: tensors.0, stem, blocks, final_affine, head }
    }

    /// Returns the number of parameters.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |tensor| tensor.range.end)
    }

    /// Tells whether the network has no parameters, which is never so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the parameters of a network that has this layout's shape.
    ///
    /// # Panics
    /// Panics if the network has another shape.
    pub fn gather(&self, network: &Network) -> Vec<f32> {
        assert_eq!(Shape::of(network), self.shape, "the network's shape is the layout's");
        let mut parameters = vec![0.0; self.len()];
        let mut put = |range: &Range<usize>, values: &[f32]| parameters[range.clone()].copy_from_slice(values);
        let mut linear = |at: &LinearAt, layer: &Linear| {
            put(&at.weight, &layer.weight.data);
            put(&at.bias, &layer.bias);
        };
        linear(&self.stem, &network.stem);
        for (at, block) in self.blocks.iter().zip(&network.blocks) {
            linear(&at.mix, &block.mix);
            linear(&at.expand, &block.expand);
            linear(&at.contract, &block.contract);
        }
        if let (Some(at), Some(head)) = (&self.head, &network.head) {
            linear(at, head);
        }
        let mut affine = |at: &AffineAt, affine: &Affine| {
            put(&at.alpha, &affine.alpha);
            put(&at.beta, &affine.beta);
        };
        affine(&self.final_affine, &network.final_affine);
        for (at, block) in self.blocks.iter().zip(&network.blocks) {
            affine(&at.mix_affine, &block.mix_affine);
            affine(&at.mlp_affine, &block.mlp_affine);
        }
        for (at, block) in self.blocks.iter().zip(&network.blocks) {
            put(&at.mix_scale, &block.mix_scale);
            put(&at.mlp_scale, &block.mlp_scale);
        }
        parameters
    }

    /// Returns the network that has these parameters.
    ///
    /// # Panics
    /// Panics if `parameters` do not have [`Self::len`] numbers.
    pub fn network(&self, parameters: &[f32]) -> Network {
        assert_eq!(parameters.len(), self.len(), "one number for each parameter");
        let take = |range: &Range<usize>| parameters[range.clone()].to_vec();
        let linear = |at: &LinearAt| {
            let (rows, data) = (at.bias.len(), take(&at.weight));
            Linear { weight: Matrix { rows, cols: data.len() / rows, data }, bias: take(&at.bias) }
        };
        let affine = |at: &AffineAt| Affine { alpha: take(&at.alpha), beta: take(&at.beta) };
        let block = |at: &BlockAt| Block {
            mix_affine: affine(&at.mix_affine),
            mix: linear(&at.mix),
            mix_scale: take(&at.mix_scale),
            mlp_affine: affine(&at.mlp_affine),
            expand: linear(&at.expand),
            contract: linear(&at.contract),
            mlp_scale: take(&at.mlp_scale),
        };
        let Shape { image, patch, activation, placement, .. } = self.shape;
        Network {
            dialect: match placement {
                AffinePlacement::Branch => Dialect::Timm,
                AffinePlacement::Stream => Dialect::Rishikksh20,
            },
            placement,
            activation,
            image,
            patch,
            stem: linear(&self.stem),
            blocks: self.blocks.iter().map(block).collect(),
            final_affine: affine(&self.final_affine),
            head: self.head.as_ref().map(linear),
        }
    }

    /// Returns the tensor that the parameter at `index` belongs to.
    pub fn tensor_of(&self, index: usize) -> Option<&TensorAt> {
        self.tensors.iter().find(|tensor| tensor.range.contains(&index))
    }
}

/// The tensors that are laid out so far.
struct Tensors(Vec<TensorAt>);

impl Tensors {
    fn add(&mut self, name: &str, shape: &[usize], kind: Kind) -> Range<usize> {
        let start = self.0.last().map_or(0, |tensor| tensor.range.end);
        let range = start..start + shape.iter().product::<usize>();
        self.0.push(TensorAt { name: name.to_owned(), shape: shape.to_vec(), kind, range: range.clone() });
        range
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize) -> LinearAt {
        LinearAt {
            weight: self.add(&format!("{name}.weight"), &[rows, cols], Kind::Weight),
            bias: self.add(&format!("{name}.bias"), &[rows], Kind::Bias),
        }
    }

    /// timm stores an Aff's vectors as `[1, 1, dim]`.
    fn affine(&mut self, name: &str, dim: usize) -> AffineAt {
        AffineAt {
            alpha: self.add(&format!("{name}.alpha"), &[1, 1, dim], Kind::Alpha),
            beta: self.add(&format!("{name}.beta"), &[1, 1, dim], Kind::Beta),
        }
    }
}
