//! `resmlp-train finetune`: goes on training a checkpoint.

use std::path::{Path, PathBuf};

use resmlp_checkpoint::config::{self, CropMode, Interpolation, Sourced};
use resmlp_checkpoint::{LoadOptions, load};
use resmlp_cli::locate::locate;
use resmlp_cli::terminal;
use resmlp_network::{Activation, AffinePlacement, Linear, Matrix, Network};
use resmlp_picture::{Fit, Preprocess, ResizeMode};
use resmlp_train::course::End;
use resmlp_train::recipe::{Recipe, Sizes};
use resmlp_train::{Error, Result};
use resmlp_train_core::{Layout, Shape, regrid};

use super::files::{DataFlags, OutputFlags};
use super::flags::{AugmentationFlags, RecipeFlags};
use super::session::{self, Start};

#[derive(clap::Args)]
pub struct Args {
    /// Checkpoint to start from: a safetensors, .pth or ONNX file, or hf:OWNER/NAME[@REVISION] on the model hub
    #[arg(value_name = "CHECKPOINT")]
    file: PathBuf,

    #[command(flatten)]
    data: DataFlags,

    #[command(flatten)]
    outputs: OutputFlags,

    /// Height and width of the input in pixels, a multiple of the network's patch [default: the checkpoint's]; the
    /// patch mixing is fitted to the new grid of patches
    #[arg(long, value_name = "PIXELS")]
    image: Option<usize>,

    /// Keep the tensors whose timm names begin like this as they are, such as stem or blocks.0; can be repeated
    #[arg(long, value_name = "NAME")]
    freeze: Vec<String>,

    #[command(flatten)]
    recipe: RecipeFlags,

    #[command(flatten)]
    augmentation: AugmentationFlags,
}

/// Fine-tunes as the flags say.
pub fn execute(args: &Args, json: bool) -> Result<End> {
    let manner = args.outputs.manner(json)?;
    let path = &locate(&args.file)?.path;
    let checkpoint = load(path, &LoadOptions::default())?;
    checkpoint.notes.iter().for_each(|note| terminal::note(note));
    let mut network = branch_form(checkpoint.network, path)?;
    if network.activation != Activation::Gelu {
        let found = network.activation.name();
        let message =
            format!("its activation is {found}, which timm's names cannot state; expected a network with gelu");
        return Err(Error::file(path, message));
    }
    let sets = args.data.open(args.image.unwrap_or(network.image[0]))?;
    if let Some(side) = args.image {
        if side == 0 || !side.is_multiple_of(network.patch) {
            let message = format!("--image is {side}, expected a multiple of the network's patch, {}", network.patch);
            return Err(Error::Usage(message));
        }
        network = regrid(&network, [side; 2]);
    }
    let mut preprocess = stated(path, &network)?;
    preprocess.image = network.image;
    fit_head(&mut network, sets.0.class_names().len());

    let layout = Layout::new(Shape::of(&network));
    let parameters = layout.gather(&network);
    let Shape { patch, dim, hidden, depth, .. } = layout.shape;
    let mut recipe = Recipe::new(Sizes { patch, dim, hidden, depth }, network.image[0]);
    (recipe.rate, recipe.epochs, recipe.warmup) = (2e-4, 10, 1);
    args.recipe.apply(&mut recipe)?;
    args.augmentation.apply(&mut recipe);
    recipe.preprocess = preprocess;
    recipe.frozen.clone_from(&args.freeze);
    recipe.start = Some(crc32fast::hash(&parameters.iter().flat_map(|p| p.to_le_bytes()).collect::<Vec<_>>()));
    for name in &args.freeze {
        if !layout.tensors.iter().any(|tensor| tensor.name.starts_with(name)) {
            return Err(Error::Usage(format!("--freeze {name}: no tensor's name begins like this, such as blocks.0")));
        }
    }
    session::run(sets, &recipe, Start { layout, parameters }, &args.outputs.outputs(), &manner)
}

/// Returns the network with its Affs inside the branches, as timm's names state it.
fn branch_form(network: Network, path: &Path) -> Result<Network> {
    match network.placement {
        AffinePlacement::Branch => Ok(network),
        AffinePlacement::Stream => resmlp_network::to_branch(&network).ok_or_else(|| {
            Error::file(
                path,
                "its Affs act on the residual stream and have factors too small or too large to be moved into the \
                 branches; expected a network of timm's or deit's kind",
            )
        }),
    }
}

/// Returns the preprocessing that the checkpoint's config states; what it does not state is ImageNet's.
fn stated(path: &Path, network: &Network) -> Result<Preprocess> {
    let default = Preprocess::imagenet(network.image);
    let Some(config) = config::beside(path)? else {
        terminal::note("no config.json states the mean and the standard deviation of the pixels; ImageNet's are taken");
        return Ok(default);
    };
    let value = |stated: Option<Sourced<[f32; 3]>>, default| stated.map_or(default, |stated| stated.value);
    Ok(Preprocess {
        image: network.image,
        fit: match config.crop_mode.map(|mode| mode.value) {
            Some(CropMode::Squash) => Fit::Squash,
            _ => default.fit,
        },
        crop: config.crop.map_or(default.crop, |crop| crop.value),
        resize: match config.interpolation.map(|filter| filter.value) {
            Some(Interpolation::Bilinear) => ResizeMode::Bilinear,
            _ => default.resize,
        },
        mean: value(config.mean, default.mean),
        std: value(config.std, default.std),
    })
}

/// Gives the network a new classifier of zeros where it has none for so many classes.
fn fit_head(network: &mut Network, classes: usize) {
    if network.head.as_ref().is_some_and(|head| head.weight.rows == classes) {
        return;
    }
    if let Some(head) = &network.head {
        let old = head.weight.rows;
        terminal::note(&format!("the classifier of {old} classes is replaced by a new one of {classes} classes"));
    }
    network.head = Some(Linear { weight: Matrix::zeros(classes, network.dim()), bias: vec![0.0; classes] });
}
