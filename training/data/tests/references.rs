//! Compares with what Pillow, torchvision and timm computed. `fixtures/make.py` recorded their results.

#[path = "references/pillow.rs"]
mod pillow;
#[path = "references/timm.rs"]
mod timm;

use std::path::{Path, PathBuf};

use resmlp_train_data::Picture;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn picture(name: &str) -> Picture {
    Picture::open(fixture(name)).unwrap()
}

/// Returns the recorded cases of a kind.
fn cases(kind: &str) -> Value {
    let text = std::fs::read_to_string(fixture("cases.json")).unwrap();
    let mut cases: Value = serde_json::from_str(&text).unwrap();
    cases[kind].take()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

/// Returns a list of two numbers.
fn pair(value: &Value) -> [f64; 2] {
    numbers(value).try_into().unwrap()
}
