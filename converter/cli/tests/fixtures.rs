//! tract reproduces the logits of the public PyTorch code in f32, for every dialect and format.

use resmlp_checkpoint::LoadOptions;
use resmlp_cli::classifier::Classifier;
use resmlp_cli::reference::CheckpointClassifier;
use resmlp_cli::tract::TractReference;
use resmlp_testing::fixtures::expected;

#[test]
fn a_loaded_checkpoint_gives_pytorchs_logits() {
    for fixture in expected().fixtures {
        let path = fixture.path();
        let checkpoint =
            resmlp_checkpoint::load(&path, &LoadOptions { image: Some(fixture.image), ..LoadOptions::default() })
                .unwrap();
        let classifier = CheckpointClassifier::new(&path, &checkpoint, fixture.preprocess(), vec![]).unwrap();
        let pictures = fixture.pictures();
        let pictures: Vec<&[u8]> = pictures.iter().map(Vec::as_slice).collect();
        let error = fixture.error(&classifier.logits(&pictures).unwrap());
        assert!(error <= 1e-4, "{}: {error:e}", fixture.file);
        // The exported network has the same logits, whatever the format of the checkpoint.
        let pixels: Vec<f32> = pictures.iter().flat_map(|picture| fixture.preprocess().normalise(picture)).collect();
        let exported = TractReference::from_network(&checkpoint.network).unwrap();
        let error = fixture.error(&exported.logits(&pixels).unwrap());
        assert!(error <= 1e-4, "{} exported: {error:e}", fixture.file);
    }
}

#[test]
fn tract_runs_the_users_own_onnx() {
    let onnx: Vec<_> = expected().fixtures.into_iter().filter(|fixture| fixture.file.ends_with(".onnx")).collect();
    assert!(onnx.len() > 20);
    for fixture in onnx {
        let pixels: Vec<f32> =
            fixture.pictures().iter().flat_map(|picture| fixture.preprocess().normalise(picture)).collect();
        let options = LoadOptions { image: Some(fixture.image), ..LoadOptions::default() };
        let checkpoint = resmlp_checkpoint::load(&fixture.path(), &options).unwrap();
        let reference = TractReference::from_onnx(checkpoint.onnx.as_ref().unwrap()).unwrap();
        let error = fixture.error(&reference.logits(&pixels).unwrap());
        assert!(error <= 1e-4, "{}: {error:e}", fixture.file);
    }
}
