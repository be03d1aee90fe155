//! The memory that one chunk of pictures needs on its way forwards and backwards.

use crate::layout::Shape;

/// Buffers of one chunk of at most `pictures` pictures. Rows of streams are tokens, picture after picture.
pub(crate) struct Workspace {
    /// Patches, `[pictures · tokens, 3 · patch²]`.
    pub patches: Vec<f32>,
    /// Residual stream after the stem and after each half block, `[pictures · tokens, dim]` each.
    pub streams: Vec<Vec<f32>>,
    /// Numbers that each block keeps for the way back.
    pub blocks: Vec<Kept>,
    /// Means over the patches of a picture behind the last Aff, `[pictures, dim]`.
    pub means: Vec<f32>,
    /// Logits, `[pictures, outputs]`.
    pub logits: Vec<f32>,
    /// Results of an Aff, `[pictures · tokens, dim]`.
    pub scaled: Vec<f32>,
    /// Gradient of the residual stream, `[pictures · tokens, dim]`.
    pub d_stream: Vec<f32>,
    /// Gradient inside a branch, `[pictures · tokens, dim]`.
    pub d_branch: Vec<f32>,
    /// Gradient behind a branch's layer, `[pictures · tokens, dim]`.
    pub d_layer: Vec<f32>,
    /// Gradient of the hidden layer, `[pictures · tokens, hidden]`.
    pub d_hidden: Vec<f32>,
}

/// Numbers that one block keeps from the way forwards for the way back.
pub(crate) struct Kept {
    /// Results of the patch mixing, `[pictures · tokens, dim]`.
    pub mixed: Vec<f32>,
    /// Activations, `[pictures · tokens, hidden]`.
    pub hidden: Vec<f32>,
    /// Slopes of the activations, `[pictures · tokens, hidden]`.
    pub slope: Vec<f32>,
    /// Results of the channel MLP, `[pictures · tokens, dim]`.
    pub contracted: Vec<f32>,
}

impl Workspace {
    /// Allocates the buffers for chunks of `pictures` pictures.
    pub fn new(shape: &Shape, pictures: usize) -> Self {
        let rows = pictures * shape.tokens();
        let (stream, hidden) = (|| vec![0.0; rows * shape.dim], || vec![0.0; rows * shape.hidden]);
        let kept = || Kept { mixed: stream(), hidden: hidden(), slope: hidden(), contracted: stream() };
        Self {
            patches: vec![0.0; rows * shape.patch_len()],
            streams: (0..=2 * shape.depth).map(|_| stream()).collect(),
            blocks: (0..shape.depth).map(|_| kept()).collect(),
            means: vec![0.0; pictures * shape.dim],
            logits: vec![0.0; pictures * shape.outputs()],
            scaled: stream(),
            d_stream: stream(),
            d_branch: stream(),
            d_layer: stream(),
            d_hidden: hidden(),
        }
    }
}
