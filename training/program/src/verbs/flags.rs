//! The flags that change a recipe.

use resmlp_train::recipe::{Name, Recipe, Sizes};
use resmlp_train::{Error, Result};
use resmlp_train_data::augment::{Crop, Padding, RandAugment};

/// Networks of the paper (arXiv 2105.03404, table 1), by name.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Like {
    /// 12 blocks of 384 channels, 15 million parameters
    S12,
    /// 24 blocks of 384 channels, 30 million parameters
    S24,
    /// 36 blocks of 384 channels, 45 million parameters
    S36,
    /// 24 blocks of 768 channels, 116 million parameters
    B24,
}

impl Like {
    fn sizes(self) -> Sizes {
        let (dim, depth) = match self {
            Self::S12 => (384, 12),
            Self::S24 => (384, 24),
            Self::S36 => (384, 36),
            Self::B24 => (768, 24),
        };
        Sizes { patch: 16, dim, hidden: 4 * dim, depth }
    }
}

/// Flags that state the sizes of the network.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Network")]
pub struct NetworkFlags {
    /// Sizes of a network of the paper
    #[arg(long, value_name = "NAME")]
    like: Option<Like>,

    /// Height and width of the input in pixels [default: that of the pictures if they are all of one small size, else
    /// 224]
    #[arg(long, value_name = "PIXELS")]
    pub image: Option<usize>,

    /// Edge of a patch in pixels [default: the smallest that leaves at most 196 patches]
    #[arg(long, value_name = "PIXELS")]
    patch: Option<usize>,

    /// Number of channels [default: 128]
    #[arg(long, value_name = "N")]
    dim: Option<usize>,

    /// Width of the channel MLPs' hidden layer [default: 4 · dim]
    #[arg(long, value_name = "N")]
    hidden: Option<usize>,

    /// Number of residual blocks [default: 8]
    #[arg(long, value_name = "N")]
    depth: Option<usize>,
}

impl NetworkFlags {
    /// Returns the sizes of a network for inputs of `side` pixels.
    pub fn sizes(&self, side: usize) -> Sizes {
        let patch = (1..=side).find(|p| side.is_multiple_of(*p) && (side / p).pow(2) <= 196).unwrap_or(side);
        // Small pictures have small patches; 64 of them are enough for the networks that such pictures need.
        let patch = if side <= 32 && side.is_multiple_of(8) { (side / 8).max(1) } else { patch };
        let default = Sizes { patch, dim: 128, hidden: 0, depth: 8 };
        let like = self.like.map_or(default, Like::sizes);
        let dim = self.dim.unwrap_or(like.dim);
        Sizes {
            patch: self.patch.unwrap_or(like.patch),
            dim,
            hidden: self.hidden.unwrap_or(4 * dim),
            depth: self.depth.unwrap_or(like.depth),
        }
    }
}

/// Flags that change how the network learns.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Training")]
pub struct RecipeFlags {
    /// Passes over the training pictures [default: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    epochs: Option<u64>,

    /// Pictures for each update of the parameters [default: 128]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,

    /// Optimiser [default: adamw]
    #[arg(long, value_name = "NAME")]
    optimiser: Option<Name>,

    /// Learning rate after the warm-up [default: 0.002; 0.005 for lamb]
    #[arg(long, value_name = "X")]
    lr: Option<f64>,

    /// Epochs in which the learning rate rises [default: 2]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,

    /// Decay of the linear layers' weights [default: 0.05; 0.2 for lamb]
    #[arg(long, value_name = "X")]
    weight_decay: Option<f64>,

    /// Largest norm of a gradient; 0 for no limit [default: 1]
    #[arg(long, value_name = "X")]
    clip: Option<f64>,

    /// Share that the moving average of the parameters keeps at an update [default: 0.999]
    #[arg(long, value_name = "X")]
    ema: Option<f64>,

    /// Probability with which a picture skips a branch [default: 0, for more than 8 blocks 0.1]
    #[arg(long, value_name = "X")]
    drop_path: Option<f32>,

    /// First factor of LayerScale [default: by depth, 0.1 to 1e-6]
    #[arg(long, value_name = "X")]
    layer_scale: Option<f32>,

    /// Number from which everything random follows [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Flags that change how pictures are varied.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Augmentation")]
pub struct AugmentationFlags {
    /// How a part of a picture is chosen [default: padded for inputs of up to 64 pixels, else resized]
    #[arg(long, value_name = "KIND")]
    random_crop: Option<CropFlag>,

