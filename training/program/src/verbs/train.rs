//! `resmlp-train train`: from labelled pictures to a checked network.

use resmlp_train::course::End;
use resmlp_train::recipe::Recipe;
use resmlp_train::{Error, Result};
use resmlp_train_data::Dataset;

use super::files::{DataFlags, OutputFlags};
use super::flags::{AugmentationFlags, NetworkFlags, RecipeFlags};
use super::session::{self, Start};

/// Largest side for which pictures of one size decide the network's input.
const SMALL: usize = 64;

/// Height and width of the input for all other pictures, as in the paper.
const LARGE: usize = 224;

/// Number of training pictures whose mean and standard deviation are measured.
const MEASURED: usize = 2048;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataFlags,

    #[command(flatten)]
    outputs: OutputFlags,

    #[command(flatten)]
    network: NetworkFlags,

    #[command(flatten)]
    recipe: RecipeFlags,

    #[command(flatten)]
    augmentation: AugmentationFlags,
}

/// Trains as the flags say.
pub fn execute(args: &Args, json: bool) -> Result<End> {
    let manner = args.outputs.manner(json)?;
    let sets = args.data.open(args.network.image.unwrap_or(LARGE))?;
    let side = args.network.image.map_or_else(|| natural_side(&sets.0), Ok)?;
    let mut recipe = Recipe::new(args.network.sizes(side), side);
    args.recipe.apply(&mut recipe)?;
    args.augmentation.apply(&mut recipe);
    (recipe.preprocess.mean, recipe.preprocess.std) = statistics(&sets.0)?;
    let start = Start::random(&recipe, sets.0.class_names().len())?;
    session::run(sets, &recipe, start, &args.outputs.outputs(), &manner)
}

/// Returns the side of square pictures that all have one small size, and 224 for all others.
fn natural_side(dataset: &Dataset) -> Result<usize> {
    let mut common = None;
    for index in 0..dataset.len() {
        let picture = dataset.picture(index)?;
        let side = picture.width() as usize;
        let fits = picture.width() == picture.height() && side <= SMALL && *common.get_or_insert(side) == side;
        if !fits {
            return Ok(LARGE);
        }
    }
    common.ok_or_else(|| Error::Usage("the data set has no picture".into()))
}

/// Returns the mean and the standard deviation of red, green and blue over training pictures, for pixels from 0 to 1,
/// rounded to four digits.
pub fn statistics(dataset: &Dataset) -> Result<([f32; 3], [f32; 3])> {
    let count = dataset.len().min(MEASURED);
    // Sums of whole numbers are exact, so their order does not matter.
    let (mut sums, mut squares, mut pixels) = ([0u64; 3], [0u64; 3], 0u64);
    for i in 0..count {
        let picture = dataset.picture(i * dataset.len() / count)?;
        for pixel in picture.rgb().chunks_exact(3) {
            for (c, &value) in pixel.iter().enumerate() {
                sums[c] += u64::from(value);
                squares[c] += u64::from(value) * u64::from(value);
            }
        }
        pixels += picture.rgb().len() as u64 / 3;
    }
    let rounded = |x: f64| ((x * 1e4).round() / 1e4) as f32;
    let mean = sums.map(|sum| sum as f64 / pixels as f64);
    let deviation = |c: usize| (squares[c] as f64 / pixels as f64 - mean[c] * mean[c]).max(0.0).sqrt() / 255.0;
    // A channel that is the same everywhere has no deviation to divide by.
    let std = [0, 1, 2].map(|c| rounded(deviation(c)).max(1e-2));
    Ok((mean.map(|mean| rounded(mean / 255.0)), std))
}
