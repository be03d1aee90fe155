//! Lists the names that each dialect gives a ResMLP's tensors, and tells the dialects apart by them.

use super::choice::{answers, preference};
use resmlp_network::{AffinePlacement, Dialect};
use std::collections::{BTreeMap, BTreeSet};

/// The names that one dialect gives a ResMLP's tensors, and how its code uses the tensors.
pub(super) struct Words {
    pub dialect: Dialect,
    /// What the Affs of a block act on.
    pub placement: AffinePlacement,
    pub stem: &'static str,
    pub stem_shape: StemShape,
    /// Names of an Aff behind the patch embedding, which the dialect's own code lacks but some people add.
    pub stem_norms: &'static [&'static str],
    /// Text before a block's number.
    block: &'static str,
    /// Number of the first block.
    first_block: usize,
    pub mix_affine: &'static str,
    pub mix: &'static str,
    pub mix_scale: &'static str,
    pub mlp_affine: &'static str,
    pub expand: &'static str,
    pub contract: &'static str,
    pub mlp_scale: &'static str,
    final_affine: Place,
    head: Place,
    pub alpha: &'static str,
    pub beta: &'static str,
}

/// How the weights of the patch embedding are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StemShape {
    /// Weights of a convolution, `[dim, 3, patch, patch]`.
    Convolution,
    /// Weights of a linear layer, `[dim, patch · patch · 3]`, for patches that are flattened as (row, column, colour).
    RowColumnColour,
}

/// Name of a module, or its position in a sequence behind the blocks.
enum Place {
    Named(&'static str),
    AfterBlocks(usize),
}

/// The public dialects of named tensors.
pub(super) static ALL: [Words; 4] = [
    Words {
        dialect: Dialect::Deit,
        placement: AffinePlacement::Branch,
        stem: "patch_embed.proj",
        stem_shape: StemShape::Convolution,
        stem_norms: &["patch_embed.norm", "stem_norm"],
        block: "blocks.",
        first_block: 0,
        mix_affine: "norm1",
        mix: "attn",
        mix_scale: "gamma_1",
        mlp_affine: "norm2",
        expand: "mlp.fc1",
        contract: "mlp.fc2",
        mlp_scale: "gamma_2",
        final_affine: Place::Named("norm"),
        head: Place::Named("head"),
        alpha: "alpha",
        beta: "beta",
    },
    Words {
        dialect: Dialect::Timm,
        placement: AffinePlacement::Branch,
        stem: "stem.proj",
        stem_shape: StemShape::Convolution,
        stem_norms: &["stem.norm", "stem_norm"],
        block: "blocks.",
        first_block: 0,
        mix_affine: "norm1",
        mix: "linear_tokens",
        mix_scale: "ls1",
        mlp_affine: "norm2",
        expand: "mlp_channels.fc1",
        contract: "mlp_channels.fc2",
        mlp_scale: "ls2",
        final_affine: Place::Named("norm"),
        head: Place::Named("head"),
        alpha: "alpha",
        beta: "beta",
    },
    Words {
        dialect: Dialect::Lucidrains,
        placement: AffinePlacement::Branch,
        stem: "1",
        stem_shape: StemShape::RowColumnColour,
        stem_norms: &[],
        block: "",
        first_block: 2,
        mix_affine: "0.affine",
        mix: "0.fn",
        mix_scale: "0.scale",
        mlp_affine: "1.affine",
        expand: "1.fn.0",
        contract: "1.fn.2",
        mlp_scale: "1.scale",
        final_affine: Place::AfterBlocks(2),
        head: Place::AfterBlocks(4),
        alpha: "g",
        beta: "b",
    },
    Words {
        dialect: Dialect::Rishikksh20,
        placement: AffinePlacement::Stream,
        stem: "to_patch_embedding.0",
        stem_shape: StemShape::Convolution,
        stem_norms: &["stem_norm"],
        block: "mlp_blocks.",
        first_block: 0,
        mix_affine: "pre_affine",
        mix: "token_mix.1",
        mix_scale: "gamma_1",
        mlp_affine: "post_affine",
        expand: "ff.0.net.0",
        contract: "ff.0.net.3",
        mlp_scale: "gamma_2",
        final_affine: Place::Named("affine"),
        head: Place::Named("mlp_head.0"),
        alpha: "alpha",
        beta: "beta",
    },
];

/// Returns timm's names, which are the targets of a map of names.
pub(super) fn timm() -> &'static Words {
    &ALL[1]
}

impl Words {
    /// Returns the name of `part` in block `index`.
    pub fn block(&self, index: usize, part: &str) -> String {
        format!("{}{}.{part}", self.block, self.first_block + index)
    }

    /// Returns the name of the Aff before the mean over patches.
    pub fn final_affine(&self, depth: usize) -> String {
        self.final_affine.name(depth)
    }

    /// Returns the name of the classifier.
    pub fn head(&self, depth: usize) -> String {
        self.head.name(depth)
    }

    /// Returns whether `name`, without prefix, lies in a module of the network other than the classifier.
    pub fn owns(&self, name: &str, depth: usize) -> bool {
        let inside = |module: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
        let in_block = match self.block {
            "" => name.split_once('.').is_some_and(|(number, _)| number.parse::<usize>().is_ok()),
            word => name.starts_with(word),
        };
        in_block || inside(self.stem) || inside(&self.final_affine(depth))
    }

