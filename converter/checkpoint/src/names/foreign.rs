//! Says what a checkpoint is that is no ResMLP.

use crate::error::Error;
use std::path::Path;

/// Parts of names that no ResMLP has, and what has them.
const MARKS: [(&str, &str); 12] = [
    ("attn.qkv", "self-attention, as in a vision transformer"),
    ("attn.q.", "attention, as in CaiT"),
    ("attn.proj", "self-attention, as in a vision transformer"),
    ("self_attn", "self-attention"),
    ("self_attention", "self-attention, as in torchvision's vision transformer"),
    ("attention.", "self-attention"),
    ("mlp_tokens", "an MLP across patches, as in MLP-Mixer; a ResMLP has one linear layer"),
    ("token_mixing", "an MLP across patches, as in MLP-Mixer; a ResMLP has one linear layer"),
    ("gate.proj", "a gating unit, as in gMLP"),
    ("to_qkv", "self-attention, as in a vision transformer"),
    ("cls_token", "a class token, as in a vision transformer"),
    ("running_mean", "batch normalisation, as in a convolutional network"),
];

/// The error for the first of `names` that belongs to another kind of network, if one does.
pub(super) fn found<'a>(path: &Path, names: impl Iterator<Item = &'a String> + Clone) -> Option<Error> {
    MARKS.iter().find_map(|(mark, meaning)| {
        let name = names.clone().find(|name| name.contains(mark))?;
        Some(Error::file(path, format!("not a ResMLP: found {name} ({meaning})")))
    })
}

/// The error for names that no dialect explains.
pub(super) fn error<'a>(path: &Path, names: impl Iterator<Item = &'a String> + Clone) -> Error {
    found(path, names.clone()).unwrap_or_else(|| {
        let first = names.clone().take(4).map(String::as_str).collect::<Vec<_>>().join(", ");
        let count = names.count();
        let found =
            if count == 0 { "no floating-point tensors".into() } else { format!("{count} tensors: {first}, …") };
        Error::file(path, format!("not a ResMLP: found {found}; expected names such as blocks.0.norm1.alpha"))
    })
}
