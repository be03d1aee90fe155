//! Builds a [`Network`] from named tensors.
//!
//! The tensors' names tell the public dialects apart. Every shape is checked, and every tensor must be used, known to
//! change nothing, or part of another network.

mod choice;
mod dialects;
mod foreign;
mod head;
mod head_file;
mod head_names;
mod map;
mod normalisation;
mod reason;
mod reparametrise;
mod strangers;
mod surroundings;
mod take;
mod wrappers;

use crate::checkpoint::LoadOptions;
use crate::error::{Error, Reason, Result};
use crate::tensors::{StateDict, Tensor};
use dialects::{Match, Recognised, StemShape, Words};
use resmlp_network::{Activation, AffinePlacement, Block, Linear, Matrix, Network};

use normalisation::Normalisation;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use surroundings::Surroundings;
use take::Taker;

pub(crate) use choice::{answers, choice, preference};
pub use map::MapReason;
pub(crate) use map::NameMap;
pub use reason::NamesReason;

/// The tensor names that a reader looks for.
pub(crate) enum Vocabulary {
    /// The names of the public dialects.
    Public,
    /// The names in a map that the user gives.
    Map(NameMap),
}

impl Vocabulary {
    /// Returns whether `name`, behind any prefix, may be the name of a tensor of a ResMLP.
    pub fn knows(&self, name: &str) -> bool {
        match self {
            Self::Public => {
                let name = wrappers::unwrapped(name);
                let whole = reparametrise::PAIRS.iter().find_map(|pair| pair.parameter_of(&name));
                let name = whole.as_ref().unwrap_or(&name);
                dialects::ALL.iter().any(|words| words.parse_block(name).is_some())
            }
            Self::Map(map) => map.knows(name),
        }
    }
}

/// How the network's tensors are named and arranged.
struct Layout {
    words: &'static Words,
    prefix: String,
    depth: usize,
    placement: AffinePlacement,
    has_final_affine: bool,
}

/// What the named tensors of a checkpoint say.
pub(crate) struct Named {
    pub network: Network,
    /// Mean and standard deviation of the pixels, if the checkpoint has them as tensors.
    pub normalisation: Option<Normalisation>,
    /// Choices that were made and tensors that were left out.
    pub notes: Vec<String>,
}

/// Builds the network from the tensors of the checkpoint `path` and returns it with a note for every choice.
///
/// `joined` is the path and the contents of a file with a classifier that is joined to the network.
///
/// # Errors
/// Returns an error if the tensors do not form a ResMLP, or if a tensor is missing, is unexpected, has the wrong shape
/// or holds a number that is not finite.
pub(crate) fn network(
    path: &Path,
    state: StateDict,
    vocabulary: &Vocabulary,
    options: &LoadOptions,
    joined: Option<(PathBuf, StateDict)>,
) -> Result<Named> {
    let StateDict { tensors, unreadable, mut notes, key_is_used } = state;
    let key = options.key.as_deref().filter(|_| !key_is_used);
    let mut taker = Taker::new(path, tensors, unreadable)?;
    let (layout, around) = match vocabulary {
        Vocabulary::Public => public_layout(path, &taker, key, &mut notes)?,
        Vocabulary::Map(map) => mapped_layout(path, &mut taker, map, key, &mut notes)?,
    };
    taker.set_prefix(&layout.prefix);
    let network = build(path, &mut taker, &layout, &around, options, joined, &mut notes);
    let mut network = network.map_err(|error| suggest(error, &taker, &layout, &around))?;
    let normalisation = normalisation::take(&mut taker, &around, &mut notes)?;
    leftovers(&taker, &around, &mut notes)?;
    network.activation = activation(vocabulary, options, &mut notes);
    Ok(Named { network, normalisation, notes })
}

