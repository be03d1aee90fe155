//! A folder with a model and a picture, in which the program runs.

#[path = "../../../../runtime/examples/random_model/model.rs"]
mod model;

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use resmlp_runtime::{Dims, Engine, Kernels, Layout, Model, Serial, WeightStorage};
use serde_json::Value;

/// Names the variable that, if it is set, lets the tests run with a network a tenth as large.
pub const SMALL_NETWORK: &str = "RESMLP_TEST_SMALL_NETWORK";

/// Dimensions of the tests' network: 61,000 multiply-accumulate operations, or 5,700 if [`SMALL_NETWORK`] is set.
pub static DIMS: LazyLock<Dims> = LazyLock::new(|| {
    let [dim, hidden] = if std::env::var_os(SMALL_NETWORK).is_some() { [4, 8] } else { [20, 75] };
    Dims {
        weights: WeightStorage::Int8,
        image: [16, 24],
        patch: 8,
        dim,
        hidden,
        depth: 2,
        outputs: 7,
        has_head: true,
        has_gains: false,
        layout: Layout::DEFAULT,
    }
});

/// A folder with a model `m.rmlp` and a picture for it, `p.rgb`.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub model: Vec<u8>,
    pub picture: Vec<u8>,
}

impl Place {
    pub fn new(dims: &Dims) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = model::random_model(dims).to_vec();
        let picture: Vec<u8> = model::random(3).take(dims.image[0] * dims.image[1] * 3).map(|v| v as u8).collect();
        std::fs::write(folder.path().join("m.rmlp"), &model).unwrap();
        std::fs::write(folder.path().join("p.rgb"), &picture).unwrap();
        Self { folder, model, picture }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn program(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_resmlp-device"));
        command.args(words.split_whitespace()).current_dir(self.folder.path());
        command
    }

    /// Runs the program, which must succeed, and parses the JSON object on its stdout.
    pub fn json(&self, words: &str) -> Value {
        let output = self.program(words).output().unwrap();
        assert!(output.status.success(), "{words}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs the program, which must fail with `code`, and returns its stderr.
    pub fn fails(&self, words: &str, code: i32) -> String {
        let output = self.program(words).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{words}: {}", text(&output.stdout));
        text(&output.stderr)
    }

    /// Returns the logits that the library computes for the picture.
    pub fn expected_logits(&self) -> Vec<f32> {
        let bytes = resmlp_runtime::AlignedBytes::from(&*self.model);
        let engine = Engine::new(Model::parse(&bytes).unwrap(), Kernels::scalar(), Serial).unwrap();
        let (mut scratch, mut logits) = (vec![0; engine.scratch_len()], vec![0.0; engine.model().dims().outputs]);
        engine.run(&self.picture, &mut scratch, &mut logits).unwrap();
        logits
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
