//! Named tensors to [`Network`]: the four public dialects, told apart by their names, every shape checked.

mod choice;
mod dialects;
mod foreign;
mod take;

use crate::error::{Error, Result};
use crate::tensors::{Tensor, Tensors, Unreadable};
use dialects::{Match, Words};
use resmlp_network::{Activation, AffinePlacement, Block, Dialect, Linear, Matrix, Network};

use std::path::Path;
use take::Taker;

pub(crate) use choice::{choice, preference};

/// Whether `name` may be one of a ResMLP's tensors, whatever prefix it has.
pub fn is_recognised(name: &str) -> bool {
    dialects::ALL.iter().any(|words| words.parse_block(name).is_some())
}

/// Builds the network that `tensors` of the checkpoint `path` hold; `unreadable` lies beside them.
///
/// `image` is the picture's height and width where the caller knows them; without it the tokens must form a square.
/// What was left out goes into `notes`.
///
/// # Errors
/// The tensors are not a ResMLP's, one is missing, unexpected, of the wrong shape or not finite.
pub fn network(
    path: &Path,
    tensors: Tensors,
    unreadable: Unreadable,
    image: Option<[usize; 2]>,
    notes: &mut Vec<String>,
) -> Result<Network> {
    let Some(Match { words, prefix, others, depth }) = dialects::recognise(tensors.keys()) else {
        return Err(foreign::error(path, tensors.keys()));
    };
    if let Some(error) = foreign::found(path, tensors.keys().filter(|name| name.starts_with(&prefix))) {
        return Err(error);
    }
    if !others.is_empty() {
        notes.push(choice(&prefix, &others));
    } else if !prefix.is_empty() {
        notes.push(format!("names have the prefix '{prefix}'"));
    }
    let mut taker = Taker::new(path, tensors, unreadable, prefix);
    let (stem, patch) = stem(&mut taker, words)?;
    let dim = stem.weight.rows;
    let mut blocks: Vec<Block> = Vec::new();
    for index in 0..depth {
        let block = block(&mut taker, words, index, dim, blocks.first())?;
        blocks.push(block);
    }
    let final_affine = taker.affine(&words.final_affine(depth), words, dim)?;
    let head = match taker.has_any(&words.head(depth)) {
        true => Some(taker.linear(&words.head(depth), None, Some(dim))?),
        false => {
            let classifier = format!("{}{}.weight", taker.prefix(), words.head(depth));
            notes.push(format!("no classifier '{classifier}': the result is an embedding of {dim} numbers"));
            None
        }
    };
    let tokens = blocks.first().map_or(0, |block| block.mix.weight.rows);
    let image = image_size(image, tokens, patch).map_err(|message| Error::file(path, message))?;
    taker.leftovers(words, depth, notes)?;
    Ok(Network {
        dialect: words.dialect,
        placement: placement(words),
        activation: Activation::default(),
        image,
        patch,
        stem,
        blocks,
        final_affine,
        head,
    })
}

fn placement(words: &Words) -> AffinePlacement {
    match words.dialect {
        Dialect::Rishikksh20 => AffinePlacement::Stream,
        _ => AffinePlacement::Branch,
    }
}

/// The patch embedding with its columns in the order (colour, row, column), and the patch's edge in pixels.
fn stem(taker: &mut Taker, words: &Words) -> Result<(Linear, usize)> {
    let name = format!("{}.weight", words.stem);
    let Tensor { shape, data } = taker.finite(&name)?;
    let is_flat = words.dialect == Dialect::Lucidrains;
    let (dim, patch) = match shape.as_slice() {
        [dim, columns] if is_flat => (*dim, (columns / 3).isqrt()),
        [dim, 3, height, width] if !is_flat && height == width => (*dim, *height),
        _ => (0, 0),
    };
    let cols = 3 * patch * patch;
    if data.is_empty() || data.len() != dim * cols {
        let expected = if is_flat { "[dim, 3 · patch · patch]" } else { "[dim, 3, patch, patch]" };
        return Err(taker.wrong_shape(&name, &shape, expected));
    }
    let data = if is_flat { colours_first(&data, patch) } else { data };
    let bias = taker.vector(&format!("{}.bias", words.stem), dim)?;
    Ok((Linear { weight: Matrix { rows: dim, cols, data }, bias }, patch))
}

/// Reorders rows of (row, column, colour) into rows of (colour, row, column).
fn colours_first(data: &[f32], patch: usize) -> Vec<f32> {
    let pixels = patch * patch;
    let rows = data.chunks_exact(3 * pixels);
    rows.flat_map(|row| (0..3).flat_map(move |colour| row.iter().skip(colour).step_by(3).copied())).collect()
}

/// Block `index`; its inner shapes must be those of the first block.
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

/// The picture's height and width: what the caller says if it fits, else a square.
pub(crate) fn image_size(
    image: Option<[usize; 2]>,
    tokens: usize,
    patch: usize,
) -> std::result::Result<[usize; 2], String> {
    match image {
        Some([height, width]) => {
            let whole = height % patch == 0 && width % patch == 0;
            if !whole || (height / patch).checked_mul(width / patch) != Some(tokens) {
                return Err(format!(
                    "a picture of {height} × {width} pixels has not the network's {tokens} patches of {patch} × {patch}"
                ));
            }
            Ok([height, width])
        }
        None => {
            let edge = tokens.isqrt();
            if edge * edge != tokens {
                return Err(format!(
                    "the network has {tokens} patches of {patch} × {patch}, which form no square; expected --image-size HxW"
                ));
            }
            Ok([edge * patch, edge * patch])
        }
    }
}