/// Takes the network's tensors and builds the network from them.
fn build(
    path: &Path,
    taker: &mut Taker,
    layout: &Layout,
    around: &Surroundings,
    options: &LoadOptions,
    joined: Option<(PathBuf, StateDict)>,
    notes: &mut Vec<String>,
) -> Result<Network> {
    let Layout { words, depth, placement, .. } = *layout;
    let (stem, patch) = stem(taker, words, &layout.prefix)?;
    let dim = stem.weight.rows;
    let stem = stem_norm(taker, words, stem, &layout.prefix, notes)?;
    let blocks = blocks(taker, layout, dim)?;
    let final_affine = match layout.has_final_affine {
        true => taker.affine(&words.final_affine(depth), words, dim)?,
        false => resmlp_network::Affine { alpha: vec![1.0; dim], beta: vec![0.0; dim] },
    };
    if let Some((path, _)) = &joined {
        notes.push(format!("the classifier is that of {} (--head)", path.display()));
    }
    let joined = joined.map(|(path, state)| head_file::linear(&path, state, dim)).transpose()?;
    let head = head::classifier(taker, &words.head(depth), dim, around, joined, options.embedding, notes)?;
    let tokens = blocks.first().map_or(0, |block| block.mix.weight.rows);
    let image = image_size(options.image, tokens, patch).map_err(|reason| Error::file(path, reason))?;
    let (dialect, activation) = (words.dialect, Activation::default());
    Ok(Network { dialect, placement, activation, image, patch, stem, blocks, final_affine, head })
}

/// Adds to the error about a missing tensor the name of an unused tensor, which may be the missing one misnamed.
fn suggest(error: Error, taker: &Taker, layout: &Layout, around: &Surroundings) -> Error {
    let Error::Tensor { path, tensor, reason: Reason::Names(NamesReason::Missing { .. }) } = error else {
        return error;
    };
    let has_place =
        |name: &str| name.strip_prefix(&layout.prefix).is_some_and(|name| layout.words.explains(name, layout.depth));
    let mut unused =
        taker.names().filter(|name| !around.is_elsewhere(name) && around.stranger(name).is_none() && !has_place(name));
    let unused = unused.next().map(|name| taker.file_name(name));
    Error::tensor(path, tensor, NamesReason::Missing { unused })
}

/// Returns the layout of the public dialect that the names belong to, and the surroundings of the network.
fn public_layout(
    path: &Path,
    taker: &Taker,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Layout, Surroundings)> {
    let Match { words, prefix, others, depth } = match dialects::recognise(taker.names(), key) {
        Recognised::Match(found) => found,
        Recognised::Nothing => return Err(foreign::error(path, taker)),
        Recognised::NotThere(available) => {
            return Err(Error::file(path, NamesReason::NoKey { key: key.unwrap_or_default().into(), available }));
        }
    };
    let around = Surroundings::new(words, &prefix, &others, taker.names());
    foreign::refuse(path, taker, &prefix, |name| {
        around.is_elsewhere(name) || around.stranger(name).is_some() || head_names::is_head(&name[prefix.len()..])
    })?;
    if !others.is_empty() {
        notes.push(choice(&prefix, &others));
    } else if !prefix.is_empty() {
        notes.push(format!("names have the prefix '{prefix}'"));
    }
    Ok((Layout { words, prefix, depth, placement: words.placement, has_final_affine: true }, around))
}

/// Renames every tensor to timm's name and returns the layout that a map of names describes.
fn mapped_layout(
    path: &Path,
    taker: &mut Taker,
    map: &NameMap,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Layout, Surroundings)> {
    let (prefix, others) = map.place(taker.names(), key).map_err(|reason| Error::file(path, reason))?;
    let words = dialects::timm();
    if !others.is_empty() {
        notes.push(choice(&prefix, &others));
    } else if !prefix.is_empty() {
        notes.push(format!("names have the prefix '{prefix}'"));
    }
    let around = Surroundings::new(words, &prefix, &others, taker.names());
    let is_mapped = |name: &str| map.timm(name, &prefix).is_some();
    let outside: Vec<_> = taker
        .names()
        .filter(|name| !is_mapped(name) && (around.stranger(name).is_some() || around.is_elsewhere(name)))
        .cloned()
        .collect();
    taker.leave_out(&outside);
    taker.set_in_out(map.is_in_out);
    taker.rename("unmapped/", |name| map.timm(name, &prefix));
    let number = |name: &String| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
    let depth = taker.names().filter_map(number).max().map_or(0, |last| last.saturating_add(1));
    let around = Surroundings::new(words, "", &[], std::iter::empty());
    let (placement, has_final_affine) = (map.placement, map.has_final_affine);
    Ok((Layout { words, prefix: String::new(), depth, placement, has_final_affine }, around))
}

