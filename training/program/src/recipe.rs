//! The settings of one training: everything that decides its result.

use resmlp_network::{Activation, AffinePlacement};
use resmlp_picture::{Fit, Preprocess, ResizeMode};
use resmlp_train_core::optimiser::{Method, Settings};
use resmlp_train_core::{Schedule, Shape, layer_scale};
use resmlp_train_data::Augmentation;
use serde::{Deserialize, Serialize};

/// The settings of one training. Two trainings with equal recipes on equal pictures give equal checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Sizes of the network.
    pub network: Sizes,
    /// Preparation of pictures, in training and later on the device.
    pub preprocess: Preprocess,
    /// Variation of pictures in training.
    pub augmentation: Augmentation,
    /// Passes over the training pictures.
    pub epochs: u64,
    /// Pictures for each update of the parameters.
    pub batch: usize,
    /// `adamw` or `lamb`.
    pub optimiser: Name,
    /// Learning rate after the warm-up.
    pub rate: f64,
    /// Epochs in which the learning rate rises.
    pub warmup: u64,
    /// Decay of the linear layers' weights.
    pub decay: f64,
    /// Largest norm of a gradient, if it is limited.
    pub clip: Option<f64>,
    /// Share that the moving average of the parameters keeps at an update.
    pub mean: f64,
    /// Probability with which a picture skips a branch: stochastic depth.
    pub drop_path: f32,
    /// First factor of LayerScale.
    pub layer_scale: f32,
    /// Number from which everything random follows.
    pub seed: u64,
    /// Beginnings of the names of tensors that stay as they are.
    pub frozen: Vec<String>,
    /// CRC-32 of the parameters from which fine-tuning starts; `null` where training starts from random ones.
    pub start: Option<u32>,
}

/// The sizes of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Number of channels.
    pub dim: usize,
    /// Width of the channel MLPs' hidden layer.
    pub hidden: usize,
    /// Number of residual blocks.
    pub depth: usize,
}

/// The name of an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Name {
    /// AdamW (arXiv 1711.05101).
    Adamw,
    /// LAMB (arXiv 1904.00962), with which the paper trains.
    Lamb,
}

impl Recipe {
    /// Returns the settings for a network of these sizes on square pictures of `side` pixels, with which a small
    /// network learns well in 30 epochs. The flags of the program change them one by one.
    pub fn new(network: Sizes, side: usize) -> Self {
        let small = side <= 64;
        Self {
            network,
            preprocess: Preprocess {
                image: [side; 2],
                fit: Fit::Crop,
                crop: if small { 1.0 } else { 0.9 },
                resize: ResizeMode::Bicubic,
                mean: [0.5; 3],
                std: [0.25; 3],
            },
            augmentation: if small { Augmentation::small_pictures() } else { Augmentation::paper() },
            epochs: 30,
            batch: 128,
            optimiser: Name::Adamw,
            rate: 2e-3,
            warmup: 2,
            decay: 0.05,
            clip: Some(1.0),
            mean: 0.999,
            drop_path: if network.depth > 8 { 0.1 } else { 0.0 },
            layer_scale: layer_scale(network.depth),
            seed: 0,
            frozen: vec![],
            start: None,
        }
    }

    /// Returns the shape of the network for so many classes.
    pub fn shape(&self, classes: usize) -> Shape {
        let Sizes { patch, dim, hidden, depth } = self.network;
        Shape {
            image: self.preprocess.image,
            patch,
            dim,
            hidden,
            depth,
            classes: Some(classes),
            activation: Activation::Gelu,
            placement: AffinePlacement::Branch,
        }
    }

    /// Tells whether a tensor stays as it is.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.frozen.iter().any(|start| name.starts_with(start))
    }

    /// Returns the optimiser's settings.
    pub fn settings(&self) -> Settings {
        let method = match self.optimiser {
            Name::Adamw => Method::AdamW,
            Name::Lamb => Method::Lamb,
        };
        Settings { decay: self.decay, clip: self.clip, ..Settings::new(method) }
    }

    /// Returns the learning rate's course where an epoch has so many batches.
    pub fn schedule(&self, batches: u64) -> Schedule {
        Schedule {
            peak: self.rate,
            start: self.rate * 1e-3,
            end: self.rate * 1e-3,
            warmup: self.warmup.min(self.epochs) * batches,
            total: self.epochs * batches,
        }
    }
}
