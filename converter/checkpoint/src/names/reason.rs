//! The reasons for refusing named tensors.

/// Why named tensors do not form a ResMLP that this reader understands.
#[derive(Debug, thiserror::Error)]
pub enum NamesReason {
    /// A tensor that the network needs is missing.
    #[error("missing from the checkpoint; expected it beside the others of its kind{}", suggestion(.unused))]
    Missing {
        /// Name of an unused tensor, which may be the missing one under another name.
        unused: Option<String>,
    },
    /// One half of a parameter that is stored in two tensors is missing.
    #[error("missing from the checkpoint, although '{partner}', the other half of the same parameter, is there")]
    HalfMissing {
        /// Name of the other half, which the checkpoint has.
        partner: String,
    },
    /// An element is infinite or NaN.
    #[error("element {index} is {value}; expected finite numbers")]
    NotFinite {
        /// Index of the element.
        index: usize,
        /// Value of the element.
        value: f32,
    },
    /// A tensor has the wrong shape.
    #[error("shape {found:?}; expected {expected}")]
    Shape {
        /// The tensor's shape.
        found: Vec<usize>,
        /// Shape that the other tensors require.
        expected: String,
    },
    /// The patch embedding does not read three colours.
    #[error(
        "a patch embedding for pictures of {} (shape {found:?}); expected [dim, 3, patch, patch] for the colours red, \
         green and blue", colours(*.count)
    )]
    Colours {
        /// The tensor's shape.
        found: Vec<usize>,
        /// Number of colours.
        count: usize,
    },
    /// A tensor has no place in a ResMLP; the field describes it if its name is known.
    #[error("unexpected{}; a ResMLP has no such tensor, and without it the network would compute something else", meaning(.0))]
    Unexpected(Option<&'static str>),
    /// The layer behind the patch embedding is not an Aff.
    #[error(
        "unexpected; behind the patch embedding only an Aff ('{aff}') can be read, because any other normalisation \
         does not fold into it"
    )]
    StemNorm {
        /// The name that an Aff's scale would have.
        aff: String,
    },
    /// The classifier has several layers; the field lists its tensors.
    #[error(
        "a classifier of several layers ({}); expected one linear layer; to leave it out and read the network as an \
         embedding, use --embedding", .0.join(", ")
    )]
    DeepHead(Vec<String>),
    /// There are two classifiers.
    #[error(
        "a second classifier beside '{first}'; expected one; to leave both out and read the network as an embedding, \
         use --embedding"
    )]
    SecondHead {
        /// Name of the other classifier.
        first: String,
    },
    /// The network already has the classifier that `--head` would join to it.
    #[error("the checkpoint has a classifier of its own, which --head would replace; to leave it out, add --embedding")]
    HeadTwice,
    /// Two names become the same when the wrappers in them are taken out.
    #[error("the same name as '{0}' once wrappers such as '_orig_mod.' are taken out")]
    SameName(String),
    /// A name is too long; the field is its length in bytes.
    #[error("a name of {0} bytes; expected at most 1000")]
    LongName(usize),
    /// The tensors belong to another kind of network.
    #[error("not a ResMLP: found {name} ({meaning})")]
    Foreign {
        /// Name of a tensor that shows it.
        name: String,
        /// The layer or the kind of network that has such a tensor.
        meaning: &'static str,
    },
    /// The tensors have layer normalisations and no Affs.
    #[error(
        "not a ResMLP: found {name} (layer normalisation, as in MLP-Mixer or gMLP, where a ResMLP has Affs); if these are \
         Affs under another name, map the names onto timm's with --names"
    )]
    LayerNorm {
        /// Name of a tensor of a layer normalisation.
        name: String,
    },
    /// The checkpoint has no floating-point tensors.
    #[error("not a ResMLP: found no floating-point tensors; expected names such as blocks.0.norm1.alpha")]
    NoTensors,
    /// No dialect explains the names.
    #[error(
        "not a ResMLP: found {count} tensors: {first}, …; expected names such as blocks.0.norm1.alpha; if it is a ResMLP \
         whose tensors have other names, map them onto timm's with --names"
    )]
    Unknown {
        /// Number of tensors.
        count: usize,
        /// The first few names.
        first: String,
    },
    /// No tensor can be a linear layer across patches, because none is a square matrix.
    #[error(
        "not a ResMLP: it has no linear layer across patches (none of its {count} tensors, such as {first}, is a \
         square matrix)"
    )]
    NoSquare {
        /// Number of tensors.
        count: usize,
        /// The first few names.
        first: String,
    },
    /// The blocks have no linear layer across patches.
    #[error("missing in every block: not a ResMLP, because the network has no linear layer across patches")]
    NoPatchMixing,
    /// The file is a linear classifier alone.
    #[error(
        "only a linear classifier ('{name}', {classes} classes of {dim} numbers), not a network: give the network's \
         checkpoint, and join this classifier to it with --head"
    )]
    OnlyHead {
        /// Name of the classifier's weights.
        name: String,
        /// Number of classes.
        classes: usize,
        /// Number of inputs of the classifier.
        dim: usize,
    },
    /// The file given with `--head` is not a linear classifier.
    #[error("expected one linear classifier for --head (a weight [classes, {dim}] and a bias), found {found}")]
    NoHead {
        /// Number of the network's channels.
        dim: usize,
        /// Contents of the file.
        found: String,
    },
    /// `--key` matches none of the places with weights.
    #[error("no weights under '{key}' (--key); {}", list_of_places(.available))]
    NoKey {
        /// The caller's key.
        key: String,
        /// The places that have weights.
        available: Vec<String>,
    },
    /// The picture's size does not fit the number of patches.
    #[error("a picture of {height} × {width} pixels does not have the network's {tokens} patches of {patch} × {patch}")]
    PictureSize {
        /// Height of the picture in pixels.
        height: usize,
        /// Width of the picture in pixels.
        width: usize,
        /// Number of patches.
        tokens: usize,
        /// Edge of a patch in pixels.
        patch: usize,
    },
    /// The number of patches is not a square, and the caller gives no picture size.
    #[error("the network has {tokens} patches of {patch} × {patch}, which form no square; expected --image-size HxW")]
    NoSquareGrid {
        /// Number of patches.
        tokens: usize,
        /// Edge of a patch in pixels.
        patch: usize,
    },
}

fn suggestion(unused: &Option<String>) -> String {
    unused.as_ref().map_or(String::new(), |name| format!("; nothing uses '{name}'"))
}

fn meaning(of: &Option<&'static str>) -> String {
    of.map_or(String::new(), |meaning| format!(" ({meaning})"))
}

fn colours(count: usize) -> String {
    match count {
        1 => "one colour (grey)".into(),
        count => format!("{count} colours"),
    }
}

pub(crate) fn list_of_places(places: &[String]) -> String {
    match places {
        [] => "the file has one set of weights, under no key".into(),
        [place] if place.is_empty() => "the file has one set of weights, under no key".into(),
        places => {
            let places = places.iter().filter(|place| !place.is_empty()).take(8);
            let places: Vec<_> = places.map(|place| format!("'{}'", place.trim_end_matches('.'))).collect();
            format!("expected {}", places.join(", "))
        }
    }
}