/// Takes the patch embedding and returns it with the patch's edge in pixels.
///
/// The columns of its weights are in the order (colour, row, column).
fn stem(taker: &mut Taker, words: &Words, prefix: &str) -> Result<(Linear, usize)> {
    let name = format!("{}.weight", words.stem);
    let Tensor { shape, data } = taker.finite(&name)?;
    let is_flat = words.stem_shape == StemShape::RowColumnColour;
    let square = |count: usize| Some(count.isqrt()).filter(|edge| *edge > 0 && edge * edge == count);
    let (dim, patch, colours) = match shape.as_slice() {
        [dim, columns] if is_flat => match (square(columns / 3), square(*columns)) {
            (Some(patch), _) if columns % 3 == 0 => (*dim, patch, 3),
            (_, Some(patch)) => (*dim, patch, 1),
            _ => (0, 0, 3),
        },
        [dim, colours, height, width] if !is_flat && height == width => (*dim, *height, *colours),
        _ => (0, 0, 3),
    };
    if data.is_empty() || colours == 3 && data.len() != dim * 3 * patch * patch {
        let expected = if is_flat { "[dim, 3 · patch · patch]" } else { "[dim, 3, patch, patch]" };
        return Err(taker.wrong_shape(&name, &shape, expected));
    }
    if colours != 3 {
        return Err(taker.error(&format!("{prefix}{name}"), NamesReason::Colours { found: shape, count: colours }));
    }
    let data = if is_flat { colours_first(&data, patch) } else { data };
    let bias = taker.vector(&format!("{}.bias", words.stem), dim)?;
    Ok((Linear { weight: Matrix { rows: dim, cols: 3 * patch * patch, data }, bias }, patch))
}

/// Reorders each row of weights from the order (row, column, colour) to (colour, row, column).
fn colours_first(data: &[f32], patch: usize) -> Vec<f32> {
    let pixels = patch * patch;
    let rows = data.chunks_exact(3 * pixels);
    rows.flat_map(|row| (0..3).flat_map(move |colour| row.iter().skip(colour).step_by(3).copied())).collect()
}

/// Folds the Aff behind the patch embedding, if there is one, into the patch embedding.
fn stem_norm(
    taker: &mut Taker,
    words: &Words,
    mut stem: Linear,
    prefix: &str,
    notes: &mut Vec<String>,
) -> Result<Linear> {
    for norm in words.stem_norms {
        let alpha = format!("{norm}.{}", words.alpha);
        let inside = |name: &&String| name.strip_prefix(&format!("{prefix}{norm}.")).is_some();
        let Some(first) = taker.names().find(inside).cloned() else { continue };
        if !taker.has(&alpha) && !taker.has(&format!("{norm}.{}", words.beta)) {
            return Err(
                taker.error(&first, NamesReason::StemNorm { aff: taker.file_name(&format!("{prefix}{alpha}")) })
            );
        }
        let affine = taker.affine(norm, words, stem.weight.rows)?;
        for (row, (alpha, beta)) in affine.alpha.iter().zip(&affine.beta).enumerate() {
            let alpha = f64::from(*alpha);
            stem.weight.row_mut(row).iter_mut().for_each(|weight| *weight = (f64::from(*weight) * alpha) as f32);
            stem.bias[row] = (f64::from(stem.bias[row]) * alpha + f64::from(*beta)) as f32;
        }
        if let Some(value) = stem.weight.data.iter().chain(&stem.bias).find(|value| !value.is_finite()) {
            let reason = NamesReason::NotFinite { index: 0, value: *value };
            return Err(taker.error(&format!("{prefix}{alpha}"), reason));
        }
        notes.push(format!("the Aff '{prefix}{norm}' behind the patch embedding is folded into it"));
    }
    Ok(stem)
}

