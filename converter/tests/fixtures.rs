//! The public PyTorch code's logits, reproduced in f32 by tract for every dialect and format.

use std::path::{Path, PathBuf};

use resmlp_converter::classify::{CheckpointClassifier, Classifier, normalise};
use resmlp_converter::picture::Preprocess;
use resmlp_converter::source::{self, LoadOptions};
use resmlp_converter::tract::TractReference;

/// One entry of `expected.json`.
#[derive(serde::Deserialize)]
struct Fixture {
    file: String,
    image: [usize; 2],
    input: String,
    mean: [f32; 3],
    std: [f32; 3],
    logits: Vec<Vec<f64>>,
}

impl Fixture {
    fn path(&self) -> PathBuf {
        folder().join(&self.file)
    }

    fn pictures(&self) -> Vec<Vec<u8>> {
        let bytes = std::fs::read(folder().join(&self.input)).unwrap();
        bytes.chunks_exact(3 * self.image[0] * self.image[1]).map(<[u8]>::to_vec).collect()
    }

    fn preprocess(&self) -> Preprocess {
        Preprocess { mean: self.mean, std: self.std, ..Preprocess::imagenet(self.image) }
    }

    /// Largest difference to PyTorch's logits, relative to the largest of them.
    fn error(&self, found: &[Vec<f32>]) -> f64 {
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

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixtures() -> Vec<Fixture> {
    #[derive(serde::Deserialize)]
    struct Expected {
        fixtures: Vec<Fixture>,
    }
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_str(&text).unwrap();
    assert!(expected.fixtures.len() > 50);
    expected.fixtures
}

#[test]
fn a_loaded_checkpoint_gives_pytorchs_logits() {
    for fixture in fixtures() {
        let path = fixture.path();
        let checkpoint = source::load(&path, &LoadOptions { image: Some(fixture.image) }).unwrap();
        let classifier = CheckpointClassifier::new(&path, &checkpoint, fixture.preprocess(), vec![]).unwrap();
        let pictures = fixture.pictures();
        let pictures: Vec<&[u8]> = pictures.iter().map(Vec::as_slice).collect();
        let error = fixture.error(&classifier.logits(&pictures).unwrap());
        assert!(error <= 1e-4, "{}: {error:e}", fixture.file);
        // The same by way of our own export, whatever the format.
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| normalise(picture, &fixture.preprocess())).collect();
        let exported = TractReference::from_network(&checkpoint.network).unwrap();
        let error = fixture.error(&exported.logits(&pixels).unwrap());
        assert!(error <= 1e-4, "{} exported: {error:e}", fixture.file);
    }
}

#[test]
fn tract_runs_the_users_own_onnx() {
    let onnx: Vec<_> = fixtures().into_iter().filter(|fixture| fixture.file.ends_with(".onnx")).collect();
    assert!(onnx.len() > 20);
    for fixture in onnx {
        let pixels: Vec<f32> =
            fixture.pictures().iter().flat_map(|picture| normalise(picture, &fixture.preprocess())).collect();
        let reference = TractReference::from_onnx(&fixture.path(), fixture.image).unwrap();
        let error = fixture.error(&reference.logits(&pixels).unwrap());
        assert!(error <= 1e-4, "{}: {error:e}", fixture.file);
    }
}