    /// Probability of a horizontal flip [default: 0.5]
    #[arg(long, value_name = "X")]
    flip: Option<f32>,

    /// Strength of RandAugment, from 0 to 10; 0 turns it off [default: 9]
    #[arg(long, value_name = "X")]
    randaugment: Option<f32>,

    /// Parameter of mixup's beta distribution; 0 turns it off [default: 0.8]
    #[arg(long, value_name = "X")]
    mixup: Option<f32>,

    /// Parameter of cutmix's beta distribution; 0 turns it off [default: 1]
    #[arg(long, value_name = "X")]
    cutmix: Option<f32>,

    /// Probability that a rectangle of a picture is erased [default: 0.25]
    #[arg(long, value_name = "X")]
    erasing: Option<f32>,

    /// Share of the target that is spread over all classes [default: 0.1]
    #[arg(long, value_name = "X")]
    smoothing: Option<f32>,

    /// How many times a picture stands in an epoch [default: 1 for inputs of up to 64 pixels, else 3]
    #[arg(long, value_name = "N")]
    repeats: Option<u32>,
}

/// Ways to choose a part of a picture.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum CropFlag {
    /// The centre, as in evaluation
    Centre,
    /// Padded by an eighth of its side, then a random part of the input's size
    Padded,
    /// A random rectangle, resized to the input
    Resized,
}

impl RecipeFlags {
    /// Changes a recipe as the flags say.
    ///
    /// # Errors
    /// Returns an error that names the flag whose value no training can have.
    pub fn apply(&self, recipe: &mut Recipe) -> Result<()> {
        let set = |to: &mut f64, from: Option<f64>| *to = from.unwrap_or(*to);
        if self.optimiser == Some(Name::Lamb) {
            (recipe.optimiser, recipe.rate, recipe.decay) = (Name::Lamb, 5e-3, 0.2);
        }
        set(&mut recipe.rate, self.lr);
        set(&mut recipe.decay, self.weight_decay);
        set(&mut recipe.mean, self.ema);
        recipe.clip = self.clip.map_or(recipe.clip, |limit| (limit > 0.0).then_some(limit));
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.batch = self.batch.unwrap_or(recipe.batch);
        recipe.warmup = self.warmup.unwrap_or(recipe.warmup);
        recipe.drop_path = self.drop_path.unwrap_or(recipe.drop_path);
        recipe.layer_scale = self.layer_scale.unwrap_or(recipe.layer_scale);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        for (flag, value, range) in [
            ("--lr", recipe.rate, 0.0..1e3),
            ("--weight-decay", recipe.decay, 0.0..1e3),
            ("--ema", recipe.mean, 0.0..1.0),
            ("--drop-path", f64::from(recipe.drop_path), 0.0..1.0),
            ("--layer-scale", f64::from(recipe.layer_scale), -1e3..1e3),
        ] {
            if !range.contains(&value) {
                let message = format!("{flag} is {value}, expected {} to less than {}", range.start, range.end);
                return Err(Error::Usage(message));
            }
        }
        Ok(())
    }
}

impl AugmentationFlags {
    /// Changes a recipe as the flags say.
    pub fn apply(&self, recipe: &mut Recipe) {
        let paper = resmlp_train_data::Augmentation::paper();
        let augmentation = &mut recipe.augmentation;
        if let Some(kind) = self.random_crop {
            let pixels = (recipe.preprocess.image[0] / 8).max(1) as u32;
            augmentation.crop = match kind {
                CropFlag::Centre => Crop::Centre,
                CropFlag::Padded => Crop::Padded { pixels, padding: Padding::Reflect },
                CropFlag::Resized => paper.crop,
            };
        }
        augmentation.flip = self.flip.unwrap_or(augmentation.flip);
        if let Some(magnitude) = self.randaugment {
            augmentation.randaugment = (magnitude > 0.0).then_some(RandAugment { magnitude, ..RandAugment::m9() });
        }
        augmentation.mix.mixup = self.mixup.unwrap_or(augmentation.mix.mixup);
        augmentation.mix.cutmix = self.cutmix.unwrap_or(augmentation.mix.cutmix);
        if let Some(probability) = self.erasing {
            let erasing = paper.erasing.map(|erasing| resmlp_train_data::augment::Erasing { probability, ..erasing });
            augmentation.erasing = erasing.filter(|_| probability > 0.0);
        }
        augmentation.smoothing = self.smoothing.unwrap_or(augmentation.smoothing);
        augmentation.repeats = self.repeats.unwrap_or(augmentation.repeats);
    }
}