fn blocks(taker: &mut Taker, layout: &Layout, dim: usize) -> Result<Vec<Block>> {
    let Layout { words, depth, prefix, .. } = layout;
    let mix = format!(".{}.", words.mix);
    let is_mix = |name: &String| name.strip_prefix(prefix.as_str()).is_some_and(|name| name.contains(&mix));
    if !taker.names().any(is_mix) {
        let name = format!("{prefix}{}.weight", words.block(0, words.mix));
        return Err(taker.error(&name, NamesReason::NoPatchMixing));
    }
    let mut blocks: Vec<Block> = Vec::new();
    for index in 0..*depth {
        let block = block(taker, words, index, dim, blocks.first())?;
        blocks.push(block);
    }
    Ok(blocks)
}

/// Takes block `index`, whose numbers of tokens and hidden units must equal those of the first block.
fn block(taker: &mut Taker, words: &Words, index: usize, dim: usize, first: Option<&Block>) -> Result<Block> {
    let name = |part: &str| words.block(index, part);
    let tokens = first.map(|block| block.mix.weight.rows);
    let hidden = first.map(|block| block.expand.weight.rows);
    let mix_affine = taker.affine(&name(words.mix_affine), words, dim)?;
    let mix = taker.linear(&name(words.mix), tokens, tokens)?;
    if mix.weight.rows != mix.weight.cols {
        let shape = [mix.weight.rows, mix.weight.cols];
        return Err(taker.wrong_shape(&format!("{}.weight", name(words.mix)), &shape, "[tokens, tokens]"));
    }
    let expand = taker.linear(&name(words.expand), hidden, Some(dim))?;
    Ok(Block {
        mix_affine,
        mix,
        mix_scale: taker.vector(&name(words.mix_scale), dim)?,
        mlp_affine: taker.affine(&name(words.mlp_affine), words, dim)?,
        contract: taker.linear(&name(words.contract), Some(dim), Some(expand.weight.rows))?,
        expand,
        mlp_scale: taker.vector(&name(words.mlp_scale), dim)?,
    })
}

/// Accounts for the tensors that nothing used.
///
/// Tensors of other networks are ignored, known strangers are noted, and any other tensor is an error.
fn leftovers(taker: &Taker, around: &Surroundings, notes: &mut Vec<String>) -> Result<()> {
    let mut strangers: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    for name in taker.names().filter(|name| !around.is_elsewhere(name)) {
        let Some(what) = around.stranger(name) else {
            return Err(taker.error(name, NamesReason::Unexpected(foreign::addition(name))));
        };
        strangers.entry(what).or_insert_with(|| (0, taker.file_name(name))).0 += 1;
    }
    for (what, (count, first)) in strangers {
        notes.push(match count {
            1 => format!("left out: '{first}' ({what})"),
            count => format!("left out: {count} tensors such as '{first}' ({what})"),
        });
    }
    Ok(())
}

/// Returns the activation of the channel MLPs, which names and shapes do not reveal.
///
/// The caller's option comes before the map of names; without either, the exact GELU is assumed and noted.
fn activation(vocabulary: &Vocabulary, options: &LoadOptions, notes: &mut Vec<String>) -> Activation {
    let of_map = match vocabulary {
        Vocabulary::Public => None,
        Vocabulary::Map(map) => map.activation,
    };
    options.activation.or(of_map).unwrap_or_else(|| {
        notes.push(GELU_IS_ASSUMED.into());
        Activation::Gelu
    })
}

/// The note that the channel MLPs are assumed to apply the exact GELU, because nothing states their activation.
pub const GELU_IS_ASSUMED: &str =
    "the file does not say what its channel MLPs apply: the exact GELU is assumed (--activation says otherwise)";

/// Returns the picture's height and width in pixels: the caller's `image`, which must fit the patches, or a square.
pub(crate) fn image_size(
    image: Option<[usize; 2]>,
    tokens: usize,
    patch: usize,
) -> std::result::Result<[usize; 2], NamesReason> {
    match image {
        Some([height, width]) => {
            let whole = height % patch == 0 && width % patch == 0;
            if !whole || (height / patch).checked_mul(width / patch) != Some(tokens) {
                return Err(NamesReason::PictureSize { height, width, tokens, patch });
            }
            Ok([height, width])
        }
        None => {
            let edge = tokens.isqrt();
            if edge * edge != tokens {
                return Err(NamesReason::NoSquareGrid { tokens, patch });
            }
            Ok([edge * patch, edge * patch])
        }
    }
}
