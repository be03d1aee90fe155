//! Data sets, augmentation and loading of pictures for training a ResMLP on a desktop's CPU.
//!
//! Data flows one way: a [`Dataset`] gives labelled pictures, an [`Augmentation`] says how they are varied, and a
//! [`Loader`] turns both into batches of normalised numbers on threads of its own.
//!
//! ```text
//! folder, tar, IDX files or sheet → Dataset → Loader (crop, flip, RandAugment, …, mixup) → Batch
//! ```
//!
//! **Everything is repeatable.** Each random choice is drawn from a generator whose key is the seed, the epoch and the
//! sample's position in the epoch (module [`random`]). The batches are therefore the same for any number of threads,
//! and an epoch can start at any batch.
//!
//! The augmentations follow timm's functions of the same names, which train the networks of the paper
//! (arXiv 2105.03404, section 3). Operations on pixels follow Pillow: what each of them guarantees is said where it is
//! defined, and the tests compare with values that Pillow, torchvision and timm computed.

pub mod augment;
pub mod dataset;
mod error;
pub mod loader;
pub mod random;

pub use augment::Augmentation;
pub use dataset::{Dataset, Options, Skipped};
pub use error::{DataError, Result};
pub use loader::{Batch, Batches, Loader};
pub use resmlp_picture::{Picture, Preprocess};
