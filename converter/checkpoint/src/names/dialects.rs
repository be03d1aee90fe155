//! The words of each dialect, and how to tell the dialects apart.

use super::choice::preference;
use resmlp_network::Dialect;
use std::collections::BTreeMap;

/// The names that one dialect gives a ResMLP's tensors.
pub(super) struct Words {
    pub dialect: Dialect,
    pub stem: &'static str,
    /// What comes before a block's number.
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

/// Where a module stands: it has a name, or a number that depends on the number of blocks.
enum Place {
    Named(&'static str),
    AfterBlocks(usize),
}

pub(super) static ALL: [Words; 4] = [
    Words {
        dialect: Dialect::Deit,
        stem: "patch_embed.proj",
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
        stem: "stem.proj",
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
        stem: "1",
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
        stem: "to_patch_embedding.0",
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

impl Words {
    /// Name of `part` of block `index`.
    pub fn block(&self, index: usize, part: &str) -> String {
        format!("{}{}.{part}", self.block, self.first_block + index)
    }

    /// Name of the Aff before the mean.
    pub fn final_affine(&self, depth: usize) -> String {
        self.final_affine.name(depth)
    }

    /// Name of the classifier.
    pub fn head(&self, depth: usize) -> String {
        self.head.name(depth)
    }

    /// Whether `name`, without prefix, lies in a module of the network other than the classifier.
    pub fn owns(&self, name: &str, depth: usize) -> bool {
        let inside = |module: &str| name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'));
        let in_block = match self.block {
            "" => name.split_once('.').is_some_and(|(number, _)| number.parse::<usize>().is_ok()),
            word => name.starts_with(word),
        };
        in_block || inside(self.stem) || inside(&self.final_affine(depth))
    }

    /// Whether `name` is an Aff's of a block, which is what a ResMLP alone has.
    fn is_aff(&self, name: &str) -> bool {
        [self.mix_affine, self.mlp_affine].iter().any(|aff| name.ends_with(&format!(".{aff}.{}", self.alpha)))
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

/// A dialect that explains names, with what it says about them.
pub(super) struct Match {
    pub words: &'static Words,
    /// What stands before every name, such as `module.backbone.`.
    pub prefix: String,
    /// What stands before the names of other networks beside it.
    pub others: Vec<String>,
    /// Number of blocks.
    pub depth: usize,
}

/// The dialect and prefix that explain the most of `names`, if any explains at least half a block and there are Affs.
///
/// Between equal prefixes [`preference`] decides, then the alphabet.
pub(super) fn recognise<'a>(names: impl Iterator<Item = &'a String> + Clone) -> Option<Match> {
    let candidates = ALL.iter().filter_map(|words| {
        if !names.clone().any(|name| words.is_aff(name)) {
            return None;
        }
        let mut by_prefix: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (prefix, index) in names.clone().filter_map(|name| words.parse_block(name)) {
            let (count, depth) = by_prefix.entry(prefix).or_default();
            *count += 1;
            *depth = (*depth).max(index.saturating_add(1));
        }
        let rank = |(prefix, (count, _)): &(&&str, &(usize, usize))| (*count, preference(prefix));
        let (&prefix, &(count, depth)) = by_prefix.iter().rev().max_by_key(rank)?;
        by_prefix.retain(|other, (count, _)| *other != prefix && *count >= HALF_A_BLOCK);
        let others = by_prefix.into_keys().map(str::to_string).collect();
        Some((count, Match { words, prefix: prefix.to_string(), others, depth }))
    });
    let (count, best) = candidates.max_by_key(|(count, _)| *count)?;
    (count >= HALF_A_BLOCK).then_some(best)
}

/// Half the number of a block's tensors.
const HALF_A_BLOCK: usize = 6;
