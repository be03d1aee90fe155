//! The most probable classes.

use resmlp_runtime::top;
use serde::Serialize;

/// Classes that are shown for a picture.
const SHOWN: usize = 5;

/// A class and how sure the network is of it.
#[derive(Serialize)]
pub struct Guess {
    pub index: usize,
    pub label: Option<String>,
    /// Softmax of the logits.
    pub probability: f64,
}

impl Guess {
    /// The label, or what stands for one.
    pub fn name(&self) -> String {
        self.label.clone().unwrap_or_else(|| format!("class {}", self.index))
    }
}

/// The most probable classes, most probable first.
pub fn guesses(logits: &[f32], labels: &[&str]) -> Vec<Guess> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let guess = |(index, logit)| Guess {
        index,
        label: labels.get(index).map(|&label| label.to_owned()),
        probability: weight(logit) / sum,
    };
    top::<SHOWN>(logits).into_iter().map(guess).collect()
}
