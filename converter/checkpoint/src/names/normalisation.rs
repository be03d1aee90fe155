//! Takes the mean and the standard deviation of a module that normalises pixels in front of the network.

use super::surroundings::Surroundings;
use super::take::Taker;
use crate::LARGEST_OF_UNIT_PIXELS;
use crate::error::Result;

/// Last words of the names of the two tensors.
const PAIRS: [[&str; 2]; 4] =
    [["mean", "std"], ["pixel_mean", "pixel_std"], ["image_mean", "image_std"], ["_mean", "_std"]];
/// Usual names of the module.
const MODULES: [&str; 12] = [
    "normalize",
    "normalise",
    "normalizer",
    "normaliser",
    "normalization",
    "normalisation",
    "normalize_layer",
    "input_norm",
    "preprocess",
    "preprocessing",
    "preprocessor",
    "data_preprocessor",
];

/// Mean and standard deviation of the three colours, for pixels from 0 to 1.
pub(crate) type Normalisation = ([f32; 3], [f32; 3]);

/// Takes both tensors, if the checkpoint has them, and returns their values for pixels from 0 to 1. Numbers that are
/// too large for these belong to pixels from 0 to 255, and are divided by 255.
///
/// The module stands beside the network under one of its usual names, is the first of an `nn.Sequential` whose second
/// module is the network, or has the tensors in the network's own class.
///
/// # Errors
/// Returns an error if a value is not finite.
pub(super) fn take(taker: &mut Taker, around: &Surroundings, notes: &mut Vec<String>) -> Result<Option<Normalisation>> {
    let Some([mean, std]) = find(taker, around) else { return Ok(None) };
    let own = around.prefix().to_owned();
    taker.set_prefix("");
    let [means, deviations] = [taker.finite(&mean)?.data, taker.finite(&std)?.data];
    taker.set_prefix(&own);
    let is_large = means.iter().chain(&deviations).any(|value| f64::from(value.abs()) > LARGEST_OF_UNIT_PIXELS);
    let range = if is_large { 255.0 } else { 1.0 };
    let of_colours = |values: &[f32]| <[f32; 3]>::try_from(values).ok().map(|values| values.map(|value| value / range));
    let (Some(mean_values), Some(std_values)) = (of_colours(&means), of_colours(&deviations)) else { return Ok(None) };
    notes.push(format!("the pixels are normalised by '{mean}' and '{std}'"));
    Ok(Some((mean_values, std_values)))
}

/// Returns the full names of the two tensors, each of which has three values.
fn find(taker: &Taker, around: &Surroundings) -> Option<[String; 2]> {
    let own = around.prefix();
    let is_triple = |name: &str| {
        taker.shapes().any(|(found, shape)| found == name && shape.iter().product::<usize>() == 3 && shape.contains(&3))
    };
    let modules = around.places().iter().flat_map(|place| {
        let first = (own == format!("{place}1.")).then(|| format!("{place}0."));
        let named = MODULES.iter().map(move |module| format!("{place}{module}."));
        std::iter::once(place.clone()).chain(named).chain(first)
    });
    let pairs = modules.flat_map(|module| PAIRS.map(|pair| pair.map(|word| format!("{module}{word}"))));
    pairs.into_iter().find(|pair| pair.iter().all(|name| is_triple(name)))
}
