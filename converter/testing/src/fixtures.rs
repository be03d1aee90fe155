//! The committed checkpoints of every dialect and format, and the logits that PyTorch computed from them.

use std::path::{Path, PathBuf};

use resmlp_checkpoint::LoadOptions;
use resmlp_picture::Preprocess;
use serde::Deserialize;

/// `expected.json`.
#[derive(Deserialize)]
pub struct Expected {
    pub fixtures: Vec<Fixture>,
    pub refused: Vec<Refused>,
}

/// A checkpoint that can be read.
#[derive(Deserialize)]
pub struct Fixture {
    pub file: String,
    pub dialect: String,
    pub format: String,
    pub image: [usize; 2],
    pub patch: usize,
    pub tokens: usize,
    pub dim: usize,
    pub hidden: usize,
    pub depth: usize,
    pub classes: Option<usize>,
    pub mean: [f32; 3],
    pub std: [f32; 3],
    pub input: String,
    pub logits: Vec<Vec<f64>>,
}

/// A file that must be refused.
#[derive(Deserialize)]
pub struct Refused {
    pub file: String,
    pub why: String,
    pub must_name: String,
}

impl Fixture {
    pub fn path(&self) -> PathBuf {
        folder().join(&self.file)
    }

    /// A size is only given where the patches do not form a square.
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions { image: (self.image[0] != self.image[1]).then_some(self.image), ..LoadOptions::default() }
    }

    /// The pictures whose logits are known, height × width × RGB bytes each.
    pub fn pictures(&self) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(folder().join(&self.input)).unwrap();
        bytes.chunks_exact(3 * self.image[0] * self.image[1]).map(<[u8]>::to_vec).collect()
    }

    pub fn preprocess(&self) -> Preprocess {
        Preprocess { mean: self.mean, std: self.std, ..Preprocess::imagenet(self.image) }
    }

    /// Largest difference to PyTorch's logits, relative to the largest of them.
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

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint/tests/fixtures")
}

pub fn expected() -> Expected {
    let expected: Expected = serde_json::from_slice(&std::fs::read(folder().join("expected.json")).unwrap()).unwrap();
    assert!(expected.fixtures.len() > 50);
    expected
}