    /// Returns whether a network of `depth` blocks has a tensor `name`, given without prefix.
    pub fn explains(&self, name: &str, depth: usize) -> bool {
        let linear = |module: &str| ["weight", "bias"].iter().any(|part| name == format!("{module}.{part}"));
        let affine = |module: &str| [self.alpha, self.beta].iter().any(|part| name == format!("{module}.{part}"));
        self.parse_block(name).is_some_and(|(prefix, index)| prefix.is_empty() && index < depth)
            || linear(self.stem)
            || linear(&self.head(depth))
            || affine(&self.final_affine(depth))
            || self.stem_norms.iter().any(|norm| affine(norm))
    }

    /// Returns whether `name` is that of a tensor of an Aff in a block; only a ResMLP has such tensors.
    fn is_aff(&self, name: &str) -> bool {
        let module = name.strip_suffix(self.alpha).and_then(|name| name.strip_suffix('.'));
        let is_module =
            |aff: &str| module.and_then(|name| name.strip_suffix(aff)).is_some_and(|name| name.ends_with('.'));
        is_module(self.mix_affine) || is_module(self.mlp_affine)
    }

    /// Splits the name of a block's tensor into the prefix before the block's name and the block's index.
    pub fn parse_block<'a>(&self, name: &'a str) -> Option<(&'a str, usize)> {
        let affine = |part: &'static str| [(part, self.alpha), (part, self.beta)];
        let linear = |part: &'static str| [(part, "weight"), (part, "bias")];
        let modules = [
            affine(self.mix_affine),
            linear(self.mix),
            affine(self.mlp_affine),
            linear(self.expand),
            linear(self.contract),
        ];
        let of_module = modules.into_iter().flatten().find_map(|(part, tensor)| {
            name.strip_suffix(tensor)?.strip_suffix('.')?.strip_suffix(part)?.strip_suffix('.')
        });
        let scale =
            || [self.mix_scale, self.mlp_scale].into_iter().find_map(|s| name.strip_suffix(s)?.strip_suffix('.'));
        let before = of_module.or_else(scale)?;
        let number = before.rsplit('.').next()?;
        let prefix = before.strip_suffix(number)?.strip_suffix(self.block)?;
        if !prefix.is_empty() && !prefix.ends_with('.') {
            return None;
        }
        Some((prefix, number.parse::<usize>().ok()?.checked_sub(self.first_block)?))
    }
}

impl Place {
    fn name(&self, depth: usize) -> String {
        match self {
            Self::Named(name) => name.to_string(),
            Self::AfterBlocks(offset) => depth.saturating_add(*offset).to_string(),
        }
    }
}

/// A dialect that explains the names, and the network that it finds in them.
pub(super) struct Match {
    pub words: &'static Words,
    /// Prefix of every name of the network, such as `module.backbone.`.
    pub prefix: String,
    /// Prefixes of other networks in the same file.
    pub others: Vec<String>,
    /// Number of blocks.
    pub depth: usize,
}

/// Result of [`recognise`].
pub(super) enum Recognised {
    Match(Match),
    /// No dialect has Affs among the names and explains at least half a block.
    Nothing,
    /// No network's prefix matches the caller's key; the field lists the prefixes that exist.
    NotThere(Vec<String>),
}

/// Finds the dialect and prefix that explain the most of `names`.
///
/// If prefixes explain equally many names, [`preference`] decides, then the alphabet. A `key` restricts the choice to
/// the prefixes that match it best.
pub(super) fn recognise<'a>(names: impl Iterator<Item = &'a String> + Clone, key: Option<&str>) -> Recognised {
    let mut found: BTreeMap<usize, BTreeMap<&str, (usize, usize)>> = BTreeMap::new();
    for (dialect, words) in ALL.iter().enumerate() {
        if !names.clone().any(|name| words.is_aff(name)) {
            continue;
        }
        let by_prefix = found.entry(dialect).or_default();
        for (prefix, index) in names.clone().filter_map(|name| words.parse_block(name)) {
            let (count, depth) = by_prefix.entry(prefix).or_default();
            *count += 1;
            *depth = (*depth).max(index.saturating_add(1));
        }
        by_prefix.retain(|_, (count, _)| *count >= HALF_A_BLOCK);
    }
    let places: BTreeSet<_> = found.values().flat_map(BTreeMap::keys).map(|place| place.to_string()).collect();
    if let Some(key) = key {
        let best = places.iter().filter_map(|place| answers(place, key)).max();
        let Some(best) = best else {
            return if places.is_empty() {
                Recognised::Nothing
            } else {
                Recognised::NotThere(places.into_iter().collect())
            };
        };
        found.values_mut().for_each(|by_prefix| by_prefix.retain(|place, _| answers(place, key) == Some(best)));
    }
    let candidates = found.iter().filter_map(|(dialect, by_prefix)| {
        let rank = |(prefix, (count, _)): &(&&str, &(usize, usize))| (*count, preference(prefix));
        let (&prefix, &(count, depth)) = by_prefix.iter().rev().max_by_key(rank)?;
        let others = places.iter().filter(|other| *other != prefix).take(MOST_OTHERS).cloned().collect();
        Some((count, Match { words: &ALL[*dialect], prefix: prefix.to_string(), others, depth }))
    });
    match candidates.max_by_key(|(count, _)| *count) {
        Some((_, best)) => Recognised::Match(best),
        None => Recognised::Nothing,
    }
}

/// Largest number of other networks that are recognised; tensors of any further network count as unexpected.
const MOST_OTHERS: usize = 64;
/// Half the number of a block's tensors.
const HALF_A_BLOCK: usize = 6;
