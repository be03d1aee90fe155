//! The committed checkpoints of every dialect and format, and the logits that PyTorch computed from them.

use std::path::{Path, PathBuf};

use resmlp_checkpoint::LoadOptions;
use resmlp_picture::Preprocess;
use serde::Deserialize;

/// The contents of `expected.json`.
#[derive(Deserialize)]
pub struct Expected {
    /// Checkpoints that can be read.
    pub fixtures: Vec<Fixture>,
    /// Files that must be refused.
    pub refused: Vec<Refused>,
}

/// A checkpoint that can be read, with what is in it.
#[derive(Deserialize)]
pub struct Fixture {
    /// Path in the folder of fixtures.
    pub file: String,
    /// Name of the implementation that the checkpoint comes from.
    pub dialect: String,
    /// Name of the file format.
    pub format: String,
    /// Height and width of the picture in pixels.
    pub image: [usize; 2],
    /// Edge of a patch in pixels.
    pub patch: usize,
    /// Number of patches.
    pub tokens: usize,
    /// Number of channels.
    pub dim: usize,
    /// Width of the channel MLPs' hidden layer.
    pub hidden: usize,
    /// Number of residual blocks.
    pub depth: usize,
    /// Number of classes; `None` for an embedding model.
    pub classes: Option<usize>,
    /// Mean of red, green and blue with which the pictures were normalised.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue with which the pictures were normalised.
    pub std: [f32; 3],
    /// Path of the pictures in the folder of fixtures.
    pub input: String,
    /// PyTorch's logits for each picture.
    pub logits: Vec<Vec<f64>>,
}

/// A file that must be refused.
#[derive(Deserialize)]
pub struct Refused {
    /// Path in the folder of fixtures.
    pub file: String,
    /// What is wrong with the file.
    pub why: String,
    /// Text that the error message must contain.
    pub must_name: String,
}

impl Fixture {
    /// Returns the path of the checkpoint.
    pub fn path(&self) -> PathBuf {
        folder().join(&self.file)
    }

    /// Returns what the reader has to be told: the size of pictures, where the patches do not form a square.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions { image: (self.image[0] != self.image[1]).then_some(self.image), ..LoadOptions::default() }
    }

    /// Returns the pictures whose logits are known, height × width × RGB bytes each.
    pub fn pictures(&self) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(folder().join(&self.input)).unwrap();
        bytes.chunks_exact(3 * self.image[0] * self.image[1]).map(<[u8]>::to_vec).collect()
    }

    /// Returns the preprocessing with the fixture's normalisation.
    pub fn preprocess(&self) -> Preprocess {
        Preprocess { mean: self.mean, std: self.std, ..Preprocess::imagenet(self.image) }
    }

    /// Returns the largest difference to PyTorch's logits, relative to the largest of them.
    pub fn error(&self, found: &[Vec<f32>]) -> f64 {
        assert_eq!(found.len(), self.logits.len(), "{}", self.file);
        let range = self.logits.iter().flatten().fold(0f64, |max, logit| max.max(logit.abs()));
        let mut worst = 0f64;
        for (found, expected) in found.iter().zip(&self.logits) {
            assert_eq!(found.len(), expected.len(), "{}", self.file);
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.is_finite(), "{}", self.file);
                worst = worst.max((f64::from(*found) - expected).abs());
            }
        }
        worst / range
    }
}

/// Returns the folder of fixtures.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures")
}

/// Reads `expected.json`.
pub fn expected() -> Expected {
    let expected: Expected = serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap();
    assert!(expected.fixtures.len() > 50);
    expected
}
